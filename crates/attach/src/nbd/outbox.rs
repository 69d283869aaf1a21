//! Outbox: finished replies of one connection, on their way to its socket.
//!
//! Way: an operation's end pushes a [`Reply`], on the connection's own thread; the connection's
//!      one task wakes up and writes all that is ready with one call.
//! Holds:
//!   Q1 what a client has in flight, asked for but not yet sent to it, stays below
//!      [`IN_FLIGHT_BYTES_MAX`], or is one request;
//!   Q2 a reply is written whole before the next one;
//!   Q3 nothing is kept for a connection that has ended.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};

use sheepdog_proto::Payload;
use tokio::sync::Notify;

use super::frame::Head;
use super::stream::Stream;

/// Bytes of requests and replies that one connection may have under way.
pub(super) const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;
/// Slices given to the kernel with one call.
const SLICES_MAX: usize = 64;

/// What follows a reply's head.
#[derive(Debug)]
pub(super) enum Body {
    Nothing,
    Bytes(Vec<u8>),
    Data(Payload),
    Pieces(Vec<Payload>),
}

impl Body {
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (bytes, one, pieces): (&[u8], Option<&Payload>, &[Payload]) = match self {
            Self::Nothing => (&[], None, &[]),
            Self::Bytes(bytes) => (bytes, None, &[]),
            Self::Data(payload) => (&[], Some(payload), &[]),
            Self::Pieces(pieces) => (&[], None, pieces),
        };
        std::iter::once(bytes).chain(one.into_iter().chain(pieces).map(|payload| &**payload))
    }
}

/// One reply.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: Head,
    pub(super) body: Body,
    /// What [`Outbox::admit`] was asked for.
    pub(super) cost: usize,
}

impl Reply {
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let all = std::iter::once(self.head.bytes()).chain(self.body.slices());
        all.filter(|slice| !slice.is_empty())
    }

    fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// No request will follow; what is in flight is still answered.
    Closing,
    Dead,
}

/// See the head of this file.
pub(super) struct Outbox {
    ready: RefCell<VecDeque<Reply>>,
    deferred: RefCell<VecDeque<Box<dyn FnOnce()>>>,
    in_flight: Cell<usize>,
    phase: Cell<Phase>,
    /// For the writer: something is ready, or the phase changed.
    work: Notify,
    /// For the reader: something was sent.
    room: Notify,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            ready: RefCell::default(),
            deferred: RefCell::default(),
            in_flight: Cell::new(0),
            phase: Cell::new(Phase::Open),
            work: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Takes `cost` bytes of the limit, if they are left or nothing else is in flight (Q1).
    pub(super) fn admit(&self, cost: usize) -> bool {
        let in_flight = self.in_flight.get();
        let fits = in_flight == 0 || in_flight + cost <= IN_FLIGHT_BYTES_MAX;
        if fits {
            self.in_flight.set(in_flight + cost);
        }
        fits
    }

    /// Ends when something was sent; `admit` may succeed then.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// A finished reply.
    pub(super) fn push(&self, reply: Reply) {
        if self.phase.get() != Phase::Dead {
            self.ready.borrow_mut().push_back(reply);
            self.work.notify_one();
        }
    }

    /// Has the connection's task run `work`, outside of whatever the caller is in.
    pub(super) fn defer(&self, work: Box<dyn FnOnce()>) {
        if self.phase.get() != Phase::Dead {
            self.deferred.borrow_mut().push_back(work);
            self.work.notify_one();
        }
    }

    /// The client sends no more requests.
    pub(super) fn close(&self) {
        self.phase.set(Phase::Closing);
        self.work.notify_one();
    }

    /// The connection has ended (Q3).
    pub(super) fn kill(&self) {
        self.phase.set(Phase::Dead);
        self.ready.borrow_mut().clear();
        self.deferred.borrow_mut().clear();
    }

    /// Writes replies as they become ready. Ends when the outbox is closed and everything was
    /// sent, or when the socket fails.
    pub(super) async fn write(&self, stream: &Stream) -> io::Result<()> {
        let mut going: VecDeque<Reply> = VecDeque::new();
        let mut sent = 0; // Bytes of the first of them.
        loop {
            self.run_deferred();
            going.append(&mut self.ready.borrow_mut());
            if going.is_empty() {
                if self.phase.get() == Phase::Closing && self.in_flight.get() == 0 {
                    return Ok(());
                }
                self.work.notified().await;
                continue;
            }
            let written = write_some(stream, &going, sent).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            sent += written;
            while let Some(first) = going.front().map(Reply::len).filter(|len| sent >= *len) {
                sent -= first;
                let cost = going.pop_front().map_or(0, |reply| reply.cost);
                self.in_flight.set(self.in_flight.get().saturating_sub(cost));
                self.room.notify_one();
            }
        }
    }

    fn run_deferred(&self) {
        loop {
            // The borrow must end before the work runs: it may defer more.
            let next = self.deferred.borrow_mut().pop_front();
            match next {
                Some(work) => work(),
                None => return,
            }
        }
    }
}

/// Gives as much as one call takes, beginning `sent` bytes into the first reply (Q2).
async fn write_some(
    stream: &Stream,
    going: &VecDeque<Reply>,
    mut sent: usize,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let mut count = 0;
    for slice in going.iter().flat_map(Reply::slices) {
        if count == SLICES_MAX {
            break;
        }
        let skip = sent.min(slice.len());
        sent -= skip;
        if skip < slice.len() {
            slices[count] = IoSlice::new(&slice[skip..]);
            count += 1;
        }
    }
    stream.write(&slices[..count]).await
}

#[cfg(test)]
#[path = "outbox/tests.rs"]
mod tests;
