//! Walking the log: every batch from the checkpoint on, and what is wrong between them.
//!
//! Why: `wal::replay` stops at the first bad batch; whoever rescues wants what is behind it.
//! Holds:
//!   IW1 where nothing is wrong the batches are those that replay applies, no more and no fewer;
//!   IW2 where replay refuses the log there is a fault that is not harmless;
//!   IW3 behind a bad batch the walk goes on at the next header that passes its check.

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{BLOCK_BYTES, Oid, block_checksum};

use super::fault::{Fault, FaultKind, Place};
use super::log::{LogFiles, search};
use super::look::Shelf;
use crate::disk::DiskError;
use crate::wal::batch::{ALIGN_BYTES, BatchHeader, HEADER_BYTES, RawBatchHeader};
use crate::wal::record::Record;
use crate::wal::segment::BATCHES_START;

/// What the walk meets.
pub(super) enum Step<'a> {
    Batch(&'a Found),
    Fault(Fault),
    /// Where the log ends, and whether an append was cut there.
    End(Place, bool),
}

/// A batch whose records are whole.
pub(super) struct Found {
    pub(super) header: BatchHeader,
    checksum: u32,
    pub(super) records: Vec<Record>,
    pub(super) place: Place,
    /// Blocks of it that do not match: object, block, byte of the file.
    bad: Vec<(Oid, u32, u64)>,
}

impl Found {
    /// Whether all its blocks match their checksums.
    pub(super) fn is_whole(&self) -> bool {
        self.bad.is_empty()
    }

    /// Where the blocks of its records begin in the file.
    pub(super) fn blocks_start(&self) -> u64 {
        self.place.offset + self.header.blocks_start()
    }
}

/// What stands at one place.
enum Look {
    Batch(Found),
    /// A batch that is not whole, or nothing at all: the end, or damage.
    Cut(WireError, bool),
    /// Never seen at the end of a log.
    Wrong(WireError),
    Unreadable(DiskError),
}

/// Which log, and who is told.
pub(super) struct Walk<'a> {
    pub(super) shelf: &'a mut Shelf,
    pub(super) files: &'a LogFiles,
    pub(super) salt: u64,
    pub(super) segment_bytes: u64,
    /// The checkpoint's segment: its first batch was durable before the checkpoint was.
    pub(super) first: u32,
    pub(super) visit: &'a mut dyn FnMut(Step<'_>),
}

/// Where the walk is in a segment.
struct Position {
    path: String,
    segment: u32,
    offset: u64,
    number: u64,
    /// Checksum of the header before, if it is known.
    previous: Option<u32>,
}

impl Walk<'_> {
    /// Walks from the first segment to the end of the log.
    pub(super) fn run(&mut self) {
        let first = self.first;
        let segments: Vec<(u32, usize)> =
            self.files.segments.range(first..).map(|(segment, file)| (*segment, *file)).collect();
        let mut expected = first;
        if segments.is_empty() {
            self.note_gone(first, first);
        }
        for (segment, file) in segments {
            if segment > expected {
                self.note_gone(expected, segment - 1);
            }
            expected = segment + 1;
            let file = &self.files.files[file];
            let previous = file.header.map(|(_, checksum)| checksum);
            self.walk_segment(Position {
                path: file.path.clone(),
                segment,
                offset: BATCHES_START,
                number: 0,
                previous,
            });
        }
    }

    fn note_gone(&mut self, first: u32, last: u32) {
        let kind = FaultKind::SegmentGone { first, last };
        (self.visit)(Step::Fault(Fault::new(crate::wal::WAL_DIR, 0, kind)));
    }

    fn walk_segment(&mut self, mut at: Position) {
        while !self.is_end(&at) {
            let look = self.look(&at);
            if let Look::Batch(found) = &look
                && found.is_whole()
            {
                self.pass(found, &mut at);
                continue;
            }
            let later = self.later(&at);
            let is_last = self.files.segments.range(at.segment + 1..).next().is_none();
            let is_first = at.segment == self.first && at.number == 0;
            let may_be_end = matches!(&look, Look::Batch(_) | Look::Cut(..)) && !is_first;
            if later.is_none() && is_last && may_be_end {
                let is_torn = at.number == 0 || !matches!(look, Look::Cut(_, false));
                (self.visit)(Step::End(Place::new(&at.path, at.offset), is_torn));
                return;
            }
            if let Look::Batch(found) = &look {
                self.note_blocks(found);
                self.pass(found, &mut at);
                continue;
            }
            let has_next = self.note_damage(&at, look, later.as_ref());
            match later {
                // IW3
                Some((offset, header)) => {
                    at.offset = offset;
                    (at.number, at.previous) = (header.number, Some(header.previous));
                }
                None => {
                    if !has_next {
                        (self.visit)(Step::End(Place::new(&at.path, at.offset), true));
                    }
                    return;
                }
            }
        }
    }

    fn pass(&mut self, found: &Found, at: &mut Position) {
        (self.visit)(Step::Batch(found));
        at.offset += found.header.batch_bytes();
        at.number += 1;
        at.previous = Some(found.checksum);
    }

    /// Whether the next segment begins behind the batch before (SG2).
    fn is_end(&self, at: &Position) -> bool {
        let Some(next) = self.files.segments.get(&(at.segment + 1)) else { return false };
        let Some((header, _)) = self.files.files[*next].header else { return false };
        let is_same = at.previous.is_none_or(|previous| previous == header.previous);
        is_same && header.previous_batches == at.number && at.number > 0
    }

    /// The next batch of the segment behind a bad one.
    fn later(&mut self, at: &Position) -> Option<(u64, BatchHeader)> {
        let (segment, number) = (at.segment, at.number);
        let part = at.offset + ALIGN_BYTES..self.segment_bytes;
        let is_later = |header: &BatchHeader| header.segment == segment && header.number > number;
        let note = &mut |fault| (self.visit)(Step::Fault(fault));
        search(self.shelf, self.salt, (&at.path, part), is_later, note)
    }

    fn note_blocks(&mut self, found: &Found) {
        let BatchHeader { segment, number, .. } = found.header;
        for (oid, block, offset) in &found.bad {
            let kind = FaultKind::BatchBlock { segment, number, oid: *oid, block: *block };
            (self.visit)(Step::Fault(Fault::new(&found.place.file, *offset, kind)));
        }
    }

    /// Says what is wrong, and how many batches are lost by it. True if another segment follows.
    fn note_damage(
        &mut self,
        at: &Position,
        look: Look,
        later: Option<&(u64, BatchHeader)>,
    ) -> bool {
        let next = self.files.segments.range(at.segment + 1..).next();
        let has_next = next.is_some();
        let header = next.filter(|(segment, _)| **segment == at.segment + 1);
        let header = header.and_then(|(_, file)| self.files.files[*file].header);
        let end = match (later, header) {
            (Some((_, later)), _) => Some(later.number),
            (None, Some((header, _))) => Some(header.previous_batches),
            // Nothing says where the segment should end.
            (None, None) if has_next && at.number > 0 => return true,
            (None, None) => None,
        };
        let lost = end.map_or(1, |end| end.saturating_sub(at.number));
        let why = match look {
            Look::Cut(why, _) | Look::Wrong(why) => why,
            Look::Batch(_) => WireError::Checksum("block of a batch"),
            Look::Unreadable(error) => {
                (self.visit)(Step::Fault(Fault::of_disk(&at.path, at.offset, &error)));
                WireError::Short
            }
        };
        let kind = FaultKind::Batch { segment: at.segment, number: at.number, lost, why };
        (self.visit)(Step::Fault(Fault::new(&at.path, at.offset, kind)));
        has_next
    }

    /// What stands at a place.
    fn look(&mut self, at: &Position) -> Look {
        if at.offset + ALIGN_BYTES > self.segment_bytes {
            return Look::Cut(WireError::Short, false);
        }
        let mut raw = [0; HEADER_BYTES];
        if let Err(error) = self.shelf.read(&at.path, at.offset, &mut raw) {
            return Look::Unreadable(error);
        }
        let (header, checksum) = match RawBatchHeader(&raw).verify(self.salt) {
            Ok((header, checksum)) if header.segment == at.segment => (header, checksum),
            Ok(_) => return Look::Cut(WireError::Invalid("segment of a batch"), false),
            Err(why) => return Look::Cut(why, false),
        };
        let is_next = at.previous.is_none_or(|previous| previous == header.previous);
        if header.number != at.number || !is_next {
            return Look::Wrong(WireError::Invalid("order of batches"));
        }
        if at.offset + header.batch_bytes() > self.segment_bytes {
            return Look::Wrong(WireError::Invalid("length of a batch"));
        }
        let mut head = vec![0; header.blocks_start() as usize];
        if let Err(error) = self.shelf.read(&at.path, at.offset, &mut head) {
            return Look::Unreadable(error);
        }
        let records = match header.decode_records(&head) {
            Ok(records) => records,
            Err(why @ WireError::Checksum(_)) => return Look::Cut(why, true),
            Err(why) => return Look::Wrong(why),
        };
        let place = Place::new(&at.path, at.offset);
        let mut found = Found { header, checksum, records, place, bad: Vec::new() };
        found.bad = self.bad_blocks(&found);
        Look::Batch(found)
    }

    fn bad_blocks(&mut self, found: &Found) -> Vec<(Oid, u32, u64)> {
        let mut bad = Vec::new();
        let mut offset = found.blocks_start();
        for record in &found.records {
            let Record::Write { oid, first_block, checksums, .. } = record else { continue };
            let mut bytes = vec![0; checksums.len() * BLOCK_BYTES];
            let file = &found.place.file;
            self.shelf.read_blocks(file, offset, &mut bytes, &mut |fault| {
                (self.visit)(Step::Fault(fault));
            });
            for ((block, checksum), bytes) in
                (*first_block..).zip(checksums).zip(bytes.chunks(BLOCK_BYTES))
            {
                if block_checksum(*oid, block, bytes) != *checksum {
                    bad.push((*oid, block, offset));
                }
                offset += BLOCK_BYTES as u64;
            }
        }
        bad
    }
}
