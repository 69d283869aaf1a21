//! Mail: what other threads send to a shard.

use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use sheepdog_attach::door::{Parcel, Socket, Stage};
use sheepdog_attach::legacy::Shard as Legacy;
use sheepdog_engine::gateway::Place;
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::Vid;
use sheepdog_proto::peer::{Hello, Reply, Request};
use tokio::sync::{mpsc, oneshot};

use super::disk::DiskOrder;
use super::replica::ReplyTo;
use super::{Shard, ShardDoor};

/// Runs on the shard's thread.
pub(crate) type Call = Box<dyn FnOnce(Rc<Shard>) + Send>;

/// One letter.
pub(crate) enum Mail {
    /// The log has grown.
    State(Arc<ClusterState>),
    /// A legacy client has connected; the number is its connection in the openers' table.
    Legacy(Socket, u64),
    /// An NBD client has connected.
    Nbd(Socket),
    /// A client's connection comes from another shard.
    Parcel(Parcel),
    /// Another sheep's shard has connected.
    Incoming(TcpStream, Hello),
    /// From a gateway on another shard of this sheep.
    Request { from: u16, request: Request },
    /// To the gateway, from another shard of this sheep.
    Reply { from: u16, reply: Reply },
    /// Something about this sheep's disks.
    Disk(DiskOrder),
    /// Let go of a VDI that nobody uses.
    Detach(Vid),
    /// Anything else.
    Call(Call),
    /// Let go of everything, then say so.
    Stop(oneshot::Sender<()>),
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mail")
    }
}

impl Shard {
    /// Takes mail until the sheep ends.
    pub(super) async fn take_mail(self: Rc<Self>, mut mail: mpsc::UnboundedReceiver<Mail>) {
        while let Some(letter) = mail.recv().await {
            self.open_letter(letter);
        }
    }

    fn open_letter(self: &Rc<Self>, letter: Mail) {
        let door = ShardDoor::new(self.clone());
        match letter {
            Mail::State(state) => self.handle_state(state),
            Mail::Legacy(socket, connection) => {
                tokio::task::spawn_local(self.legacy().serve(socket, Vec::new(), connection));
            }
            Mail::Nbd(socket) => {
                tokio::task::spawn_local(sheepdog_attach::nbd::serve(door, socket));
            }
            Mail::Parcel(Parcel { socket, unread, connection, stage: Stage::Legacy }) => {
                tokio::task::spawn_local(self.legacy().serve(socket, unread, connection));
            }
            Mail::Parcel(parcel) => {
                tokio::task::spawn_local(sheepdog_attach::serve_parcel(door, parcel));
            }
            Mail::Incoming(stream, hello) => self.take_incoming(stream, hello),
            Mail::Request { from, request } => self.take_request(ReplyTo::Shard(from), request),
            Mail::Reply { from, reply } => {
                let place = Place { node: self.shared.me.node, shard: from };
                self.step(|gateway| gateway.handle_reply(place, reply));
            }
            Mail::Disk(order) => self.take_disk_order(order),
            Mail::Detach(vid) => self.detach_unused(vid),
            Mail::Call(call) => call(self.clone()),
            Mail::Stop(done) => {
                self.stopping.set(true);
                let shard = self.clone();
                tokio::task::spawn_local(async move {
                    shard.detach_all().await;
                    shard.stores.all().iter().for_each(|link| link.checkpoint());
                    let _ = done.send(());
                });
            }
        }
    }

    fn legacy(self: &Rc<Self>) -> Rc<Legacy<ShardDoor>> {
        self.legacy.get_or_init(|| Legacy::new(ShardDoor::new(self.clone()))).clone()
    }

    /// A client may have opened the VDI again while this letter was under way.
    fn detach_unused(self: &Rc<Self>, vid: Vid) {
        if self.shared.openers.is_known(vid) {
            return;
        }
        let shard = self.clone();
        tokio::task::spawn_local(async move { shard.detach(vid).await });
    }

    fn take_incoming(self: &Rc<Self>, stream: TcpStream, hello: Hello) {
        let caller = Place { node: hello.node, shard: hello.source_shard };
        let task = tokio::task::spawn_local(crate::peer::incoming::serve(self.clone(), stream));
        self.incoming.borrow_mut().replace(caller, task.abort_handle());
    }
}
