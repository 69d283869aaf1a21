//! The write-ahead log: makes a batch of changes atomic and durable with one sequential write.
//!
//! Why: data are put in place later, sorted and together; until then only the log has them.
//! Way: batches are appended one after the other (`append`), each a durable write; a segment
//!      that is full is followed by the next; a checkpoint gives the segments before it back
//!      (`release`). After a crash `replay` reads what is there.
//! Holds:
//!   WL1 one append is under way at a time, and has one batch, so a batch on the disk proves
//!       all before it;
//!   WL2 a segment is used again only after a checkpoint made it superfluous
//!       (CKPT-BEFORE-RECYCLE);
//!   WL3 segments are filled once before they are used, so that an append changes no metadata
//!       of the file system.
//! Not here: what a record means (`contents`), when a reply leaves (`store`).

pub(crate) mod batch;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod segment;

use std::collections::VecDeque;

use sheepdog_proto::{Buffer, Payload};

use crate::disk::FileId;
use batch::{Batch, Link};
use segment::{BATCHES_START, HEADER_BYTES, HEADER_OFFSETS, SegmentHeader};

/// Directory of the segments.
pub(crate) const WAL_DIR: &str = "wal";

/// Smallest segment: twice the largest record, and the header.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 552 << 10;

/// Where a segment is; files keep their names, whatever segment is in them.
pub(crate) fn file_path(number: u32) -> String {
    format!("{WAL_DIR}/{number:04}")
}

/// The segments and the place of the next batch.
#[derive(Debug)]
pub(crate) struct Wal {
    salt: u64,
    segment_bytes: u64,
    /// Files whose segments are needed, with their numbers, oldest first. The last is in use.
    live: VecDeque<(u32, FileId)>,
    /// Files that can be used again.
    free: Vec<FileId>,
    /// Files that must be filled before they are used (WL3).
    pub(crate) unfilled: Vec<FileId>,
    /// Files there are, those that are being filled included.
    pub(crate) files: u32,
    /// Name of the next one.
    pub(crate) next_file: u32,
    next: Link,
    /// Where the next batch begins.
    used: u64,
}

/// What is to be written, and where.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) file: FileId,
    pub(crate) offset: u64,
    pub(crate) parts: Vec<Payload>,
    /// The segment that holds the batch.
    pub(crate) segment: u32,
}

impl Wal {
    /// A log that goes on behind `end`. The next append begins a segment.
    pub(crate) fn new(
        (salt, segment_bytes): (u64, u64),
        live: VecDeque<(u32, FileId)>,
        free: Vec<FileId>,
        end: Link,
    ) -> Self {
        let files = (live.len() + free.len()) as u32;
        let (unfilled, next_file, next, used) = (Vec::new(), files, end, segment_bytes);
        Self { salt, segment_bytes, live, free, unfilled, files, next_file, next, used }
    }

    /// Adds files that were found, but are not known to be filled; `next_file` is a name that
    /// no file has.
    pub(crate) fn with_unfilled(mut self, unfilled: Vec<FileId>, next_file: u32) -> Self {
        self.files += unfilled.len() as u32;
        (self.unfilled, self.next_file) = (unfilled, next_file);
        self
    }

    /// Another file was made.
    pub(crate) fn count_file(&mut self) {
        self.files += 1;
        self.next_file += 1;
    }

    /// Changes that the unstable list may have: three quarters of a segment, so that there is
    /// room for those that are under way.
    pub(crate) fn unstable_max(&self) -> usize {
        self.segment_bytes as usize / 4 * 3 / record::RECORD_BYTES
    }

    /// The segment in use.
    pub(crate) fn segment(&self) -> u32 {
        self.next.segment
    }

    /// Largest batch.
    pub(crate) fn batch_bytes_max(&self) -> u64 {
        (self.segment_bytes / 2 - BATCHES_START).min(4 << 20)
    }

    /// Whether a batch of so many bytes fits into an empty segment.
    pub(crate) fn fits_segment(&self, bytes: u64) -> bool {
        BATCHES_START + bytes <= self.segment_bytes
    }

    /// Segments that a checkpoint could give back, the one in use not counted.
    pub(crate) fn superfluous(&self) -> usize {
        self.live.len().saturating_sub(1)
    }

    /// Bytes of batches that find a place for sure: in the segment in use, and in `files` more,
    /// each of which begins with a list of so many bytes. A batch that does not fit leaves the
    /// end of a segment unused.
    pub(crate) fn room(&self, files: u64, list_bytes: u64) -> u64 {
        let lost = BATCHES_START + list_bytes + self.batch_bytes_max();
        self.segment_bytes - self.used + files * self.segment_bytes.saturating_sub(lost)
    }

    /// Files that are ready to be used.
    pub(crate) fn ready(&self) -> usize {
        self.free.len()
    }

    /// Whether a batch of so many bytes needs a new segment.
    pub(crate) fn needs_segment(&self, bytes: u64) -> bool {
        self.used + bytes > self.segment_bytes
    }

    /// A file that was made and filled.
    pub(crate) fn add_file(&mut self, file: FileId) {
        self.free.push(file);
    }

    /// Takes the next place for a batch in the segment in use (WL1: whoever calls has nothing
    /// under way).
    ///
    /// # Panics
    /// If it does not fit: the segment behind it would be overwritten.
    pub(crate) fn append(&mut self, batch: &Batch) -> Append {
        let (segment, offset) = (self.next.segment, self.used);
        let parts = self.encode(batch);
        assert!(self.used <= self.segment_bytes, "a batch is longer than its segment");
        Append { file: self.live_file(), offset, parts, segment }
    }

    /// Begins the next segment with a batch. `None` if no file is free.
    pub(crate) fn begin_segment(&mut self, batch: &Batch) -> Option<Append> {
        let file = self.free.pop()?;
        let segment = self.next.segment + 1;
        let Link { previous, number: previous_batches, .. } = self.next;
        let header = SegmentHeader { segment, previous, previous_batches };
        let (raw, sum) = header.encode(self.salt);
        let mut head = Buffer::zeroed(BATCHES_START as usize);
        for offset in HEADER_OFFSETS {
            head[offset as usize..offset as usize + HEADER_BYTES].copy_from_slice(&raw);
        }
        self.live.push_back((segment, file));
        self.next = Link { salt: self.salt, segment, number: 0, previous: sum };
        self.used = BATCHES_START;
        let mut parts = vec![head.share()];
        parts.extend(self.encode(batch));
        assert!(self.used <= self.segment_bytes, "a batch is longer than its segment");
        Some(Append { file, offset: 0, parts, segment })
    }

    /// Gives back all segments before this one (WL2).
    pub(crate) fn release(&mut self, before: u32) {
        while let Some((_, file)) = self.live.pop_front_if(|(segment, _)| *segment < before) {
            self.free.push(file);
        }
    }

    fn live_file(&self) -> FileId {
        self.live.back().map_or(FileId(0), |(_, file)| *file)
    }

    fn encode(&mut self, batch: &Batch) -> Vec<Payload> {
        let encoded = batch.encode(self.next);
        self.used += encoded.bytes;
        self.next.number += 1;
        self.next.previous = encoded.header_checksum;
        let mut parts = vec![encoded.head];
        parts.extend(batch.data.iter().cloned());
        parts
    }
}
