//! The pool: a few threads that wait for the kernel, where io_uring is refused.
//!
//! Way: jobs go to the threads by one channel, what ended comes back by another; a bell wakes
//!      the store.
//! Holds: every ring of the bell is heard exactly once, so it never stays readable for nothing.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::EventfdFlags;
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use rustix::io::{Errno, ReadWriteFlags, pread, pwritev2};

use super::super::Ended;
use super::engine::{Run, count, counter, uncount};
use super::job::{Call, Job, Step, slices};

/// Enough to keep a disk busy while one thread waits for a flush.
const THREADS: usize = 4;

/// The threads.
#[derive(Debug)]
pub(super) struct Pool {
    /// `None` only while it is dropped.
    jobs: Option<Sender<Job>>,
    ended: Receiver<Ended>,
    bell: Arc<Bell>,
    threads: Vec<JoinHandle<()>>,
    /// Jobs whose end nobody has collected.
    under_way: usize,
}

/// Rung after an end was sent, cleared before ends are collected.
#[derive(Debug)]
struct Bell {
    counter: OwnedFd,
    is_rung: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            count(&self.counter);
        }
    }

    fn clear(&self) {
        if self.is_rung.swap(false, Ordering::AcqRel) {
            // Waits the moment that the ringer may need between the two halves of `ring`. One
            // count is taken, not all: another may be of a ring that is yet to be cleared.
            uncount(&self.counter);
        }
    }
}

impl Pool {
    pub(super) fn new() -> io::Result<Self> {
        let bell =
            Bell { counter: counter(EventfdFlags::SEMAPHORE)?, is_rung: AtomicBool::new(false) };
        let (jobs, jobs_taken) = channel();
        let (ended_sent, ended) = channel();
        let mut pool = Self {
            jobs: Some(jobs),
            ended,
            bell: Arc::new(bell),
            threads: Vec::new(),
            under_way: 0,
        };
        let jobs_taken = Arc::new(Mutex::new(jobs_taken));
        for index in 0..THREADS {
            let (jobs, ended, bell) = (jobs_taken.clone(), ended_sent.clone(), pool.bell.clone());
            let builder = thread::Builder::new().name(format!("disk-{index}"));
            pool.threads.push(builder.spawn(move || work(&jobs, &ended, &bell))?);
        }
        Ok(pool)
    }
}

impl Run for Pool {
    fn submit(&mut self, job: Job) {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        assert!(sent, "threads of the pool live as long as the pool");
        self.under_way += 1;
    }

    fn reap(&mut self, wait: bool, ended: &mut Vec<Ended>) {
        let before = ended.len();
        self.bell.clear();
        ended.extend(self.ended.try_iter());
        if wait && ended.len() == before && self.under_way > 0 {
            let first = self.ended.recv();
            assert!(first.is_ok(), "threads of the pool live as long as the pool");
            self.bell.clear();
            ended.extend(first.into_iter().chain(self.ended.try_iter()));
        }
        self.under_way -= ended.len() - before;
    }

    fn wakeup(&self) -> BorrowedFd<'_> {
        self.bell.counter.as_fd()
    }

    fn raise(&mut self) {
        self.bell.ring();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

/// The life of a thread.
fn work(jobs: &Mutex<Receiver<Job>>, ended: &Sender<Ended>, bell: &Bell) {
    loop {
        // The one that waits for a job holds the lock, the others wait for the lock.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut job) = next else { return };
        let end = loop {
            let result = perform(job.call());
            match job.advance(result) {
                Step::Again(rest) => job = rest,
                Step::Ended(end) => break end,
            }
        };
        if ended.send(end).is_err() {
            return;
        }
        bell.ring();
    }
}

fn perform(call: Call<'_>) -> Result<usize, Errno> {
    match call {
        Call::Read { file, offset, bytes } => pread(file, bytes, offset),
        Call::Write { file, offset, parts, skip, durable } => {
            let slices: Vec<IoSlice<'_>> = slices(parts, skip).map(IoSlice::new).collect();
            let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
            pwritev2(file, &slices, offset, flags)
        }
        Call::Sync { file } => fdatasync(file).map(|()| 0),
        Call::Punch { file, offset, len } => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(file, flags, offset, len).map(|()| 0)
        }
    }
}
