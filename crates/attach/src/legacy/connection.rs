//! One connection's replies: what is in flight, and what waits to be written.
//!
//! Holds:
//!   O1 header and payload of a reply leave together, never interleaved with another reply;
//!   O2 a request counts as in flight until the last byte of its reply was written.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::{Rc, Weak};

use sheepdog_proto::legacy::{Flags, HEADER_BYTES, RequestHeader, Response, ResultCode};
use sheepdog_proto::{Payload, Vid};
use tokio::sync::Notify;

use super::socket::Stream;
use crate::opener::Origin;

/// Most bytes of requests and replies that one connection holds; one request is always taken.
pub(super) const IN_FLIGHT_BYTES_MAX: usize = 16 << 20;
/// Most requests in flight on one connection.
pub(super) const IN_FLIGHT_COUNT_MAX: usize = 4096;
/// Pieces of one vectored write.
const SLICES_MAX: usize = 64;

/// The bytes after a reply's header.
#[derive(Debug)]
pub(super) enum Body {
    Empty,
    One(Payload),
    Many(Vec<Payload>),
}

impl Body {
    fn parts(&self) -> &[Payload] {
        match self {
            Self::Empty => &[],
            Self::One(part) => std::slice::from_ref(part),
            Self::Many(parts) => parts,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

#[derive(Debug)]
struct Reply {
    head: [u8; HEADER_BYTES],
    body: Body,
    charge: usize,
}

impl Reply {
    fn len(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }
}

#[derive(Debug, Default)]
struct Outbox {
    replies: VecDeque<Reply>,
    /// Bytes of the first reply that were written.
    sent: usize,
}

/// On which VDI a connection is known to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) vid: Vid,
    /// Of the queue; another number means that the VDI was released meanwhile.
    pub(super) epoch: u64,
    pub(super) writes: bool,
}

/// The state that requests of one connection share with its session.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) origin: Origin,
    pub(super) remote: bool,
    pub(super) joined: Cell<Option<Joined>>,
    stream: Weak<Stream>,
    gone: Cell<bool>,
    outbox: RefCell<Outbox>,
    count: Cell<usize>,
    bytes: Cell<usize>,
    /// A reply is ready.
    ready: Notify,
    /// A reply was written.
    room: Notify,
    /// The session must end without reading on.
    abort: Notify,
}

impl Connection {
    pub(super) fn new(number: u64, origin: Origin, remote: bool, stream: &Rc<Stream>) -> Rc<Self> {
        Rc::new(Self {
            number,
            origin,
            remote,
            joined: Cell::new(None),
            stream: Rc::downgrade(stream),
            gone: Cell::new(false),
            outbox: RefCell::default(),
            count: Cell::new(0),
            bytes: Cell::new(0),
            ready: Notify::new(),
            room: Notify::new(),
            abort: Notify::new(),
        })
    }

    /// The client is known to be gone; no reply will be written.
    pub(super) fn set_gone(&self) {
        self.gone.set(true);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// The client has closed, whether the session has noticed or not.
    pub(super) fn is_peer_closed(&self) -> bool {
        self.gone.get() || self.stream.upgrade().is_none_or(|stream| stream.is_peer_closed())
    }

    /// Ends the session; what it has not read is dropped.
    pub(super) fn abort(&self) {
        self.gone.set(true);
        self.abort.notify_one();
    }

    pub(super) async fn aborted(&self) {
        self.abort.notified().await;
    }

    /// A request may be taken (L4).
    pub(super) fn has_room(&self, charge: usize) -> bool {
        self.count.get() == 0
            || (self.count.get() < IN_FLIGHT_COUNT_MAX
                && self.bytes.get() + charge <= IN_FLIGHT_BYTES_MAX)
    }

    pub(super) async fn wait_for_room(&self, charge: usize) {
        while !self.has_room(charge) {
            self.room.notified().await;
        }
    }

    /// Every request taken has been answered, and every answer written.
    pub(super) async fn wait_until_idle(&self) {
        while self.count.get() > 0 {
            self.room.notified().await;
        }
    }

    /// Takes a request: from now on it is in flight.
    pub(super) fn take(self: &Rc<Self>, header: RequestHeader) -> Ticket {
        let charge = charge_of(&header);
        self.count.set(self.count.get() + 1);
        self.bytes.set(self.bytes.get() + charge);
        Ticket { connection: self.clone(), header, charge }
    }

    fn push(&self, reply: Reply) {
        self.outbox.borrow_mut().replies.push_back(reply);
        self.ready.notify_one();
    }

    fn release(&self, charge: usize) {
        self.count.set(self.count.get() - 1);
        self.bytes.set(self.bytes.get() - charge);
        self.room.notify_one();
    }

    /// Writes replies as they become ready, until the connection breaks.
    pub(super) async fn transmit(&self, stream: &Stream) -> io::Error {
        loop {
            match self.write_ready(stream) {
                Ok(0) => self.ready.notified().await,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = stream.writable().await {
                        return error;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error,
            }
        }
    }

    /// One vectored write of what is ready. Zero: nothing was.
    fn write_ready(&self, stream: &Stream) -> io::Result<usize> {
        let mut outbox = self.outbox.borrow_mut();
        let mut slices = Vec::new();
        let mut skip = outbox.sent;
        for reply in &outbox.replies {
            if slices.len() + 1 + reply.body.parts().len() > SLICES_MAX {
                break;
            }
            let parts = reply.body.parts().iter().map(|part| &**part);
            for part in std::iter::once(reply.head.as_slice()).chain(parts) {
                let cut = skip.min(part.len());
                skip -= cut;
                if cut < part.len() {
                    slices.push(IoSlice::new(&part[cut..]));
                }
            }
        }
        if slices.is_empty() {
            return Ok(0);
        }
        let written = stream.try_write_vectored(&slices)?;
        drop(slices);
        let mut sent = outbox.sent + written;
        while let Some(reply) = outbox.replies.pop_front_if(|first| first.len() <= sent) {
            sent -= reply.len();
            self.release(reply.charge); // O2
        }
        outbox.sent = sent;
        Ok(written)
    }
}

/// What a request costs while it is in flight: its payload or its reply, whichever is longer.
pub(super) fn charge_of(header: &RequestHeader) -> usize {
    HEADER_BYTES + header.payload_bytes().max(header.reply_bytes()) as usize
}

/// A request in flight; it must be answered once.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) connection: Rc<Connection>,
    pub(super) header: RequestHeader,
    charge: usize,
}

impl Ticket {
    /// A request as QEMU sends it, which has one data connection for a VDI. Others claim another
    /// version, and iSCSI targets, which have several connections, another flag.
    pub(super) fn is_qemu(&self) -> bool {
        self.header.version() == 0 && !self.header.flags().has(Flags::TGT)
    }

    pub(super) fn answer(self, response: Response) {
        self.answer_with(response, Body::Empty);
    }

    pub(super) fn refuse(self, code: ResultCode) {
        tracing::debug!(request = %self.header, %code, connection = self.connection.number);
        self.answer(Response::Code(code));
    }

    /// Answers with bytes.
    pub(super) fn answer_data(self, body: Body) {
        self.answer_with(Response::Data(body.len() as u32), body);
    }

    pub(super) fn answer_with(self, response: Response, body: Body) {
        let head = response.emit(&self.header);
        self.connection.push(Reply { head, body, charge: self.charge });
    }
}
