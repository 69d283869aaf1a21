//! A connection from a gateway's shard to one shard of another sheep, kept as long as that lives.
//!
//! Holds:
//!   G2 a link with unanswered requests, and one between any two sheep always, asks for signs of
//!      life; silence is counted in beats of this process, so that one that stood still itself
//!      holds nobody for silent; an idle link is not silent;
//!   G1 after every (re)connect the gateway is told, and sends again what was not answered;
//!      what was queued before is dropped, for it is part of that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sheepdog_engine::gateway::Place;
use sheepdog_proto::peer::{HELLO_BYTES, Hello, Reply, Request, RequestBody};
use sheepdog_proto::{Generation, Stamp, Vid, View};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, timeout};

use super::frame::{FrameReader, invalid};
use super::send;
use crate::metrics::Meter;
use crate::shard::Shard;
use crate::shared::Silence;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(50);
/// How often a sign of life is asked for.
const BEAT: Duration = Duration::from_millis(500);
/// After so many beats without one the other end is silent.
const SILENT_BEATS: u32 = 4;
/// Ids of requests that the link makes itself.
const LINK_ID: u64 = 1 << 62;

/// Requests on their way to one place.
pub(crate) struct Link {
    queue: RefCell<Vec<Request>>,
    ready: Notify,
    meter: Arc<Meter>,
    sent: RefCell<BTreeMap<u64, (Instant, u64)>>,
    /// Signs of life are asked for also when nothing else is (G2).
    is_watched: bool,
    /// Beats since something came.
    silent_beats: Cell<u32>,
}

impl Link {
    pub(crate) fn new(meter: Arc<Meter>, is_watched: bool) -> Self {
        let (queue, sent) = (RefCell::default(), RefCell::default());
        let (ready, silent_beats) = (Notify::new(), Cell::new(0));
        Self { queue, ready, meter, sent, is_watched, silent_beats }
    }

    /// Queues a request; everything queued in one turn leaves together.
    pub(crate) fn push(&self, request: Request) {
        self.queue.borrow_mut().push(request);
        self.ready.notify_one();
    }

    fn clear(&self) {
        self.queue.borrow_mut().clear();
        self.sent.borrow_mut().clear();
    }

    fn note_sent(&self, requests: &[Request]) {
        let now = Instant::now();
        let mut sent = self.sent.borrow_mut();
        for request in requests {
            let bytes = match &request.body {
                RequestBody::Write { data, .. } => data.len() as u64,
                RequestBody::Watermark | RequestBody::Ping => continue,
                _ => 0,
            };
            sent.insert(request.id, (now, bytes));
        }
    }

    /// One beat; true if the other end is silent.
    fn beat(&self) -> bool {
        let is_waiting = !self.sent.borrow().is_empty() || !self.queue.borrow().is_empty();
        if !is_waiting && !self.is_watched {
            self.silent_beats.set(0);
            return false;
        }
        self.silent_beats.set(self.silent_beats.get().saturating_add(1));
        let is_ping = |request: &Request| request.body == RequestBody::Ping;
        if !self.queue.borrow().iter().any(is_ping) {
            self.push(ping());
        }
        self.silent_beats.get() > SILENT_BEATS
    }

    fn note_answer(&self, reply: &Reply) {
        if let Some((started, bytes)) = self.sent.borrow_mut().remove(&reply.id) {
            self.meter.note(bytes, started.elapsed(), reply.result.is_ok());
        }
    }
}

/// Asks whether the thread at the other end runs.
fn ping() -> Request {
    Request {
        id: LINK_ID,
        vid: Vid::hash_of_name(&[]),
        generation: Generation(0),
        view: View(0),
        stable: Stamp::NONE,
        body: RequestBody::Ping,
    }
}

/// Keeps the connection until the sheep at the other end is gone.
pub(crate) async fn keep(shard: Rc<Shard>, place: Place, link: Rc<Link>) {
    tokio::select! {
        () = keep_connected(&shard, place, &link) => {}
        () = listen(&shard, place, &link) => {}
    }
    tell(&shard, place, false);
}

/// Tells when the other end becomes silent, and when it is heard again (G2).
async fn listen(shard: &Shard, place: Place, link: &Link) {
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_silent = false;
    loop {
        beats.tick().await;
        let is_silent = link.beat();
        if is_silent != was_silent {
            tell(shard, place, is_silent);
            was_silent = is_silent;
        }
    }
}

fn tell(shard: &Shard, to: Place, is_silent: bool) {
    shard.shared.tell_silence(Silence { from_shard: shard.index, to, is_silent });
}

async fn keep_connected(shard: &Rc<Shard>, place: Place, link: &Link) {
    loop {
        let state = shard.state();
        let member = state.members.get(place.node).filter(|member| member.up);
        let Some(address) = member.map(|member| member.addresses.peer.clone()) else {
            shard.drop_link(place);
            return;
        };
        match timeout(CONNECT_TIMEOUT, connect(shard, place, &address)).await {
            Ok(Ok(stream)) => {
                link.clear();
                shard.note_reconnect(place); // G1
                let error = converse(shard, place, link, stream).await;
                tracing::info!(node = %place.node, shard = place.shard, %error, "peer lost");
            }
            Ok(Err(error)) => {
                tracing::debug!(node = %place.node, %address, %error, "cannot reach peer");
                tokio::time::sleep(RETRY).await;
            }
            Err(_) => tracing::debug!(node = %place.node, %address, "peer does not answer"),
        }
    }
}

async fn connect(shard: &Shard, place: Place, address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let state = shard.state();
    let cluster = state.format.as_ref().map_or(0, |format| format.cluster);
    let ours = super::hello(&shard.shared, cluster, shard.index, place.shard);
    stream.write_all(&ours.emit()).await?;
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes).await?;
    let theirs = Hello::parse(&bytes).map_err(invalid)?;
    if theirs.node != place.node || theirs.cluster != cluster {
        return Err(io::Error::other("another sheep answers at this address"));
    }
    Ok(stream)
}

/// Sends and receives until one side ends; returns why.
async fn converse(shard: &Rc<Shard>, place: Place, link: &Link, stream: TcpStream) -> io::Error {
    let (read, write) = stream.into_split();
    let result = tokio::select! {
        result = receive(shard, place, link, read) => result,
        result = transmit(link, write) => result,
    };
    result.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

async fn receive(
    shard: &Rc<Shard>,
    place: Place,
    link: &Link,
    read: OwnedReadHalf,
) -> io::Result<()> {
    let mut reader = FrameReader::new(read);
    loop {
        let mut replies = Vec::new();
        for (header, meta, data) in reader.next_batch().await? {
            let reply = Reply::assemble(&header, &meta, data).map_err(invalid)?;
            if reply.id != LINK_ID {
                replies.push(reply);
            }
        }
        link.silent_beats.set(0);
        replies.iter().for_each(|reply| link.note_answer(reply));
        shard.take_replies(place, replies);
    }
}

async fn transmit(link: &Link, mut write: OwnedWriteHalf) -> io::Result<()> {
    loop {
        link.ready.notified().await;
        let requests = std::mem::take(&mut *link.queue.borrow_mut());
        link.note_sent(&requests);
        let messages: Vec<send::Outgoing> = requests
            .iter()
            .map(|request| {
                let (head, payload) = request.emit();
                (head, payload.cloned())
            })
            .collect();
        send::write_all(&mut write, &messages).await?;
    }
}
