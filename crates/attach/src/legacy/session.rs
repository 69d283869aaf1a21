//! One connection from its first byte to its last, or to another shard.
//!
//! Way: receive -> for each whole request: route (another shard: wait until idle, hand over) ->
//!      room (none: wait, read no more) -> is the peer still there? -> plan -> answer, queue or
//!      task.

use std::rc::Rc;
use std::time::{Duration, Instant};

use sheepdog_proto::Payload;
use sheepdog_proto::legacy::{Opcode, Request, RequestHeader, ResultCode};

use super::Shard;
use super::connection::{Connection, Ticket, charge_of};
use super::frame::{Front, Intake};
use super::plan::{self, Step};
use super::socket::Stream;
use super::vdi;
use crate::door::{Door, Parcel, Socket, Stage};

/// How a session ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client has closed, or sent what cannot be understood.
    Closed,
    /// The next request belongs to this shard.
    HandOver(usize),
    /// The client has closed while requests are in flight.
    Gone,
}

/// How often a connection that is full is asked whether its client still lives.
const PEER_CHECK: Duration = Duration::from_secs(1);

/// Disconnects from the openers when the session ends, however it ends.
struct Registered<D: Door> {
    door: D,
    number: u64,
    /// False: the connection lives on elsewhere.
    ends: bool,
}

impl<D: Door> Drop for Registered<D> {
    fn drop(&mut self) {
        if self.ends {
            self.door.openers().disconnect(self.number, Instant::now());
        }
    }
}

pub(super) async fn serve<D: Door>(
    shard: Rc<Shard<D>>,
    socket: Socket,
    unread: Vec<u8>,
    number: u64,
) {
    let mut registered = Registered { door: shard.door.clone(), number, ends: true };
    let opened = Stream::open(socket).and_then(|stream| {
        let origin = stream.origin()?;
        Ok((Rc::new(stream), origin))
    });
    let Ok((stream, origin)) = opened else { return };
    let connection = Connection::new(number, origin, stream.is_remote(), &stream);
    shard.connections.borrow_mut().insert(number, Rc::downgrade(&connection));
    let mut session = Session {
        shard: shard.clone(),
        connection: connection.clone(),
        stream: stream.clone(),
        intake: Intake::new(unread),
    };
    let expelled = shard.door.openers().end_of(number);
    let end = tokio::select! {
        end = session.run() => end,
        () = expelled.notified() => End::Closed,
        _ = connection.transmit(&stream) => End::Closed,
        () = connection.aborted() => End::Closed,
    };
    shard.forget(number);
    if let End::HandOver(target) = end {
        let unread = session.intake.into_unread();
        drop(session.stream);
        // Nobody else keeps the socket: others only look at it through a `Weak`.
        if let Some(Ok(socket)) = Rc::into_inner(stream).map(Stream::into_socket) {
            registered.ends = false;
            let parcel = Parcel { socket, unread, connection: number, stage: Stage::Legacy };
            shard.door.hand_over(target, parcel);
        }
    }
    connection.set_gone();
}

struct Session<D> {
    shard: Rc<Shard<D>>,
    connection: Rc<Connection>,
    stream: Rc<Stream>,
    intake: Intake,
}

impl<D: Door> Session<D> {
    async fn run(&mut self) -> End {
        loop {
            match self.admit_all().await {
                None => {}
                Some(End::Gone) => break,
                Some(end) => return end,
            }
            match self.intake.receive(&self.stream).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        // What was taken is still carried out; no client is counted on meanwhile.
        self.shard.door.openers().disconnect(self.connection.number, Instant::now());
        self.connection.set_gone();
        self.connection.wait_until_idle().await;
        End::Closed
    }

    /// Admits every whole request that was received.
    async fn admit_all(&mut self) -> Option<End> {
        // Whether the peer was seen alive after the last wait (L2).
        let mut peer_seen = false;
        loop {
            let (header, request, whole) = match self.intake.front() {
                Err(error) => {
                    tracing::info!(connection = self.connection.number, %error, "closed");
                    return Some(End::Closed);
                }
                Ok(Front::Nothing) => return None,
                Ok(Front::Whole(header, payload)) => {
                    (header, Request::parse(&header, payload), true)
                }
                Ok(Front::Large(header)) => (header, Request::parse(&header, &[]), false),
            };
            if let Some(target) = self.elsewhere(&request) {
                let idle = self.unless_gone(self.connection.wait_until_idle()).await;
                return Some(if idle { End::HandOver(target) } else { End::Gone });
            }
            let charge = charge_of(&header);
            if !self.connection.has_room(charge) {
                if !self.unless_gone(self.connection.wait_for_room(charge)).await {
                    return Some(End::Gone);
                }
                peer_seen = false;
                continue;
            }
            if !whole {
                self.intake.begin_large(header);
                continue;
            }
            let data = self.intake.take(&header);
            if header.opcode().is_some_and(Opcode::is_change) && !peer_seen {
                if self.stream.is_peer_closed() {
                    // L2. The client will never learn how this request ended, and may have sent
                    // it again through another connection.
                    continue;
                }
                peer_seen = true;
            }
            self.admit(header, request, data);
        }
    }

    /// Waits, but not longer than the client lives: false if it goes away first. It must be asked,
    /// for it is not read from meanwhile.
    async fn unless_gone(&self, wait: impl Future<Output = ()>) -> bool {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return true,
                () = tokio::time::sleep(PEER_CHECK) => {
                    if self.stream.is_peer_closed() {
                        return false;
                    }
                }
            }
        }
    }

    /// The shard that must serve the request, if it is another one.
    fn elsewhere(&self, request: &Result<Request, ResultCode>) -> Option<usize> {
        let door = &self.shard.door;
        let vid = plan::route(&door.state(), request.as_ref().ok()?)?;
        Some(door.shard_of(vid)).filter(|shard| *shard != door.shard())
    }

    fn admit(
        &self,
        header: RequestHeader,
        request: Result<Request, ResultCode>,
        data: Option<Payload>,
    ) {
        tracing::trace!(connection = self.connection.number, request = %header);
        let ticket: Ticket = self.connection.take(header);
        let step = match request {
            Ok(request) => plan::plan(&self.shard.door.state(), request, data),
            Err(code) => Step::Refuse(code),
        };
        let shard = self.shard.clone();
        match step {
            Step::Done => ticket.answer(sheepdog_proto::legacy::Response::DONE),
            Step::Answer(response) => ticket.answer(response),
            Step::Data(body) => ticket.answer_data(body),
            Step::Refuse(code) => ticket.refuse(code),
            Step::Queue(vid, work) => shard.queue(vid).push(ticket, work),
            Step::Resize { vid, size, then } => {
                tokio::task::spawn_local(vdi::resize(shard, ticket, vid, size, then));
            }
            Step::Control(request) => {
                tokio::task::spawn_local(vdi::control(shard, ticket, request));
            }
        }
    }
}
