//! Session: the transmission phase of one connection.
//!
//! Way: one task for each connection. It takes whatever bytes are there, submits every request
//!      that is complete, and, in the same task, writes whatever replies are ready.
//! Holds:
//!   E1 a client that does not read its replies, or asks for more than the limit, is not read
//!      from until it does;
//!   E2 a good-bye is obeyed after everything before it was answered;
//!   E3 payload is read straight into the buffer that goes to the door;
//!   E4 what a client sent on a connection that it has closed since is not carried out: it may
//!      have connected again, sent the same once more, and overwritten it.

use std::io::{self, IoSliceMut};
use std::rc::Rc;
use std::time::Instant;

use sheepdog_engine::volume::Operation;
use tokio::sync::Notify;

use super::export::Export;
use super::frame::{REQUEST_BYTES, Request, Work};
use super::job::{self, Connection, Incoming, Ticket};
use super::option::Malformed;
use super::outbox::Outbox;
use super::refusal::Fault;
use super::stream::Stream;
use crate::door::{Door, Kind};

/// Room for requests that wait to be understood.
const INPUT_BYTES: usize = 64 << 10;
/// What a request takes of the limit besides its payload.
const REQUEST_COST: usize = 4096;
/// What the answer to a status query may take.
const STATUS_COST: usize = 128 << 10;

/// Serves until the end, or until the VDI is taken from the client. True if the client said
/// good-bye, and everything was answered or the client did not wait for it.
pub(super) async fn transmit<D: Door>(
    door: D,
    export: Export,
    stream: &Stream,
    unread: &[u8],
    expelled: &Notify,
) -> io::Result<bool> {
    let connection =
        Rc::new(Connection { door, export, outbox: Outbox::new(), lost: Notify::new() });
    let mut input = Input::new(connection.clone(), unread);
    let outbox = &connection.outbox;
    let mut write = std::pin::pin!(outbox.write(stream));
    let end = tokio::select! {
        end = input.run(stream) => end,
        end = &mut write => end.map(|()| false),
        () = expelled.notified() => Err(io::Error::other("the VDI was unlocked by an operator")),
        // What comes next would go to whoever attaches the VDI next through this sheep.
        () = connection.lost.notified() => Err(io::Error::other("the VDI is no longer attached")),
    };
    if matches!(end, Ok(true)) {
        outbox.close();
        tokio::select! {
            _ = write => {} // E2
            () = stream.gone() => {}
        }
    }
    outbox.kill();
    end
}

enum Stage<D: Door> {
    Header,
    Payload(Incoming<D>),
    /// The payload of a write that is not carried out is read and forgotten.
    Skip {
        left: u64,
        refused: Option<(Ticket<D>, Fault)>,
    },
}

/// Why parsing stopped.
enum Pause {
    /// More bytes are needed.
    Hungry,
    /// The limit is reached.
    Full,
    /// The client said good-bye.
    GoodBye,
}

struct Input<D: Door> {
    connection: Rc<Connection<D>>,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    stage: Stage<D>,
    /// Bytes of payload that were read and not yet counted.
    arrived: usize,
    /// The client has closed its socket: nothing but a good-bye is obeyed any more (E4).
    closed: bool,
    /// When the newest bytes came.
    now: Instant,
}

impl<D: Door> Input<D> {
    fn new(connection: Rc<Connection<D>>, unread: &[u8]) -> Self {
        let mut bytes = vec![0; INPUT_BYTES.max(unread.len())];
        bytes[..unread.len()].copy_from_slice(unread);
        Self {
            connection,
            bytes,
            start: 0,
            end: unread.len(),
            stage: Stage::Header,
            arrived: 0,
            closed: false,
            now: Instant::now(),
        }
    }

    /// True after a good-bye, false at the end of the stream.
    async fn run(&mut self, stream: &Stream) -> io::Result<bool> {
        loop {
            // A client that connects again does so on this thread, after it closed the old
            // socket. So what is submitted before the next wait comes before all of that.
            self.closed = self.closed || stream.is_closed();
            self.settle();
            match self.parse()? {
                Pause::GoodBye => return Ok(true),
                Pause::Hungry => {
                    if self.fill(stream).await? == 0 {
                        return Ok(false);
                    }
                    self.now = Instant::now();
                }
                Pause::Full => {
                    let connection = self.connection.clone();
                    tokio::select! {
                        () = connection.outbox.room() => {} // E1
                        () = stream.gone() => return Ok(false),
                    }
                }
            }
        }
    }

    /// Takes what the socket has: first what the payload under way still needs (E3).
    async fn fill(&mut self, stream: &Stream) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let spare = &mut self.bytes[self.end..];
        let Stage::Payload(incoming) = &mut self.stage else {
            let read = stream.read(&mut [IoSliceMut::new(spare)]).await?;
            self.end += read;
            return Ok(read);
        };
        let space = incoming.space();
        let wanted = space.len();
        let read = stream.read(&mut [IoSliceMut::new(space), IoSliceMut::new(spare)]).await?;
        self.arrived = read.min(wanted);
        self.end += read - self.arrived;
        Ok(read)
    }

    /// Counts payload that was read; or forgets it, and all that is still to come.
    fn settle(&mut self) {
        let arrived = std::mem::take(&mut self.arrived);
        let Stage::Payload(incoming) = &mut self.stage else { return };
        if self.closed {
            let left = incoming.left().saturating_sub(arrived as u64);
            self.stage = Stage::Skip { left, refused: None };
        } else if arrived > 0 && incoming.advance(arrived) {
            self.stage = Stage::Header;
        }
    }

    /// Handles all that is complete.
    fn parse(&mut self) -> Result<Pause, Malformed> {
        loop {
            let bytes = &self.bytes[self.start..self.end];
            match &mut self.stage {
                Stage::Header => {
                    let Some(header) = bytes.first_chunk() else { return Ok(Pause::Hungry) };
                    let request = Request::decode(header)?;
                    if let Some(pause) = self.begin(request) {
                        return Ok(pause);
                    }
                }
                Stage::Payload(incoming) => {
                    if bytes.is_empty() {
                        return Ok(Pause::Hungry);
                    }
                    let space = incoming.space();
                    let count = space.len().min(bytes.len());
                    space[..count].copy_from_slice(&bytes[..count]);
                    self.start += count;
                    if incoming.advance(count) {
                        self.stage = Stage::Header;
                    }
                }
                Stage::Skip { left, refused } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    self.start += count;
                    *left -= count as u64;
                    if *left > 0 {
                        return Ok(Pause::Hungry);
                    }
                    if let Some((ticket, fault)) = refused.take() {
                        ticket.fail(&fault);
                    }
                    self.stage = Stage::Header;
                }
            }
        }
    }

    /// Starts one request, if the limit allows.
    fn begin(&mut self, request: Request) -> Option<Pause> {
        let connection = self.connection.clone();
        let checked = request.check(&connection.export);
        if let Ok(Work::Disconnect) = checked {
            return Some(Pause::GoodBye);
        }
        let left = u64::from(request.payload());
        if self.closed {
            self.start += REQUEST_BYTES;
            self.stage = Stage::Skip { left, refused: None };
            return None;
        }
        let (kind, cost) = match checked {
            Ok(Work::Read) => (Kind::Read, REQUEST_COST + request.len as usize),
            Ok(Work::Write) => (Kind::Write, REQUEST_COST + request.len as usize),
            Ok(Work::Trim | Work::Zero { .. }) => (Kind::Zero, REQUEST_COST),
            Ok(Work::Flush) => (Kind::Flush, REQUEST_COST),
            Ok(Work::Status { .. }) => (Kind::Other, STATUS_COST),
            Ok(Work::Disconnect) | Err(_) => (Kind::Other, REQUEST_COST),
        };
        if !connection.outbox.admit(cost) {
            return Some(Pause::Full);
        }
        self.start += REQUEST_BYTES;
        let ticket = Ticket { connection, request, kind, cost, started: self.now };
        match checked {
            Ok(work) => {
                if let Some(incoming) = start(ticket, work) {
                    self.stage = Stage::Payload(incoming);
                }
            }
            Err(fault) => self.stage = Stage::Skip { left, refused: Some((ticket, fault)) },
        }
        None
    }
}

/// Submits a request; a write waits for its payload first.
fn start<D: Door>(ticket: Ticket<D>, work: Work) -> Option<Incoming<D>> {
    let Request { offset, len, .. } = ticket.request;
    let zero = |discard| Operation::Zero { offset, len: u64::from(len), discard };
    match work {
        Work::Write => return Incoming::begin(ticket),
        Work::Read => job::read(ticket),
        Work::Flush => job::plain(ticket, Operation::Flush),
        Work::Trim | Work::Zero { .. } if len == 0 => ticket.done(),
        Work::Trim => job::plain(ticket, zero(true)),
        Work::Zero { allocate: false } => job::plain(ticket, zero(false)),
        Work::Zero { allocate: true } => job::write_zeros(ticket),
        Work::Status { first } => job::status(ticket, first),
        Work::Disconnect => {}
    }
    None
}
