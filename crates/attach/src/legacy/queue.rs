//! The queue of one VDI: the order of its requests, and the attachment they wait for.
//!
//! Why: a request may find its VDI not attached yet, or touch an object of which it is not known
//!      whether it exists; those behind it must not overtake it.
//! Way: `session` -> [`Queue::push`] -> (attach) -> `run` -> (is the object allocated?) ->
//!      `submit` -> the door -> `finish` -> the connection's outbox.
//! Holds:
//!   Q1 requests for one object are submitted in the order in which they were pushed;
//!   Q2 an operation that lost its attachment is submitted again only while its client is there
//!      (else the client may have sent it again on another connection, and newer ones after it);
//!   Q3 "allocated" may be remembered too long, never too early: then a hole reads as zeros.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Instant;

use sheepdog_engine::volume::{Answer, Operation, Refusal};
use sheepdog_proto::legacy::{Response, ResultCode};
use sheepdog_proto::{Buffer, Payload, Vid};
use tokio::sync::Mutex;

use super::code::Failure;
use super::connection::{Body, Connection, Joined, Ticket};
use crate::door::{Door, Face};
use crate::opener::Origin;

mod allocated;
mod work;

use allocated::Allocated;
pub(super) use work::Work;

/// How often an operation or an attach is tried again after the attachment was lost.
const TRIES_MAX: u8 = 3;

#[derive(Debug)]
struct Job {
    ticket: Ticket,
    work: Work,
    since: Instant,
    tries: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ownership {
    /// Not known to be attached.
    Idle,
    /// An attach or a detach is under way or begins; requests wait.
    Moving,
    /// Attached, as far as is known.
    Attached,
}

/// Requests of one VDI on its shard.
pub(super) struct Queue<D> {
    door: D,
    vid: Vid,
    ownership: Cell<Ownership>,
    /// One attach or detach at a time.
    turn: Mutex<()>,
    waiting: RefCell<VecDeque<Job>>,
    /// Requests behind the question whether their object exists.
    asking: RefCell<BTreeMap<u32, VecDeque<Job>>>,
    allocated: RefCell<Allocated>,
    /// Rises when the VDI is released: connections must join anew.
    epoch: Cell<u64>,
    members: RefCell<Vec<Weak<Connection>>>,
    /// The newest data connection of each client on another host.
    newest: RefCell<BTreeMap<Origin, u64>>,
}

impl<D: Door> Queue<D> {
    pub(super) fn new(door: D, vid: Vid) -> Rc<Self> {
        Rc::new(Self {
            door,
            vid,
            ownership: Cell::new(Ownership::Idle),
            turn: Mutex::new(()),
            waiting: RefCell::default(),
            asking: RefCell::default(),
            allocated: RefCell::default(),
            epoch: Cell::new(0),
            members: RefCell::default(),
            newest: RefCell::default(),
        })
    }

    /// Nobody would miss it.
    pub(super) fn is_unused(queue: &Rc<Self>) -> bool {
        Rc::strong_count(queue) == 1
            && queue.newest.borrow().is_empty()
            && queue.members.borrow().iter().all(|member| member.strong_count() == 0)
    }

    /// Adds a request behind all that were read before it.
    pub(super) fn push(self: &Rc<Self>, ticket: Ticket, work: Work) {
        if let Err(code) = self.join(&ticket, &work) {
            return ticket.refuse(code);
        }
        let job = Job { ticket, work, since: Instant::now(), tries: 0 };
        self.admit(job);
    }

    fn admit(self: &Rc<Self>, job: Job) {
        if self.ownership.get() == Ownership::Attached {
            return self.run(job);
        }
        self.waiting.borrow_mut().push_back(job);
        self.start();
    }

    /// Makes the connection known as one of this VDI's.
    fn join(&self, ticket: &Ticket, work: &Work) -> Result<(), ResultCode> {
        let connection = &ticket.connection;
        let writes = work.is_write();
        let joined = connection.joined.get();
        let known =
            |j: Joined| (j.vid, j.epoch) == (self.vid, self.epoch.get()) && (j.writes || !writes);
        if joined.is_some_and(known) {
            return Ok(());
        }
        let openers = self.door.openers();
        // Exclusive: reading beside the holder does no harm, writing would.
        let other =
            |by: crate::opener::Busy| by.face != Face::Legacy || by.origin != connection.origin;
        if writes && openers.holder(self.vid).is_some_and(other) {
            return Err(ResultCode::VdiLocked);
        }
        if work.index().is_some() && ticket.is_qemu() {
            self.supersede(connection)?;
        }
        if openers.go_on(connection.number, self.vid, Instant::now()).is_err() {
            return Err(ResultCode::VdiLocked);
        }
        let mut members = self.members.borrow_mut();
        members.retain(|member| member.strong_count() > 0);
        if !members.iter().any(|member| std::ptr::eq(member.as_ptr(), Rc::as_ptr(connection))) {
            members.push(Rc::downgrade(connection));
        }
        let (vid, epoch) = (self.vid, self.epoch.get());
        connection.joined.set(Some(Joined { vid, epoch, writes }));
        Ok(())
    }

    /// QEMU has one data connection for each VDI. From another host, bytes of an older one may
    /// still arrive after the newer one's, because its close is on the way (STREAM-TAKEOVER): the
    /// newest wins, and an older one never comes back.
    fn supersede(&self, connection: &Rc<Connection>) -> Result<(), ResultCode> {
        if !connection.remote {
            return Ok(());
        }
        let mut newest = self.newest.borrow_mut();
        let number = newest.entry(connection.origin).or_insert(connection.number);
        if *number > connection.number {
            connection.abort();
            return Err(ResultCode::Io);
        }
        *number = connection.number;
        for member in self.members.borrow().iter().filter_map(Weak::upgrade) {
            let older = member.number < connection.number && member.origin == connection.origin;
            if older && member.remote {
                member.abort();
            }
        }
        Ok(())
    }

    /// Begins an attach, unless one is under way.
    fn start(self: &Rc<Self>) {
        if self.ownership.get() == Ownership::Idle {
            self.ownership.set(Ownership::Moving);
            let queue = self.clone();
            tokio::task::spawn_local(async move { queue.attach().await });
        }
    }

    /// Attaches the VDI, or finds that it is, and runs what waits for it.
    pub(super) async fn attach(self: &Rc<Self>) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        self.ownership.set(Ownership::Moving);
        // A release may have forgotten the clients of requests that came in meanwhile.
        for job in self.waiting.borrow().iter() {
            let number = job.ticket.connection.number;
            self.door.openers().touch(number, self.vid, Instant::now());
        }
        let mut end = self.door.attach(self.vid).await;
        for _ in 0..TRIES_MAX {
            // Lost again before it was served; the next attempt tells to whom.
            if end == Err(Refusal::Fenced) {
                end = self.door.attach(self.vid).await;
            }
        }
        self.allocated.borrow_mut().clear();
        let owned = if end.is_ok() { Ownership::Attached } else { Ownership::Idle };
        self.ownership.set(owned);
        loop {
            // Each is submitted or answered without waiting, so that none overtakes another.
            let Some(job) = self.waiting.borrow_mut().pop_front() else { break };
            match &end {
                Ok(()) => self.run(job),
                Err(refusal) => job.ticket.refuse(Failure::from(refusal.clone()).code()),
            }
        }
        end
    }

    /// Waits for what was submitted and lets go of the VDI.
    pub(super) async fn detach(self: &Rc<Self>) {
        let _turn = self.turn.lock().await;
        self.ownership.set(Ownership::Moving);
        self.epoch.set(self.epoch.get() + 1);
        self.door.detach(self.vid).await;
        self.ownership.set(Ownership::Idle);
        if !self.waiting.borrow().is_empty() {
            self.start();
        }
    }

    fn run(self: &Rc<Self>, job: Job) {
        if let Some(index) = job.work.index()
            && let Some(behind) = self.asking.borrow_mut().get_mut(&index)
        {
            return behind.push_back(job); // Q1
        }
        match job.work.needs() {
            Some(index) if !self.allocated.borrow().has(index) => self.ask(index, job),
            _ => self.submit(job),
        }
    }

    /// Asks whether the object exists; `job` and those behind it wait for the answer.
    fn ask(self: &Rc<Self>, index: u32, job: Job) {
        let offset = match &job.work {
            Work::Read { offset, .. } | Work::Write { offset, .. } => *offset,
            _ => 0,
        };
        self.asking.borrow_mut().insert(index, VecDeque::from([job]));
        let queue = self.clone();
        // Allocation is by whole objects, so any byte of it will do.
        let operation = Operation::Status { offset, len: 1 };
        let done = Box::new(move |end| queue.answered(index, end));
        self.door.submit(self.vid, operation, done);
    }

    fn answered(self: &Rc<Self>, index: u32, end: Result<Answer, Refusal>) {
        let jobs = self.asking.borrow_mut().remove(&index).unwrap_or_default();
        let mut allocated = match end {
            Ok(Answer::Extents(extents)) => extents.iter().any(|extent| extent.allocated),
            Ok(_) => false,
            Err(refusal) => {
                jobs.into_iter().for_each(|job| self.failed(job, refusal.clone()));
                return;
            }
        };
        if allocated {
            self.allocated.borrow_mut().set(index);
        }
        for job in jobs {
            if job.work.needs().is_some() && !allocated {
                self.end(job, false, |ticket| ticket.refuse(ResultCode::NoObject));
                continue;
            }
            match &job.work {
                Work::Write { create: true, .. } => allocated = true,
                Work::Discard { .. } => allocated = false,
                _ => {}
            }
            self.submit(job);
        }
    }

    fn submit(self: &Rc<Self>, job: Job) {
        match &job.work {
            Work::Discard { index, .. } => self.allocated.borrow_mut().unset(*index, 1),
            Work::WriteMap { offset, data } if data.iter().all(|byte| *byte == 0) => {
                self.allocated.borrow_mut().unset(offset / 4, data.len() as u32 / 4);
            }
            Work::Write { data: None, .. } => {
                return self.end(job, true, |ticket| ticket.answer(Response::DONE));
            }
            Work::Read { len: 0, zeros, .. } => {
                let zeros = Buffer::zeroed(*zeros as usize).share();
                return self.end(job, true, |ticket| ticket.answer_data(Body::One(zeros)));
            }
            _ => {}
        }
        let operation = job.work.operation();
        let queue = self.clone();
        self.door.submit(self.vid, operation, Box::new(move |end| queue.finish(job, end)));
    }

    fn finish(self: &Rc<Self>, mut job: Job, end: Result<Answer, Refusal>) {
        let answer = match end {
            Ok(answer) => answer,
            Err(refusal) => return self.failed(job, refusal),
        };
        let body = match (&mut job.work, answer) {
            (Work::Read { len, zeros, .. }, Answer::Data(data)) if data.len() == *len as usize => {
                after(Vec::new(), data, *zeros)
            }
            (Work::ReadMap { before, len, zeros, .. }, Answer::Data(data))
                if data.len() == *len as usize =>
            {
                after(std::mem::take(before), data, *zeros)
            }
            (Work::Read { .. } | Work::ReadMap { .. }, _) => {
                // A short reply would shift every later byte of the stream.
                return self.end(job, false, |ticket| ticket.refuse(ResultCode::Io));
            }
            (work, _) => {
                if let Work::Write { index, .. } = work {
                    self.allocated.borrow_mut().set(*index);
                }
                return self.end(job, true, |ticket| ticket.answer(Response::DONE));
            }
        };
        self.end(job, true, |ticket| ticket.answer_data(body));
    }

    fn failed(self: &Rc<Self>, mut job: Job, refusal: Refusal) {
        if refusal == Refusal::Fenced {
            // Given up, or taken over: the next attach tells which.
            if self.ownership.get() == Ownership::Attached {
                self.ownership.set(Ownership::Idle);
                self.epoch.set(self.epoch.get() + 1);
            }
            if job.tries < TRIES_MAX && !job.ticket.connection.is_peer_closed() {
                job.tries += 1; // Q2
                return self.admit(job);
            }
        }
        let code = Failure::from(refusal).code();
        self.end(job, false, |ticket| ticket.refuse(code));
    }

    fn end(&self, job: Job, ok: bool, answer: impl FnOnce(Ticket)) {
        let (kind, bytes) = job.work.metric();
        self.door.observe(Face::Legacy, kind, bytes, job.since.elapsed(), ok);
        answer(job.ticket);
    }
}

/// `before`, then `data`, then zeros.
fn after(mut before: Vec<Payload>, data: Payload, zeros: u32) -> Body {
    if before.is_empty() && zeros == 0 {
        return Body::One(data);
    }
    before.push(data);
    if zeros > 0 {
        before.push(Buffer::zeroed(zeros as usize).share());
    }
    Body::Many(before)
}

#[cfg(test)]
mod tests;
