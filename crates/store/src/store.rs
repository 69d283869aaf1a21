//! The store: one directory of a disk, one owner, requests in, replies out.
//!
//! Why: a request that waits for the disk must not keep the others waiting.
//! Way: `submit` queues a request; `turn` lets everything go on as far as it can: what has
//!      ended on the disk is taken in (`work`), requests are planned in order (`plan`, `read`),
//!      planned changes are committed together (`commit`), large ones are put in place first
//!      (`place`), and a checkpoint goes on beside all that (`checkpoint`). `take_replies` has
//!      what is answered.
//! Holds:
//!   ST1 a change is answered only after its batch is durable in the log (WAL-BEFORE-ACK);
//!   ST2 no present block is overwritten in place before its new content is durable in the log
//!       (OLD-UNTIL-COMMITTED), and what a placed record names was durable before the record
//!       (REDIRECT-BEFORE-COMMIT);
//!   ST3 a segment is used again only after a checkpoint (CKPT-BEFORE-RECYCLE);
//!   ST4 a bad batch before a good one stops the open (NO-SILENT-TRUNCATION);
//!   ST5 after a failed sync or write nothing more is done or answered (FSYNC-ONCE);
//!   ST6 every change since its watermark is in the unstable list, also after a crash.
//! Not here: threads and queues (sheep), the rules of changes (`contents`).

mod checkpoint;
mod commit;
pub(crate) mod files;
mod hold;
mod load;
mod open;
mod options;
mod pending;
mod place;
mod plan;
mod read;
mod room;
mod statistics;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::os::fd::BorrowedFd;

use sheepdog_proto::View;

use crate::contents::Contents;
use crate::contents::pages::PageKey;
use crate::disk::guarded::GuardedDisk;
use crate::disk::{Ended, Ticket};
use crate::error::StoreError;
use crate::request::{Reply, Request};
use crate::wal::Wal;
use checkpoint::Checkpointer;
use commit::Commits;
use files::Files;
#[cfg(test)]
pub(crate) use files::SLAB_UNITS;
pub(crate) use open::has_store;
pub use options::{OpenReport, Options};
use pending::Pending;
use place::Placings;
use read::Reading;
use room::Room;
pub use statistics::Statistics;
use work::Work;

/// The reply to a request, by the token that came with it.
pub type Answer = (u64, Result<Reply, StoreError>);

/// Objects on one directory of a disk. See the module.
pub struct Store {
    disk: GuardedDisk,
    files: Files,
    options: Options,
    contents: Contents,
    wal: Wal,
    queue: VecDeque<Queued>,
    pending: Pending,
    commits: Commits,
    placings: Placings,
    checkpointer: Checkpointer,
    room: Room,
    jobs: BTreeMap<u64, Job>,
    /// The change that is being planned is known to be everywhere.
    is_settled: bool,
    /// A bucket is being forgotten by this job.
    forgetting: Option<u64>,
    readings: BTreeMap<u64, Reading>,
    questions: VecDeque<Question>,
    /// Reads that wait for large writes before them.
    parked: Vec<Parked>,
    work: BTreeMap<Ticket, Work>,
    answers: Vec<Answer>,
    statistics: Statistics,
    last_id: u64,
    ended: Vec<Ended>,
}

/// A request that is not planned yet.
#[derive(Debug)]
struct Queued {
    token: u64,
    request: Request,
    /// Pages that are kept in memory for it.
    pages: Vec<PageKey>,
    /// Times that it was read and did not match its checksums.
    attempts: u32,
    /// It has waited for the large writes before it.
    has_waited: bool,
}

/// A change that is answered when all its parts are committed.
#[derive(Debug)]
struct Job {
    token: u64,
    /// Parts that are not committed.
    parts: u32,
    /// Blocks that change.
    blocks: u32,
    /// Why a part was refused.
    error: Option<StoreError>,
    /// What it changes is known to be everywhere.
    is_settled: bool,
}

/// A read of blocks into which large writes that came before it are under way.
#[derive(Debug)]
struct Parked {
    queued: Queued,
    /// The newest of those writes.
    after_placing: u64,
}

/// A question about what is committed, which waits for everything before it.
#[derive(Debug)]
struct Question {
    token: u64,
    request: Request,
    /// Changes that are being put in place, up to this one, must have been planned.
    after_placing: u64,
    /// Then this batch must be committed.
    after_batch: Option<u64>,
}

impl Store {
    /// Queues a request. Its reply comes with `token` out of `take_replies`; requests are
    /// executed in the order in which they come.
    pub fn submit(&mut self, token: u64, request: Request) {
        if let Some(failure) = self.failure() {
            let failure = failure.clone();
            self.answers.push((token, Err(failure)));
            return;
        }
        let pages = self.want_pages(&request);
        self.queue.push_back(Queued { token, request, pages, attempts: 0, has_waited: false });
    }

    /// Lets everything go on as far as it can. With `wait` it returns only when there are
    /// replies, or when nothing is under way any more.
    pub fn turn(&mut self, wait: bool) {
        loop {
            self.go_on();
            let mut ended = std::mem::take(&mut self.ended);
            self.disk.reap(false, &mut ended);
            if ended.is_empty() && wait && self.answers.is_empty() && self.failure().is_none() {
                self.disk.reap(true, &mut ended);
            }
            let is_idle = ended.is_empty();
            for ended in ended.drain(..) {
                self.take_ended(ended);
            }
            self.ended = ended;
            if self.failure().is_some() {
                self.answer_all_failed();
                return;
            }
            if is_idle {
                return;
            }
        }
    }

    /// Replies since the last call.
    pub fn take_replies(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// Becomes readable when `turn` has something to do; `None` where only `turn(true)` helps.
    #[must_use]
    pub fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        self.disk.wakeup()
    }

    /// Call it about ten times a second: what found no space is tried again, space that is no
    /// longer used goes back after some seconds, and what changed is in place after a minute.
    pub fn tick(&mut self) {
        self.room.forget();
        self.commits.forget_full();
        self.retry_checkpoint();
        self.checkpoint_in_time();
        self.relieve_disk();
    }

    /// Executes requests in order and waits for all replies. Every change that is answered with
    /// `Done` is durable on return; reads see the changes before them.
    ///
    /// # Errors
    /// Each reply has its own; after `Failed` every later one is `Failed`, too. A change that
    /// is answered with `Failed` may be found after the next open, or not. `Full` also where
    /// only more space would let the request go on; such a change may take effect later.
    pub fn execute(&mut self, requests: Vec<Request>) -> Vec<Result<Reply, StoreError>> {
        let count = requests.len();
        for (token, request) in (0..).zip(requests) {
            self.submit(token, request);
        }
        let mut replies: Vec<Option<Result<Reply, StoreError>>> = vec![None; count];
        let mut left = count;
        while left > 0 {
            self.turn(true);
            let answers = self.take_replies();
            if answers.is_empty() {
                self.refuse_all();
            }
            for (token, reply) in answers {
                replies[token as usize] = Some(reply);
                left -= 1;
            }
        }
        replies.into_iter().flatten().collect()
    }

    /// Writes a checkpoint and waits for it, so that the next open has nothing to replay. Call
    /// it before a clean stop.
    ///
    /// # Errors
    /// `Full` if there is no space for it: the store goes on with the old one. `Failed` if a
    /// sync or a write failed.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.finish_checkpoint()?;
        self.checkpointer.is_wanted = true;
        self.finish_checkpoint()
    }

    fn finish_checkpoint(&mut self) -> Result<(), StoreError> {
        loop {
            if let Some(failure) = self.failure() {
                return Err(failure.clone());
            }
            let is_begun = self.checkpointer.is_running() || self.commits.begins_checkpoint();
            if !is_begun && !self.checkpointer.is_wanted {
                return Ok(());
            }
            let before = self.statistics.clone();
            self.turn(true);
            if self.work.is_empty() && before == self.statistics && self.failure().is_none() {
                self.checkpointer.is_wanted = false;
                return Err(StoreError::Full);
            }
        }
    }

    /// Asks for a checkpoint that goes on beside everything else; `statistics` counts it when it
    /// has ended.
    pub const fn want_checkpoint(&mut self) {
        self.checkpointer.is_wanted = true;
    }

    /// Whether requests or a checkpoint are under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.work.is_empty() || !self.queue.is_empty() || !self.answers.is_empty()
    }

    /// Segment of the log in use.
    #[must_use]
    pub fn segment(&self) -> u32 {
        self.wal.segment()
    }

    /// What was done since the store was opened.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Number of objects.
    #[must_use]
    pub fn object_count(&self) -> usize {
        self.contents.objects.values().filter(|object| object.exists()).count()
    }

    /// Bytes that new data can still take.
    ///
    /// # Errors
    /// `Io` if the file system does not say, `Failed` after a failure.
    pub fn free_space(&mut self) -> Result<u64, StoreError> {
        let free = self.disk.free_space()?;
        Ok(free.saturating_sub(self.options.reserve_bytes + self.contents.dirty_bytes()))
    }

    /// Why the store has stopped for good, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<&StoreError> {
        self.disk.failure()
    }

    fn go_on(&mut self) {
        if self.failure().is_some() {
            self.answer_all_failed();
            return;
        }
        self.unpark();
        self.plan_queue();
        self.sync_placings();
        self.start_commit();
        self.drive_checkpoint();
        self.answer_questions();
        self.contents.pages.trim(self.options.metadata_bytes_max);
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn answer(&mut self, token: u64, reply: Result<Reply, StoreError>) {
        self.answers.push((token, reply));
    }

    /// ST5: nothing is known any more.
    fn answer_all_failed(&mut self) {
        if let Some(failure) = self.failure().cloned() {
            self.answer_all(&failure);
        }
    }

    fn answer_all(&mut self, error: &StoreError) {
        let parked = std::mem::take(&mut self.parked).into_iter().map(|parked| parked.queued);
        let queued = self.queue.drain(..).chain(parked).map(|queued| queued.token);
        let jobs = std::mem::take(&mut self.jobs).into_values().map(|job| job.token);
        let readings = std::mem::take(&mut self.readings);
        let questions = self.questions.drain(..).map(|question| question.token);
        let tokens = queued
            .chain(jobs)
            .chain(readings.into_values().map(|reading| reading.token))
            .chain(questions);
        self.answers.extend(tokens.map(|token| (token, Err(error.clone()))));
    }

    /// Nothing goes on without more space.
    fn refuse_all(&mut self) {
        for queued in std::mem::take(&mut self.queue) {
            self.release_pages(&queued.pages);
            self.answer(queued.token, Err(hold::no_room(&queued.request)));
        }
        self.answer_all(&StoreError::Full);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("objects", &self.contents.objects.len())
            .field("segment", &self.segment())
            .field("queued", &self.queue.len())
            .field("under way", &self.work)
            .field("log files ready", &self.wal.ready())
            .field("commits", &self.commits)
            .field("checkpointer", &self.checkpointer)
            .field("failure", &self.failure())
            .finish_non_exhaustive()
    }
}

/// A view that raises nothing.
const NO_VIEW: View = View(0);

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
