//! Disk: the store's only seam to the kernel.
//!
//! Why: the store runs on files, and in tests and the simulator on memory that loses power.
//! Holds:
//!   D1 paths are relative to the store's directory, `/` between names; "" is the directory;
//!   D2 a write is durable only after `sync` of its file returned, a name only after
//!      `sync_dir` of its directory returned;
//!   D3 until then a power cut may keep it, lose it, or keep any of its 512-byte sectors;
//!   D4 a submitted operation owns its buffers until it is reaped, and operations that are
//!      under way at the same time happen in any order.
//! Way: names and what happens once (open, make, list) by calls that wait; reads, writes and
//!      syncs of a running store by `submit` and `reap`.
//! Not here: what errors mean for the store (`guarded`).

pub mod fake;
pub(crate) mod guarded;
pub mod real;
pub mod recorder;

use std::io;
use std::os::fd::BorrowedFd;

use sheepdog_proto::{Buffer, Payload};

pub use fake::FakeDisk;
pub use real::{Engine, RealDisk};
pub use recorder::Recorder;

/// Bytes that a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// An open file, until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Without its directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_directory: bool,
}

/// Names an operation that is under way; the store chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What can be under way while the store goes on.
#[derive(Debug)]
pub enum Operation {
    /// Fills the buffer from `offset`, through the page cache; fewer bytes only at the end of
    /// the file.
    Read {
        /// From which file.
        file: FileId,
        /// Byte where it begins.
        offset: u64,
        /// Comes back in [`Outcome::Read`].
        buffer: Buffer,
    },
    /// Writes all parts one after the other from `offset`.
    Write {
        /// To which file.
        file: FileId,
        /// Byte where it begins.
        offset: u64,
        /// In order.
        parts: Vec<Payload>,
        /// The bytes are durable when the operation has ended, as by a `sync` after it that
        /// concerns them alone.
        durable: bool,
        /// Past the page cache where the file system and the alignment of offset and parts
        /// allow it: for bytes that nobody reads soon. A hint.
        direct: bool,
    },
    /// Makes durable what was written before the submission (fdatasync).
    Sync {
        /// Of which file.
        file: FileId,
    },
    /// Gives the space of a range back; it reads as zeros, or unchanged where the file system
    /// cannot do that.
    Punch {
        /// In which file.
        file: FileId,
        /// Byte where the range begins.
        offset: u64,
        /// Bytes.
        len: u64,
    },
}

/// An operation that is no longer under way.
#[derive(Debug)]
pub struct Ended {
    /// As it was submitted.
    pub ticket: Ticket,
    /// How it ended. A write may be partly done after an error.
    pub result: Result<Outcome, DiskError>,
}

/// What an operation brought.
#[derive(Debug)]
pub enum Outcome {
    /// Of a read: the buffer, and how many of its bytes the file had.
    Read(Buffer, usize),
    /// Of anything else.
    Done,
}

/// Files in one directory, used by one thread.
///
/// # Errors
/// Every call fails with `Io` if the kernel says so; `Full` and `NotFound` where named.
#[allow(clippy::missing_errors_doc)] // Said once for the trait, above.
pub trait Disk: Send {
    /// Makes an empty file that must not exist; its name is not durable. May be `Full`.
    fn create(&mut self, path: &str) -> Result<FileId, DiskError>;
    /// Opens a file for reading and writing. May be `NotFound`.
    fn open(&mut self, path: &str) -> Result<FileId, DiskError>;
    /// Gives the handle back; nothing becomes durable by it.
    fn close(&mut self, file: FileId);
    /// Fills `bytes` from `offset`; fewer only at the end of the file. Returns how many.
    fn read_at(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError>;
    /// Writes all parts one after the other from `offset`. May be `Full`, then partly done.
    fn write_at(&mut self, file: FileId, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError>;
    /// Makes sure that writing this range needs no more space. The range must hold nothing of
    /// value: where the file system cannot reserve, it is filled with zeros. May be `Full`,
    /// then partly done.
    fn allocate(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), DiskError>;
    /// Gives the space of a range back; it reads as zeros, or unchanged where the file system
    /// cannot do that.
    fn punch_hole(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), DiskError>;
    /// Bytes of a file.
    fn len(&mut self, file: FileId) -> Result<u64, DiskError>;
    /// Cuts a file, or lengthens it with zeros.
    fn set_len(&mut self, file: FileId, len: u64) -> Result<(), DiskError>;
    /// Makes a file's bytes durable (fdatasync).
    fn sync(&mut self, file: FileId) -> Result<(), DiskError>;
    /// Makes a directory's names durable.
    fn sync_dir(&mut self, path: &str) -> Result<(), DiskError>;
    /// Makes a directory; one that exists is fine. May be `Full`.
    fn create_dir(&mut self, path: &str) -> Result<(), DiskError>;
    /// Names in a directory, sorted. May be `NotFound`.
    fn list(&mut self, path: &str) -> Result<Vec<Entry>, DiskError>;
    /// Gives a file another name, which it takes from any other file. May be `NotFound`.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a file's name. May be `NotFound`.
    fn remove(&mut self, path: &str) -> Result<(), DiskError>;
    /// Bytes that can still be allocated.
    fn free_space(&mut self) -> Result<u64, DiskError>;
    /// Begins an operation. It may wait for the next `reap` before the kernel hears of it, so
    /// that one system call takes many.
    fn submit(&mut self, ticket: Ticket, operation: Operation);
    /// Hands everything submitted to the kernel and collects what has ended; with `wait` it
    /// returns only when something has, unless nothing is under way.
    fn reap(&mut self, wait: bool, ended: &mut Vec<Ended>);
    /// Becomes readable when something may have ended; `reap` makes it unreadable. `None` if
    /// the caller must use `wait`.
    fn wakeup(&self) -> Option<BorrowedFd<'_>>;
}

/// What a disk can answer instead.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no such file or directory.
    #[error("{operation} {path}: no such file or directory")]
    NotFound {
        /// What was tried.
        operation: &'static str,
        /// Inside the store's directory.
        path: String,
    },
    /// No space is left.
    #[error("{operation} {path}: no space left")]
    Full {
        /// What was tried.
        operation: &'static str,
        /// Inside the store's directory.
        path: String,
    },
    /// Anything else.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Inside the store's directory.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl DiskError {
    /// Sorts an error of the kernel.
    #[must_use]
    pub fn sort(operation: &'static str, path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { operation, path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { operation, path }
            }
            _ => Self::Io { operation, path, source },
        }
    }
}

#[cfg(test)]
#[path = "disk/tests.rs"]
mod tests;
