//! Jobs: operations with the file they are about, and how far they have come.
//!
//! Why: kernels stop in the middle. What is continued, repeated and reported is decided here,
//!      once for both engines.
//! Way: an engine asks for the next [`Call`], does it, and hands the answer to `advance`.
//! Holds:
//!   RJ1 a sync or durable write that failed or was interrupted is never repeated, because the
//!       second one would not tell the truth (FSYNC-ONCE);
//!   RJ2 a job keeps its file open and its bytes in place until it is dropped.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use sheepdog_proto::{BLOCK_BYTES, Buffer, Payload};

use super::super::{DiskError, Ended, FileId, Operation, Outcome, Ticket};

/// The largest number of parts the kernel takes in one call.
pub(super) const PARTS_MAX: usize = 1024;

/// A write of so many bytes takes the disk longer than a system call takes.
const LARGE_BYTES: usize = 128 << 10;

/// A file that jobs share with the disk.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) path: String,
    /// The same file past the page cache, from the first direct write on; `None` if the file
    /// system refuses.
    direct: OnceLock<Option<File>>,
}

impl OpenFile {
    pub(super) fn new(file: File, path: &str) -> Self {
        Self { file, path: path.to_owned(), direct: OnceLock::new() }
    }

    fn direct(&self) -> Option<&File> {
        self.direct.get_or_init(|| open_direct(&self.file)).as_ref()
    }
}

/// Opens a file once more with `O_DIRECT`, by its descriptor: the name may be another file's now.
fn open_direct(file: &File) -> Option<File> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let direct = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    // Asked beforehand, because a durable write that fails for its alignment is not repeated.
    let status = rustix::fs::statx(&direct, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let fits = status.map_or(true, |status| {
        let says = StatxFlags::from_bits_retain(status.stx_mask).contains(StatxFlags::DIOALIGN);
        let fits = |align: u32| align != 0 && BLOCK_BYTES.is_multiple_of(align as usize);
        !says || (fits(status.stx_dio_mem_align) && fits(status.stx_dio_offset_align))
    });
    fits.then_some(direct)
}

/// An operation that is under way.
#[derive(Debug)]
pub(super) struct Job {
    ticket: Ticket,
    name: &'static str,
    file: Arc<OpenFile>,
    task: Task,
}

#[derive(Debug)]
enum Task {
    Read { offset: u64, buffer: Buffer, done: usize },
    Write(Write),
    Sync,
    Punch { offset: u64, len: u64 },
}

#[derive(Debug)]
struct Write {
    /// Where the rest begins.
    offset: u64,
    /// None is empty, so that a call with parts that writes nothing is an error.
    parts: Vec<Payload>,
    /// Parts that are written.
    done: usize,
    /// Bytes of the next part that are written.
    skip: usize,
    durable: bool,
    direct: bool,
}

/// The system call that brings a job forward.
pub(super) enum Call<'a> {
    /// `pread`.
    Read { file: &'a File, offset: u64, bytes: &'a mut [u8] },
    /// `pwritev2` of [`slices`], with `RWF_DSYNC` if durable.
    Write { file: &'a File, offset: u64, parts: &'a [Payload], skip: usize, durable: bool },
    /// `fdatasync`.
    Sync { file: &'a File },
    /// `fallocate` with `FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE`.
    Punch { file: &'a File, offset: u64, len: u64 },
}

/// What becomes of a job after a call.
pub(super) enum Step {
    /// There is another call to do.
    Again(Job),
    /// It is over.
    Ended(Ended),
}

/// The file of an operation, and what its errors call it.
pub(super) fn subject(operation: &Operation) -> (FileId, &'static str) {
    match operation {
        Operation::Read { file, .. } => (*file, "read"),
        Operation::Write { file, .. } => (*file, "write"),
        Operation::Sync { file } => (*file, "sync"),
        Operation::Punch { file, .. } => (*file, "punch"),
    }
}

impl Job {
    /// Takes an operation over.
    ///
    /// # Errors
    /// `EINVAL` if no file reaches that far: the kernel takes the largest offset for something
    /// else than an offset.
    pub(super) fn new(
        ticket: Ticket,
        file: Arc<OpenFile>,
        operation: Operation,
    ) -> Result<Self, Errno> {
        let (_, name) = subject(&operation);
        let task = match operation {
            Operation::Read { offset, buffer, .. } => {
                Task::Read { offset: check_offset(offset)?, buffer, done: 0 }
            }
            Operation::Write { offset, mut parts, durable, direct, .. } => {
                check_offset(offset)?;
                let direct = direct && is_aligned(offset, &parts) && file.direct().is_some();
                parts.retain(|part| !part.is_empty());
                Task::Write(Write { offset, parts, done: 0, skip: 0, durable, direct })
            }
            Operation::Sync { .. } => Task::Sync,
            Operation::Punch { offset, len, .. } => {
                Task::Punch { offset: check_offset(offset)?, len }
            }
        };
        Ok(Self { ticket, name, file, task })
    }

    /// Whether it is worth a system call of its own to begin it at once.
    pub(super) fn is_large(&self) -> bool {
        let Task::Write(write) = &self.task else { return false };
        write.direct && write.parts.iter().map(|part| part.len()).sum::<usize>() >= LARGE_BYTES
    }

    /// What to do next.
    pub(super) fn call(&mut self) -> Call<'_> {
        let file = &self.file.file;
        match &mut self.task {
            Task::Read { offset, buffer, done } => {
                Call::Read { file, offset: *offset + *done as u64, bytes: &mut buffer[*done..] }
            }
            Task::Write(write) => {
                // After a call that stopped within a block the rest is no longer aligned.
                let is_direct = write.direct && write.skip.is_multiple_of(BLOCK_BYTES);
                let direct = if is_direct { self.file.direct() } else { None };
                Call::Write {
                    file: direct.unwrap_or(file),
                    offset: write.offset,
                    parts: &write.parts[write.done..],
                    skip: write.skip,
                    durable: write.durable,
                }
            }
            Task::Sync => Call::Sync { file },
            Task::Punch { offset, len } => Call::Punch { file, offset: *offset, len: *len },
        }
    }

    /// Takes note of what the call brought: bytes, or anything if it is not about bytes.
    pub(super) fn advance(mut self, result: Result<usize, Errno>) -> Step {
        let count = match result {
            Ok(count) => count,
            // RJ1
            Err(Errno::INTR | Errno::AGAIN) if self.may_repeat() => return Step::Again(self),
            Err(Errno::OPNOTSUPP) if matches!(self.task, Task::Punch { .. }) => 0,
            Err(error) => return self.end_with(error),
        };
        match &mut self.task {
            Task::Read { buffer, done, .. } => {
                *done += count;
                if count > 0 && *done < buffer.len() {
                    return Step::Again(self);
                }
            }
            Task::Write(write) => {
                write.advance(count);
                if write.done < write.parts.len() {
                    // A kernel that writes nothing and says that this is fine would do so forever.
                    return if count == 0 { self.end_with(Errno::IO) } else { Step::Again(self) };
                }
            }
            Task::Sync | Task::Punch { .. } => {}
        }
        let outcome = match self.task {
            Task::Read { buffer, done, .. } => Outcome::Read(buffer, done),
            _ => Outcome::Done,
        };
        Step::Ended(Ended { ticket: self.ticket, result: Ok(outcome) })
    }

    fn may_repeat(&self) -> bool {
        match &self.task {
            Task::Read { .. } | Task::Punch { .. } => true,
            Task::Write(write) => !write.durable,
            Task::Sync => false,
        }
    }

    fn end_with(&self, error: Errno) -> Step {
        Step::Ended(refusal(self.ticket, self.name, &self.file.path, error))
    }
}

impl Write {
    fn advance(&mut self, count: usize) {
        self.offset += count as u64;
        self.skip += count;
        while let Some(part) = self.parts.get(self.done)
            && self.skip >= part.len()
        {
            self.skip -= part.len();
            self.done += 1;
        }
        assert!(
            self.skip == 0 || self.done < self.parts.len(),
            "the kernel says that it wrote more than there was"
        );
    }
}

/// What one call can write: all parts but the first `skip` bytes, and at most [`PARTS_MAX`].
pub(super) fn slices(parts: &[Payload], skip: usize) -> impl Iterator<Item = &[u8]> {
    let skips = std::iter::once(skip).chain(std::iter::repeat(0));
    parts.iter().take(PARTS_MAX).zip(skips).map(|(part, skip)| &part[skip..])
}

/// An operation that ended with an error.
pub(super) fn refusal(ticket: Ticket, operation: &'static str, path: &str, error: Errno) -> Ended {
    Ended { ticket, result: Err(DiskError::sort(operation, path, error.into())) }
}

fn check_offset(offset: u64) -> Result<u64, Errno> {
    if i64::try_from(offset).is_ok() { Ok(offset) } else { Err(Errno::INVAL) }
}

/// Whether direct I/O is possible: B1 makes it likely.
fn is_aligned(offset: u64, parts: &[Payload]) -> bool {
    let is_aligned = |part: &Payload| {
        part.len().is_multiple_of(BLOCK_BYTES) && part.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
    };
    offset.is_multiple_of(BLOCK_BYTES as u64) && parts.iter().all(is_aligned)
}

#[cfg(test)]
#[path = "job/tests.rs"]
mod tests;
