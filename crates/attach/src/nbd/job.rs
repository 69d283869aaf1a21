//! Jobs: carrying one request out through the door, without a task of its own.
//!
//! Way: a [`Ticket`] stands for the answer that is owed; the door's `Done` closes it, which pushes
//!      the reply into the connection's outbox. Long requests are cut at multiples of 1 MiB, the
//!      smallest object size; a [`Gather`] puts the ends together.
//! Holds:
//!   T1 each ticket is closed once: one reply for each request;
//!   T2 a read's reply carries exactly the bytes asked for, from this request's own answer;
//!   T3 parts never cut a block, so that a block stays an atom.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Instant;

use sheepdog_engine::volume::{Answer, Operation, Refusal};
use sheepdog_proto::{BLOCK_BYTES, Buffer, Payload};
use tokio::sync::Notify;

use super::export::Export;
use super::frame::{Head, Request};
use super::outbox::{Body, Outbox, Reply};
use super::refusal::{Fault, errno};
use crate::door::{Done, Door, Face, Kind};

/// Requests are cut where a multiple of this begins.
pub(super) const PART_BYTES: u64 = 1 << 20;
const _: () = assert!(PART_BYTES.is_multiple_of(BLOCK_BYTES as u64), "T3");
/// Parts of one long zeroing that are under way at a time.
const ZERO_LANES: usize = 4;

/// One connection in transmission.
pub(super) struct Connection<D: Door> {
    pub(super) door: D,
    pub(super) export: Export,
    pub(super) outbox: Outbox,
    /// The VDI is not attached here any more, or by another one: this client must open it anew.
    pub(super) lost: Notify,
}

impl<D: Door> Connection<D> {
    fn submit(&self, operation: Operation, done: Done) {
        self.door.submit(self.export.vid, operation, done);
    }
}

/// An answer that is owed to the client.
pub(super) struct Ticket<D: Door> {
    pub(super) connection: Rc<Connection<D>>,
    pub(super) request: Request,
    pub(super) kind: Kind,
    /// What it takes of the connection's limit.
    pub(super) cost: usize,
    pub(super) started: Instant,
}

impl<D: Door> Ticket<D> {
    /// Done, nothing to tell.
    pub(super) fn done(self) {
        let head = Head::done(self.request.cookie);
        let bytes = u64::from(self.request.len);
        self.close(head, Body::Nothing, bytes, true);
    }

    /// Failed.
    pub(super) fn fail(self, fault: &Fault) {
        if fault.errno == errno::EPERM {
            self.connection.lost.notify_one();
        }
        let structured = self.connection.export.structured;
        let (head, bytes) = Head::failed(structured, self.request.cookie, fault);
        self.close(head, Body::Bytes(bytes), 0, false);
    }

    fn data(self, body: Body) {
        let Request { cookie, offset, len, .. } = self.request;
        let head = Head::data(self.connection.export.structured, cookie, offset, len);
        self.close(head, body, u64::from(len), true);
    }

    fn close(self, head: Head, body: Body, bytes: u64, ok: bool) {
        let Self { connection, kind, cost, started, .. } = self;
        connection.door.observe(Face::Nbd, kind, bytes, started.elapsed(), ok);
        connection.outbox.push(Reply { head, body, cost });
    }
}

/// The pieces of `offset .. offset + len` between multiples of [`PART_BYTES`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    offset: u64,
    end: u64,
}

impl Parts {
    pub(super) fn of(request: &Request) -> Self {
        // The range was checked against the export, so the sum does not overflow.
        Self { offset: request.offset, end: request.offset + u64::from(request.len) }
    }
}

impl Iterator for Parts {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<(u64, u32)> {
        if self.offset >= self.end {
            return None;
        }
        let offset = self.offset;
        let border = (offset / PART_BYTES + 1) * PART_BYTES;
        self.offset = border.min(self.end);
        Some((offset, (self.offset - offset) as u32))
    }
}

fn unexpected() -> Fault {
    Fault::new(errno::EIO, "the gateway gave no proper answer")
}

/// The bytes of a read answer, if it is one of `len` bytes (T2).
fn bytes_of(result: Result<Answer, Refusal>, len: u32) -> Result<Payload, Fault> {
    match result? {
        Answer::Data(bytes) if bytes.len() == len as usize => Ok(bytes),
        _ => Err(unexpected()),
    }
}

/// Reads and answers.
pub(super) fn read<D: Door>(ticket: Ticket<D>) {
    let parts = Parts::of(&ticket.request);
    let connection = ticket.connection.clone();
    let mut list = parts;
    let (Some((offset, len)), more) = (list.next(), list.next().is_some()) else {
        return ticket.data(Body::Nothing);
    };
    if !more {
        let done = move |result| match bytes_of(result, len) {
            Ok(bytes) => ticket.data(Body::Data(bytes)),
            Err(fault) => ticket.fail(&fault),
        };
        return connection.submit(Operation::Read { offset, len }, Box::new(done));
    }
    let gather = Gather::new(ticket, parts.count());
    for (index, (offset, len)) in parts.enumerate() {
        let gather = gather.clone();
        let done = move |result| gather.end(index, bytes_of(result, len).map(Some));
        connection.submit(Operation::Read { offset, len }, Box::new(done));
    }
}

/// Operations without data.
pub(super) fn plain<D: Door>(ticket: Ticket<D>, operation: Operation) {
    let connection = ticket.connection.clone();
    let done = move |result: Result<Answer, Refusal>| match result {
        Ok(_) => ticket.done(),
        Err(refusal) => ticket.fail(&refusal.into()),
    };
    connection.submit(operation, Box::new(done));
}

/// Which parts are allocated.
pub(super) fn status<D: Door>(ticket: Ticket<D>, first: bool) {
    let connection = ticket.connection.clone();
    let Request { cookie, offset, len, .. } = ticket.request;
    let done = move |result: Result<Answer, Refusal>| match result {
        Ok(Answer::Extents(extents)) => {
            let (head, bytes) = Head::status(cookie, len, first, &extents);
            ticket.close(head, Body::Bytes(bytes), 0, true);
        }
        Ok(_) => ticket.fail(&unexpected()),
        Err(refusal) => ticket.fail(&refusal.into()),
    };
    connection.submit(Operation::Status { offset, len: len.into() }, Box::new(done));
}

/// Several parts, one answer.
pub(super) struct Gather<D: Door> {
    ticket: Cell<Option<Ticket<D>>>,
    left: Cell<usize>,
    /// By part, of a read.
    pieces: RefCell<Vec<Option<Payload>>>,
    fault: RefCell<Option<Fault>>,
}

impl<D: Door> Gather<D> {
    fn new(ticket: Ticket<D>, parts: usize) -> Rc<Self> {
        let pieces = if ticket.kind == Kind::Read { vec![None; parts] } else { Vec::new() };
        Rc::new(Self {
            ticket: Cell::new(Some(ticket)),
            left: Cell::new(parts),
            pieces: RefCell::new(pieces),
            fault: RefCell::new(None),
        })
    }

    fn end(&self, index: usize, result: Result<Option<Payload>, Fault>) {
        match result {
            Ok(bytes) => {
                if let Some(piece) = self.pieces.borrow_mut().get_mut(index) {
                    *piece = bytes;
                }
            }
            Err(fault) => {
                self.fault.borrow_mut().get_or_insert(fault);
            }
        }
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() > 0 {
            return;
        }
        let Some(ticket) = self.ticket.take() else { return }; // T1
        let fault = self.fault.take();
        match (fault, ticket.kind) {
            (Some(fault), _) => ticket.fail(&fault),
            (None, Kind::Read) => {
                ticket.data(Body::Pieces(self.pieces.take().into_iter().flatten().collect()));
            }
            (None, _) => ticket.done(),
        }
    }

    fn has_failed(&self) -> bool {
        self.fault.borrow().is_some()
    }
}

/// A write whose payload is still arriving. Each part is submitted when it is complete, so that
/// no more than one part is held back, and no buffer is larger than one (N1).
pub(super) struct Incoming<D: Door> {
    connection: Rc<Connection<D>>,
    gather: Rc<Gather<D>>,
    parts: Parts,
    index: usize,
    offset: u64,
    /// `None` when the payload is complete.
    part: Option<Buffer>,
    filled: usize,
}

impl<D: Door> Incoming<D> {
    /// `None` if there is no payload: the request is answered already.
    pub(super) fn begin(ticket: Ticket<D>) -> Option<Self> {
        let mut parts = Parts::of(&ticket.request);
        let connection = ticket.connection.clone();
        let count = parts.count();
        let Some((offset, len)) = parts.next() else {
            ticket.done();
            return None;
        };
        let part = Some(Buffer::zeroed(len as usize));
        let gather = Gather::new(ticket, count);
        Some(Self { connection, gather, parts, index: 0, offset, part, filled: 0 })
    }

    /// Where the next bytes belong. Empty when the payload is complete.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.part.as_mut().map_or(&mut [], |part| &mut part[self.filled..])
    }

    /// Bytes of payload that are still to come.
    pub(super) fn left(&self) -> u64 {
        match self.part {
            Some(_) => self.parts.end - self.offset - self.filled as u64,
            None => 0,
        }
    }

    /// `count` bytes of `space` were filled. True when the payload is complete.
    pub(super) fn advance(&mut self, count: usize) -> bool {
        self.filled += count;
        let Some(part) = self.part.take_if(|part| part.len() == self.filled) else {
            return self.part.is_none();
        };
        let (gather, index) = (self.gather.clone(), self.index);
        let done = move |result: Result<Answer, Refusal>| {
            gather.end(index, result.map(|_| None).map_err(Fault::from));
        };
        let operation = Operation::Write { offset: self.offset, data: part.share() };
        self.connection.submit(operation, Box::new(done));
        let Some((offset, len)) = self.parts.next() else { return true };
        self.part = Some(Buffer::zeroed(len as usize));
        (self.index, self.offset, self.filled) = (self.index + 1, offset, 0);
        false
    }
}

/// Zeros that use space: written as such, a few parts at a time.
pub(super) fn write_zeros<D: Door>(ticket: Ticket<D>) {
    let parts = Parts::of(&ticket.request);
    let connection = ticket.connection.clone();
    if parts.count() == 0 {
        return ticket.done();
    }
    let gather = Gather::new(ticket, parts.count());
    let zeroing = Rc::new(Zeroing { connection, gather, parts: Cell::new(parts) });
    for _ in 0..ZERO_LANES {
        zeroing.step();
    }
}

struct Zeroing<D: Door> {
    connection: Rc<Connection<D>>,
    gather: Rc<Gather<D>>,
    parts: Cell<Parts>,
}

impl<D: Door> Zeroing<D> {
    /// Submits the next part; after a fault, ends the rest without it.
    fn step(self: &Rc<Self>) {
        let mut parts = self.parts.get();
        let next = parts.next();
        self.parts.set(parts);
        let Some((offset, len)) = next else { return };
        if self.gather.has_failed() {
            self.gather.end(0, Ok(None));
            return self.step();
        }
        let zeroing = self.clone();
        let done = move |result: Result<Answer, Refusal>| {
            zeroing.gather.end(0, result.map(|_| None).map_err(Fault::from));
            // Not from inside the door's own call: the connection's task goes on with it.
            let next = zeroing.clone();
            zeroing.connection.outbox.defer(Box::new(move || next.step()));
        };
        let data = zeros().slice(0..len as usize);
        self.connection.submit(Operation::Write { offset, data }, Box::new(done));
    }
}

/// One part of zeros, shared by all.
fn zeros() -> &'static Payload {
    static ZEROS: OnceLock<Payload> = OnceLock::new();
    ZEROS.get_or_init(|| Buffer::zeroed(PART_BYTES as usize).share())
}

#[cfg(test)]
#[path = "job/tests.rs"]
mod tests;
