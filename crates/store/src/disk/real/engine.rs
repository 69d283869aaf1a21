//! Engines: who carries out what a real disk was asked to do while the store goes on.
//!
//! Why: io_uring takes many operations with one system call, but containers and old kernels
//!      refuse it, and the store runs there too.
//! Way: the disk makes a [`Job`] of each operation; the engine gives an [`Ended`] for each.

use std::fmt::Debug;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::super::Ended;
use super::job::Job;
use super::pool::Pool;
use super::ring::Ring;

/// Who carries out submitted operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `Ring` if the kernel allows it, else `Threads`.
    Probe,
    /// The kernel, by io_uring.
    Ring,
    /// A few threads that wait.
    Threads,
}

/// Carries out jobs in any order. Dropping it waits for what is under way; jobs that have not
/// begun may be forgotten.
pub(super) trait Run: Debug + Send {
    /// Takes a job over; it may begin only with the next `reap`.
    fn submit(&mut self, job: Job);
    /// As [`super::super::Disk::reap`].
    fn reap(&mut self, wait: bool, ended: &mut Vec<Ended>);
    /// As [`super::super::Disk::wakeup`].
    fn wakeup(&self) -> BorrowedFd<'_>;
    /// Makes the wake-up readable until the next `reap`.
    fn raise(&mut self);
}

/// Starts an engine and says which one it is.
pub(super) fn start(engine: Engine) -> io::Result<(Engine, Box<dyn Run>)> {
    match engine {
        Engine::Ring => Ok((Engine::Ring, Box::new(Ring::new()?))),
        Engine::Threads => Ok((Engine::Threads, Box::new(Pool::new()?))),
        // Whatever is wrong with the ring, threads do the same, only at a higher price.
        Engine::Probe => start(Engine::Ring).or_else(|_| start(Engine::Threads)),
    }
}

/// A counter that can be polled.
pub(super) fn counter(flags: EventfdFlags) -> io::Result<OwnedFd> {
    Ok(eventfd(0, flags | EventfdFlags::CLOEXEC)?)
}

/// Makes a counter readable.
pub(super) fn count(counter: &OwnedFd) {
    // Fails only when it is full, and then it is readable.
    let _ = rustix::io::write(counter, &1_u64.to_ne_bytes());
}

/// Takes the count, or one if it is a semaphore; waits for one unless it is non-blocking.
pub(super) fn uncount(counter: &OwnedFd) {
    while rustix::io::read(counter, &mut [0_u8; 8]) == Err(rustix::io::Errno::INTR) {}
}
