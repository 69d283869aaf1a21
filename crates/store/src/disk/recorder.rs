//! The recorder: a disk that writes down everything that it did, so that it can be done again.
//!
//! Why: what real sheep did to a real disk can be replayed up to any sync, and the power cut
//!      there, as often as one likes (`replay`).
//! Way: it wraps another disk. What has ended is written to one file, with its time, before
//!      the store hears of its end; reads are not.
//! Holds:
//!   RC1 entries stand in the order in which the operations ended; one that has not ended when
//!       the process is killed counts as not done;
//!   RC2 of a submitted sync its beginning is noted too, for it covers what had ended by then
//!       and nothing else;
//!   RC3 whoever is told that something ended was told later than the entry's time, and the
//!       entry is in the kernel's hands by then.
//! Not here: a second life of a store (recording begins with an empty directory).

mod entry;
mod replay;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use sheepdog_proto::Payload;

use super::{Disk, DiskError, Ended, Entry, FileId, Operation, Ticket};
use entry::{Body, Head, Kind};

pub use replay::{RecordError, Recording, Replay, SyncKind, SyncPoint};

/// Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share: the times of
/// entries, and those to compare them with.
#[must_use]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// A disk that is recorded.
pub struct Recorder {
    disk: Box<dyn Disk>,
    file: File,
    /// Entries that are not in the file yet.
    waiting: Vec<u8>,
    under_way: BTreeMap<Ticket, UnderWay>,
    syncs: u64,
}

/// What is noted when it has ended.
enum UnderWay {
    Write { file: FileId, offset: u64, parts: Vec<Payload>, durable: bool },
    Punch { file: FileId, offset: u64, len: u64 },
    Sync { file: FileId, number: u64 },
}

impl Recorder {
    /// Records everything that is done to `disk` in a new file.
    ///
    /// # Errors
    /// `Io` if the disk's directory is not empty, or the file cannot be made.
    pub fn new(mut disk: Box<dyn Disk>, file: &Path) -> Result<Self, DiskError> {
        if !disk.list("")?.is_empty() {
            let why = "a recording begins with an empty directory";
            return Err(on_record(io::Error::other(why)));
        }
        let file = OpenOptions::new().write(true).create_new(true).open(file);
        let mut file = file.map_err(on_record)?;
        file.write_all(&entry::MAGIC).map_err(on_record)?;
        let (waiting, under_way) = (Vec::new(), BTreeMap::new());
        Ok(Self { disk, file, waiting, under_way, syncs: 0 })
    }

    fn note(&mut self, head: Head, body: &Body<'_>) {
        entry::encode(&mut self.waiting, head, now(), body);
    }

    /// RC3.
    fn hand_over(&mut self) -> Result<(), DiskError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.file.write_all(&waiting).map_err(on_record)
    }

    /// Notes a call that waited.
    fn waited<T>(
        &mut self,
        result: Result<T, DiskError>,
        head: Head,
        body: &Body<'_>,
    ) -> Result<T, DiskError> {
        match &result {
            Ok(_) => self.note(head, body),
            // What is partly done cannot be done again.
            Err(_) if head.kind.is_about_bytes() => {
                self.note(Head::of(Kind::Failed), &Body::Nothing);
            }
            Err(_) => return result,
        }
        self.hand_over()?;
        result
    }

    fn note_ended(&mut self, ended: &Ended) {
        let Some(operation) = self.under_way.remove(&ended.ticket) else { return };
        if ended.result.is_err() {
            self.note(Head::of(Kind::Failed), &Body::Nothing);
            return;
        }
        match operation {
            UnderWay::Write { file, offset, parts, durable } => {
                let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
                let kind = if durable { Kind::DurableWrite } else { Kind::Write };
                self.note(Head::of(kind).file(file).range(offset, 0), &Body::Parts(&parts));
            }
            UnderWay::Punch { file, offset, len } => {
                self.note(Head::of(Kind::Punch).file(file).range(offset, len), &Body::Nothing);
            }
            UnderWay::Sync { file, number } => {
                self.note(Head::of(Kind::Sync).file(file).range(0, number), &Body::Nothing);
            }
        }
    }
}

/// Never `Full`, which would be taken for the disk's own word.
fn on_record(source: io::Error) -> DiskError {
    DiskError::Io { operation: "record", path: String::new(), source }
}

impl Disk for Recorder {
    fn create(&mut self, path: &str) -> Result<FileId, DiskError> {
        let file = self.disk.create(path)?;
        self.waited(Ok(file), Head::of(Kind::Create).file(file), &Body::Text(path))
    }

    fn open(&mut self, path: &str) -> Result<FileId, DiskError> {
        let file = self.disk.open(path)?;
        self.waited(Ok(file), Head::of(Kind::Open).file(file), &Body::Text(path))
    }

    fn close(&mut self, file: FileId) {
        self.disk.close(file);
        self.note(Head::of(Kind::Close).file(file), &Body::Nothing);
    }

    fn read_at(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError> {
        self.disk.read_at(file, offset, bytes)
    }

    fn write_at(&mut self, file: FileId, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let result = self.disk.write_at(file, offset, parts);
        let head = Head::of(Kind::Write).file(file).range(offset, 0);
        self.waited(result, head, &Body::Parts(parts))
    }

    fn allocate(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), DiskError> {
        let result = self.disk.allocate(file, offset, len);
        let head = Head::of(Kind::Allocate).file(file).range(offset, len);
        self.waited(result, head, &Body::Nothing)
    }

    fn punch_hole(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), DiskError> {
        let result = self.disk.punch_hole(file, offset, len);
        self.waited(result, Head::of(Kind::Punch).file(file).range(offset, len), &Body::Nothing)
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.disk.len(file)
    }

    fn set_len(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        let result = self.disk.set_len(file, len);
        self.waited(result, Head::of(Kind::SetLen).file(file).range(0, len), &Body::Nothing)
    }

    fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        let result = self.disk.sync(file);
        self.waited(result, Head::of(Kind::Sync).file(file), &Body::Nothing)
    }

    fn sync_dir(&mut self, path: &str) -> Result<(), DiskError> {
        let result = self.disk.sync_dir(path);
        self.waited(result, Head::of(Kind::SyncDir), &Body::Text(path))
    }

    fn create_dir(&mut self, path: &str) -> Result<(), DiskError> {
        let result = self.disk.create_dir(path);
        self.waited(result, Head::of(Kind::CreateDir), &Body::Text(path))
    }

    fn list(&mut self, path: &str) -> Result<Vec<Entry>, DiskError> {
        self.disk.list(path)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let result = self.disk.rename(from, to);
        self.waited(result, Head::of(Kind::Rename), &Body::Text(&format!("{from}\0{to}")))
    }

    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        let result = self.disk.remove(path);
        self.waited(result, Head::of(Kind::Remove), &Body::Text(path))
    }

    fn free_space(&mut self) -> Result<u64, DiskError> {
        self.disk.free_space()
    }

    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        let under_way = match &operation {
            Operation::Read { .. } => None,
            Operation::Write { file, offset, parts, durable, .. } => {
                let (file, offset, durable) = (*file, *offset, *durable);
                Some(UnderWay::Write { file, offset, parts: parts.clone(), durable })
            }
            Operation::Punch { file, offset, len } => {
                Some(UnderWay::Punch { file: *file, offset: *offset, len: *len })
            }
            Operation::Sync { file } => {
                self.syncs += 1;
                let (file, number) = (*file, self.syncs);
                let head = Head::of(Kind::SyncBegun).file(file).range(0, number);
                self.note(head, &Body::Nothing); // RC2
                Some(UnderWay::Sync { file, number })
            }
        };
        if let Some(under_way) = under_way {
            self.under_way.insert(ticket, under_way);
        }
        self.disk.submit(ticket, operation);
    }

    fn reap(&mut self, wait: bool, ended: &mut Vec<Ended>) {
        let before = ended.len();
        self.disk.reap(wait, ended);
        for one in &ended[before..] {
            self.note_ended(one);
        }
        if let Err(error) = self.hand_over() {
            let text = error.to_string();
            for one in &mut ended[before..] {
                one.result = Err(on_record(io::Error::other(text.clone())));
            }
        }
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        self.disk.wakeup()
    }
}
