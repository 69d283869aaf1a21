//! Journal: makes a batch of changes atomic and durable with one append and one sync.
//!
//! Why: object files are changed in place; without a journal a crash would leave blocks that
//!      match neither their old nor their new checksum.
//! Way: `room_for` -> `append` (write, sync) -> the change is put in place; at a checkpoint,
//!      when everything in place is synced, `begin` a new segment and `retire` the old one,
//!      which becomes the spare. After a crash `replay` reads the newest segment.
//! Holds:
//!   J1 `append` returns only after the batch is synced (ST1);
//!   J2 a segment gets its name only after its header and its first batch, the unstable list,
//!      are synced: a named segment always has both;
//!   J3 the space of an append is reserved before anything is planned, so a full disk is
//!      noticed before anything is changed.
//! Not here: what a record means (`contents`).

pub(crate) mod batch;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod segment;

use crate::disk::FileId;
use crate::disk::guarded::GuardedDisk;
use crate::error::StoreError;
use batch::{Batch, Link};
use record::Record;
use segment::{BATCHES_START, SegmentHeader};

/// Directory of the segments.
pub(crate) const JOURNAL_DIR: &str = "journal";
/// The segment that is used next.
const SPARE: &str = "journal/spare";
/// A segment grows by this much at most.
const STEP_BYTES: u64 = 4 << 20;

/// The segment in use.
#[derive(Debug)]
pub(crate) struct Journal {
    file: FileId,
    /// Where the next batch stands.
    next: Link,
    /// Where the next batch begins.
    used: u64,
    /// Where the first batch after the unstable list began.
    start: u64,
    /// Up to where space is reserved.
    reserved: u64,
    /// A segment longer than this asks for a checkpoint.
    bytes_max: u64,
}

/// Whether a batch fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It does.
    Ready,
    /// It does after a checkpoint.
    AfterCheckpoint,
    /// It does not: the disk is full.
    Full,
}

impl Journal {
    /// Begins a segment with the unstable list. It is durable when this returns. May be
    /// `Full`; then the segment before is still the newest.
    pub(crate) fn begin(
        disk: &mut GuardedDisk,
        header: SegmentHeader,
        unstable: Vec<Record>,
        bytes_max: u64,
    ) -> Result<Self, StoreError> {
        let file = match disk.open(SPARE) {
            Ok(file) => file,
            Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }) => disk.create(SPARE)?,
            Err(error) => return Err(error),
        };
        let (raw, sum) = header.encode();
        let mut first_page = raw.to_vec();
        first_page.resize(BATCHES_START as usize, 0);
        let SegmentHeader { sequence, salt } = header;
        let link = Link { salt, sequence, number: 0, previous: sum };
        let first = Batch { records: unstable, data: Vec::new() };
        let encoded = first.encode(link);
        let start = BATCHES_START + encoded.bytes;
        let reserved = match reserve_spare(disk, file, start, bytes_max) {
            Ok(reserved) => reserved,
            Err(error) => {
                disk.close(file);
                return Err(error);
            }
        };
        let mut parts: Vec<&[u8]> = vec![&first_page];
        parts.extend(encoded.parts(&[]));
        disk.write_at(file, 0, &parts)?;
        disk.sync(file)?;
        disk.rename(SPARE, &segment_path(sequence))?; // J2
        disk.sync_dir(JOURNAL_DIR)?;
        let next = Link { number: 1, previous: encoded.header_checksum, ..link };
        Ok(Self { file, next, used: start, start, reserved, bytes_max })
    }

    /// Gives an older segment up; it becomes the spare.
    pub(crate) fn retire(self, disk: &mut GuardedDisk) -> Result<(), StoreError> {
        disk.close(self.file);
        retire_segment(disk, self.next.sequence)
    }

    /// The sequence number of the segment in use.
    pub(crate) fn sequence(&self) -> u64 {
        self.next.sequence
    }

    /// Bytes appended since the segment began.
    pub(crate) fn appended(&self) -> u64 {
        self.used - self.start
    }

    /// Reserves space for a batch of at most `bytes` (J3).
    pub(crate) fn room_for(
        &mut self,
        disk: &mut GuardedDisk,
        bytes: u64,
    ) -> Result<Room, StoreError> {
        let end = self.used + bytes;
        if end > self.bytes_max && self.appended() > 0 {
            return Ok(Room::AfterCheckpoint);
        }
        if end <= self.reserved {
            return Ok(Room::Ready);
        }
        let step = STEP_BYTES.min(self.bytes_max);
        // A whole step if possible, on a disk that is almost full just what is needed.
        for reserved in [end.next_multiple_of(step), end] {
            match disk.allocate(self.file, self.reserved, reserved - self.reserved) {
                Ok(()) => {
                    self.reserved = reserved;
                    return Ok(Room::Ready);
                }
                Err(StoreError::Full) => {}
                Err(error) => return Err(error),
            }
        }
        // The spare may have the space.
        if self.appended() > 0 { Ok(Room::AfterCheckpoint) } else { Ok(Room::Full) }
    }

    /// Appends a batch; it is durable when this returns (J1).
    ///
    /// # Panics
    /// If no room was made for it.
    pub(crate) fn append(
        &mut self,
        disk: &mut GuardedDisk,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        let encoded = batch.encode(self.next);
        assert!(self.used + encoded.bytes <= self.reserved, "no room was made for a batch"); // J3
        disk.write_at(self.file, self.used, &encoded.parts(&batch.data))?;
        disk.sync(self.file)?; // J1
        self.used += encoded.bytes;
        self.next.number += 1;
        self.next.previous = encoded.header_checksum;
        Ok(())
    }
}

/// Reserves the spare up to `start` or one step, and cuts what an outsized batch left.
fn reserve_spare(
    disk: &mut GuardedDisk,
    file: FileId,
    start: u64,
    bytes_max: u64,
) -> Result<u64, StoreError> {
    let wanted = start.next_multiple_of(STEP_BYTES.min(bytes_max));
    let mut len = disk.len(file)?;
    if len > wanted.max(bytes_max) {
        len = wanted.max(bytes_max);
        disk.set_len(file, len)?;
    }
    let reserved = len.max(wanted);
    disk.allocate(file, 0, reserved)?;
    Ok(reserved)
}

/// Makes sure that there is a spare segment, so that a full disk can still be emptied.
pub(crate) fn keep_spare(disk: &mut GuardedDisk, bytes_max: u64) -> Result<(), StoreError> {
    match disk.open(SPARE) {
        Ok(file) => disk.close(file),
        Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }) => {
            let file = disk.create(SPARE)?;
            let reserved = disk.allocate(file, 0, STEP_BYTES.min(bytes_max));
            disk.close(file);
            reserved?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Turns a segment into the spare.
pub(crate) fn retire_segment(disk: &mut GuardedDisk, sequence: u64) -> Result<(), StoreError> {
    disk.rename(&segment_path(sequence), SPARE)?;
    disk.sync_dir(JOURNAL_DIR)
}

/// Segments by their sequence numbers, and names that are none.
pub(crate) fn list_segments(disk: &mut GuardedDisk) -> Result<(Vec<u64>, Vec<String>), StoreError> {
    let mut segments = Vec::new();
    let mut strangers = Vec::new();
    for entry in disk.list(JOURNAL_DIR)? {
        let path = format!("{JOURNAL_DIR}/{}", entry.name);
        match u64::from_str_radix(&entry.name, 16) {
            Ok(sequence) if segment_path(sequence) == path && !entry.is_directory => {
                segments.push(sequence);
            }
            _ if path == SPARE => {}
            _ => strangers.push(path),
        }
    }
    segments.sort_unstable();
    Ok((segments, strangers))
}

/// Where a segment is.
pub(crate) fn segment_path(sequence: u64) -> String {
    format!("{JOURNAL_DIR}/{sequence:016x}")
}
