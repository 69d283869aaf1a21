//! Connections of other sheep's gateways to this shard's copies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use sheepdog_engine::gateway::Place;
use sheepdog_proto::peer::{Reply, ReplyBody, Request, RequestBody};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::frame::{FrameReader, invalid};
use super::send;
use crate::shard::{ReplyTo, Shard};

/// The connection of each calling shard.
#[derive(Default)]
pub(crate) struct Incoming {
    tasks: BTreeMap<Place, AbortHandle>,
}

impl Incoming {
    /// A shard has connected anew: its old connection ends, unread bytes and all
    /// (STREAM-TAKEOVER). The new task has not run yet.
    pub(crate) fn replace(&mut self, caller: Place, task: AbortHandle) {
        if let Some(old) = self.tasks.insert(caller, task) {
            old.abort();
        }
    }
}

/// Answers on their way to one caller.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: RefCell<Vec<Reply>>,
    ready: Notify,
}

impl Outbox {
    /// Queues an answer; everything queued in one turn leaves together.
    pub(crate) fn push(&self, reply: Reply) {
        self.queue.borrow_mut().push(reply);
        self.ready.notify_one();
    }
}

/// Serves a caller until it goes.
pub(crate) async fn serve(shard: Rc<Shard>, stream: std::net::TcpStream) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "incoming peer connection"),
    };
    let (read, write) = stream.into_split();
    let outbox = Rc::new(Outbox::default());
    let result = tokio::select! {
        result = receive(&shard, &outbox, read) => result,
        result = transmit(&outbox, write) => result,
    };
    if let Err(error) = result
        && error.kind() == io::ErrorKind::InvalidData
    {
        tracing::warn!(%error, "a peer sent what makes no sense; connection closed");
    }
}

async fn receive(shard: &Rc<Shard>, outbox: &Rc<Outbox>, read: OwnedReadHalf) -> io::Result<()> {
    let mut reader = FrameReader::new(read);
    loop {
        for (header, meta, data) in reader.next_batch().await? {
            let request = Request::assemble(&header, &meta, data).map_err(invalid)?;
            if request.body == RequestBody::Ping {
                outbox.push(Reply { id: request.id, result: Ok(ReplyBody::Done) });
                continue;
            }
            shard.take_request(ReplyTo::Peer(outbox.clone()), request);
        }
    }
}

async fn transmit(outbox: &Outbox, mut write: OwnedWriteHalf) -> io::Result<()> {
    loop {
        outbox.ready.notified().await;
        let replies = std::mem::take(&mut *outbox.queue.borrow_mut());
        let messages: Vec<send::Outgoing> = replies
            .iter()
            .map(|reply| {
                let (head, payload) = reply.emit();
                (head, payload.cloned())
            })
            .collect();
        send::write_all(&mut write, &messages).await?;
    }
}
