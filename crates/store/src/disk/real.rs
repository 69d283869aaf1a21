//! The real disk: files of the operating system, through the page cache.
//!
//! Way: names and waiting calls by `pread`, `pwritev`, `fdatasync`, `fallocate`, each of which
//!      returns when it is done; submitted operations by an engine.
//! Not here: what is written when (`wal`, `contents`), what submitted operations repeat
//!      (`job`; waiting ones repeat nothing).

mod engine;
mod job;
mod pool;
mod ring;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, fdatasync, statvfs};
use rustix::io::Errno;

use super::{Disk, DiskError, Ended, Entry, FileId, Operation, Ticket};
use engine::Run;
use job::{Job, OpenFile, PARTS_MAX};

pub use engine::Engine;

/// How much is zero-filled at once where the file system cannot reserve space.
const ZEROS_BYTES: usize = 64 << 10;
/// What an error calls a file that is no longer there.
const CLOSED: &str = "(closed file)";

/// Files below one directory.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    files: BTreeMap<FileId, Arc<OpenFile>>,
    next: u64,
    engine: Engine,
    runner: Box<dyn Run>,
    /// Ended before an engine saw them; each raised the wake-up.
    refused: Vec<Ended>,
}

impl RealDisk {
    /// A disk whose directory is `root`, with the best engine that works here.
    ///
    /// # Errors
    /// `NotFound` or `Io` if it is no directory.
    pub fn new(root: &Path) -> Result<Self, DiskError> {
        Self::with_engine(root, Engine::Probe)
    }

    /// A disk whose directory is `root`, with an engine of the caller's choice.
    ///
    /// # Errors
    /// `NotFound` or `Io` if it is no directory; `Io` if the engine does not work here.
    pub fn with_engine(root: &Path, engine: Engine) -> Result<Self, DiskError> {
        let shown = root.display().to_string();
        let metadata =
            fs::metadata(root).map_err(|error| DiskError::sort("open", &shown, error))?;
        if !metadata.is_dir() {
            return Err(DiskError::sort("open", &shown, Errno::NOTDIR.into()));
        }
        let (engine, runner) = engine::start(engine)
            .map_err(|error| DiskError::sort("start engine", &shown, error))?;
        Ok(Self {
            root: root.to_owned(),
            files: BTreeMap::new(),
            next: 1,
            engine,
            runner,
            refused: Vec::new(),
        })
    }

    /// Which engine carries out submitted operations: never `Probe`.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    fn full_path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    fn on_path<T>(
        &self,
        operation: &'static str,
        path: &str,
        call: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        call(&self.full_path(path)).map_err(|error| DiskError::sort(operation, path, error))
    }

    fn on_file<T>(
        &self,
        operation: &'static str,
        id: FileId,
        call: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let Some(open) = self.files.get(&id) else {
            return Err(DiskError::sort(operation, CLOSED, Errno::BADF.into()));
        };
        call(&open.file).map_err(|error| DiskError::sort(operation, &open.path, error))
    }

    fn keep(&mut self, path: &str, file: File) -> FileId {
        let id = FileId(self.next);
        self.next += 1;
        self.files.insert(id, Arc::new(OpenFile::new(file, path)));
        id
    }
}

impl Disk for RealDisk {
    fn create(&mut self, path: &str) -> Result<FileId, DiskError> {
        let file = self.on_path("create", path, |path| {
            OpenOptions::new().read(true).write(true).create_new(true).open(path)
        })?;
        Ok(self.keep(path, file))
    }

    fn open(&mut self, path: &str) -> Result<FileId, DiskError> {
        let file = self
            .on_path("open", path, |path| OpenOptions::new().read(true).write(true).open(path))?;
        Ok(self.keep(path, file))
    }

    fn close(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    fn read_at(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError> {
        self.on_file("read", file, |file| {
            let mut done = 0;
            while done < bytes.len() {
                match file.read_at(&mut bytes[done..], offset + done as u64) {
                    Ok(0) => break,
                    Ok(count) => done += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(done)
        })
    }

    fn write_at(&mut self, file: FileId, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        self.on_file("write", file, |file| {
            let mut offset = offset;
            for group in parts.chunks(PARTS_MAX) {
                write_group(file, offset, group)?;
                offset += group.iter().map(|part| part.len() as u64).sum::<u64>();
            }
            Ok(())
        })
    }

    fn allocate(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), DiskError> {
        self.on_file("allocate", file, |file| {
            match change_space(file, FallocateFlags::empty(), offset, len) {
                Err(Errno::OPNOTSUPP) => write_zeros(file, offset, len),
                other => Ok(other?),
            }
        })
    }

    fn punch_hole(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), DiskError> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.on_file("punch", file, |file| match change_space(file, flags, offset, len) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        })
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.on_file("stat", file, |file| Ok(file.metadata()?.len()))
    }

    fn set_len(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.on_file("truncate", file, |file| file.set_len(len))
    }

    fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        // Not repeated when interrupted or failed: the second call would not tell the truth.
        self.on_file("sync", file, |file| fdatasync(file).map_err(io::Error::from))
    }

    fn sync_dir(&mut self, path: &str) -> Result<(), DiskError> {
        self.on_path("sync directory", path, |path| File::open(path)?.sync_all())
    }

    fn create_dir(&mut self, path: &str) -> Result<(), DiskError> {
        self.on_path("make directory", path, |path| match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        })
    }

    fn list(&mut self, path: &str) -> Result<Vec<Entry>, DiskError> {
        let mut entries = self.on_path("list", path, |path| {
            fs::read_dir(path)?
                .map(|entry| {
                    let entry = entry?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    Ok(Entry { name, is_directory: entry.file_type()?.is_dir() })
                })
                .collect::<io::Result<Vec<_>>>()
        })?;
        entries.sort();
        Ok(entries)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let target = self.full_path(to);
        self.on_path("rename", from, |source| fs::rename(source, target))
    }

    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        self.on_path("remove", path, |path| fs::remove_file(path))
    }

    fn free_space(&mut self) -> Result<u64, DiskError> {
        self.on_path("stat file system", "", |path| {
            let space = statvfs(path)?;
            Ok(space.f_bavail.saturating_mul(space.f_frsize))
        })
    }

    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        let (id, name) = job::subject(&operation);
        let (path, error) = match self.files.get(&id) {
            None => (CLOSED, Errno::BADF),
            Some(file) => match Job::new(ticket, file.clone(), operation) {
                Ok(job) => return self.runner.submit(job),
                Err(error) => (&*file.path, error),
            },
        };
        self.refused.push(job::refusal(ticket, name, path, error));
        self.runner.raise();
    }

    fn reap(&mut self, wait: bool, ended: &mut Vec<Ended>) {
        let must_wait = wait && self.refused.is_empty();
        ended.append(&mut self.refused);
        self.runner.reap(must_wait, ended);
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        Some(self.runner.wakeup())
    }
}

/// One `pwritev`, continued by single writes in the rare case that it stops in the middle.
fn write_group(file: &File, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut done = loop {
        match rustix::io::pwritev(file, &slices, offset) {
            Ok(count) => break count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut offset = offset;
    for part in parts {
        let skip = done.min(part.len());
        done -= skip;
        if skip < part.len() {
            file.write_all_at(&part[skip..], offset + skip as u64)?;
        }
        offset += part.len() as u64;
    }
    Ok(())
}

/// `fallocate`, again if a signal came in between.
fn change_space(file: &File, flags: FallocateFlags, offset: u64, len: u64) -> Result<(), Errno> {
    loop {
        match fallocate(file, flags, offset, len) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn write_zeros(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let zeros = vec![0_u8; ZEROS_BYTES];
    let mut done = 0;
    while done < len {
        let count = (len - done).min(ZEROS_BYTES as u64);
        file.write_all_at(&zeros[..count as usize], offset + done)?;
        done += count;
    }
    Ok(())
}

#[cfg(test)]
#[path = "real/tests.rs"]
mod tests;
