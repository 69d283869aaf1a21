//! The ring: the kernel carries out many operations that one system call named (io_uring).
//!
//! Why: a store that waits for one `fdatasync` at a time does nothing else meanwhile.
//! Way: `submit` queues; `reap` fills the submission ring, enters the kernel once, and collects.
//! Holds:
//!   RU1 what the kernel may still touch (buffers, parts, the file) stays in its slot until the
//!       completion was collected; dropping the ring waits for every completion first;
//!   RU2 at most `SLOTS` operations are in the kernel, so neither of its rings overflows;
//!   RU3 a completion that was not collected leaves the counter readable.
//! Not here: what is repeated and continued (`job`).
#![allow(unsafe_code)] // The submission ring takes addresses; RU1 is why they stay good.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::event::EventfdFlags;
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

use super::super::Ended;
use super::engine::{Run, count, counter, uncount};
use super::job::{Call, Job, Step, slices};

/// Operations in the kernel at the same time (RU2); a power of two. More are queued here.
const SLOTS: usize = 256;
/// The kernel reads at most this much in one call, and its count has 32 bits.
const READ_BYTES_MAX: usize = 0x7fff_f000;
/// The kernel posts a completion first and counts it afterwards, perhaps when it is collected
/// already. Every so many reaps without a completion look for such a count, so that it
/// cannot keep a caller awake for longer.
const QUIET_REAPS: u32 = 16;

/// One ring of the kernel and what is in it.
pub(super) struct Ring {
    ring: IoUring,
    /// The kernel counts completions here; see `QUIET_REAPS`.
    counter: OwnedFd,
    /// Given back only after the last completion (RU1): if that never comes, because dropping
    /// panicked, it is lost.
    slots: ManuallyDrop<Vec<Slot>>,
    free: Vec<usize>,
    queue: VecDeque<Job>,
    /// Reaps since the last completion.
    quiet: u32,
}

/// One operation in the kernel.
#[derive(Debug, Default)]
struct Slot {
    job: Option<Job>,
    spans: Vec<Span>,
}

/// The kernel's `struct iovec`. The address is a number, because only the kernel follows it.
#[derive(Debug)]
#[repr(C)]
struct Span {
    address: usize,
    bytes: usize,
}

impl Ring {
    /// # Errors
    /// The kernel's, if it knows no io_uring, forbids it, or lacks an operation.
    pub(super) fn new() -> io::Result<Self> {
        // No IORING_SETUP_SINGLE_ISSUER: disks are made on another thread than they are used on.
        let ring = IoUring::new(SLOTS as u32)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Read::CODE,
            opcode::Writev::CODE,
            opcode::Fsync::CODE,
            opcode::Fallocate::CODE,
        ];
        if !needed.iter().all(|code| probe.is_supported(*code)) {
            return Err(Errno::OPNOTSUPP.into());
        }
        // Filters of containers may allow the set-up and forbid the use.
        ring.submit()?;
        let counter = counter(EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(counter.as_raw_fd())?;
        Ok(Self {
            ring,
            counter,
            slots: ManuallyDrop::new((0..SLOTS).map(|_| Slot::default()).collect()),
            free: (0..SLOTS).rev().collect(),
            queue: VecDeque::new(),
            quiet: 0,
        })
    }

    /// Operations that the kernel has, or has yet to take from the submission ring.
    fn in_kernel(&self) -> usize {
        SLOTS - self.free.len()
    }

    /// Moves from the queue to the submission ring what has a slot.
    fn fill(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let mut entries = self.ring.submission();
        while let Some(index) = self.free.pop() {
            let Some(job) = self.queue.pop_front() else {
                self.free.push(index);
                return;
            };
            let entry = self.slots[index].prepare(job).user_data(index as u64);
            // SAFETY: the addresses in the entry point into the heap blocks of the slot's job and
            // spans, and its descriptor is the job's; RU1 keeps all of them.
            let pushed = unsafe { entries.push(&entry) };
            assert!(pushed.is_ok(), "the submission ring has as many entries as there are slots");
        }
    }

    /// Lets the kernel take what was filled in, and waits until `want` operations are complete.
    fn enter(&self, want: usize) {
        let Err(error) = self.ring.submit_and_wait(want) else { return };
        match Errno::from_io_error(&error) {
            Some(Errno::INTR) => {}
            // Memory is short for now; the caller comes again until the kernel takes it.
            Some(Errno::AGAIN | Errno::BUSY | Errno::NOMEM) => std::thread::yield_now(),
            _ => panic!("io_uring_enter refuses what it took when the disk was opened: {error}"),
        }
    }

    /// Frees the slots of what is complete. A job that is not over goes to the head of the queue.
    fn collect(&mut self, ended: &mut Vec<Ended>) {
        for completion in self.ring.completion() {
            let index = completion.user_data() as usize;
            let Some(job) = self.slots[index].job.take() else {
                unreachable!("the kernel completes slot {index}, which is free");
            };
            self.free.push(index);
            let result = completion.result();
            // A count, or a negative number of an error.
            let result = usize::try_from(result)
                .map_err(|_| Errno::from_raw_os_error(result.wrapping_neg()));
            match job.advance(result) {
                Step::Again(job) => self.queue.push_front(job),
                Step::Ended(end) => ended.push(end),
            }
        }
    }
}

impl Slot {
    /// Keeps the job and describes its next call to the kernel.
    fn prepare(&mut self, job: Job) -> squeue::Entry {
        let Self { job: kept, spans } = self;
        match kept.insert(job).call() {
            Call::Read { file, offset, bytes } => {
                let len = bytes.len().min(READ_BYTES_MAX) as u32;
                let fd = Fd(file.as_raw_fd());
                opcode::Read::new(fd, bytes.as_mut_ptr(), len).offset(offset).build()
            }
            Call::Write { file, offset, parts, skip, durable } => {
                spans.clear();
                spans.extend(slices(parts, skip).map(|part| Span {
                    address: part.as_ptr().expose_provenance(),
                    bytes: part.len(),
                }));
                let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
                opcode::Writev::new(Fd(file.as_raw_fd()), spans.as_ptr().cast(), spans.len() as u32)
                    .offset(offset)
                    .rw_flags(flags.bits() as i32)
                    .build()
            }
            Call::Sync { file } => {
                opcode::Fsync::new(Fd(file.as_raw_fd())).flags(FsyncFlags::DATASYNC).build()
            }
            Call::Punch { file, offset, len } => {
                let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                opcode::Fallocate::new(Fd(file.as_raw_fd()), len)
                    .offset(offset)
                    .mode(mode.bits() as i32)
                    .build()
            }
        }
    }
}

impl Run for Ring {
    fn submit(&mut self, job: Job) {
        let is_large = job.is_large();
        self.queue.push_back(job);
        if is_large {
            // The disk writes it while the caller plans the next one.
            self.fill();
            self.enter(0);
        }
    }

    fn reap(&mut self, wait: bool, ended: &mut Vec<Ended>) {
        let before = ended.len();
        loop {
            self.fill();
            let must_wait = wait && ended.len() == before && self.in_kernel() > 0;
            let must_wait = must_wait && self.ring.completion().is_empty();
            if must_wait || !self.ring.submission().is_empty() {
                self.enter(usize::from(must_wait));
            }
            let has_arrived = !self.ring.completion().is_empty();
            self.quiet = if has_arrived { 0 } else { self.quiet.wrapping_add(1) };
            if self.quiet.is_multiple_of(QUIET_REAPS) {
                // In this order: what arrives after the collection is counted again (RU3).
                uncount(&self.counter);
                self.collect(ended);
            }
            let can_fill = !self.queue.is_empty() && !self.free.is_empty();
            let must_wait = wait && ended.len() == before && self.in_kernel() > 0;
            if !can_fill && !must_wait && self.ring.submission().is_empty() {
                return;
            }
        }
    }

    fn wakeup(&self) -> BorrowedFd<'_> {
        self.counter.as_fd()
    }

    fn raise(&mut self) {
        count(&self.counter);
        // The very next reap takes it back.
        self.quiet = QUIET_REAPS - 1;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // RU1. What is still queued was never promised.
        self.queue.clear();
        let mut ended = Vec::new();
        while self.in_kernel() > 0 {
            if self.ring.completion().is_empty() {
                self.enter(1);
            }
            self.collect(&mut ended);
            // The rest of what came half way.
            self.queue.clear();
        }
        drop(mem::take(&mut *self.slots));
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} in the kernel, {} queued)", self.in_kernel(), self.queue.len())
    }
}

#[cfg(test)]
#[path = "ring/tests.rs"]
mod tests;
