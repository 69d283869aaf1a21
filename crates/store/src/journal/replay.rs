//! Replay: reads a segment from its beginning to where it was cut.
//!
//! Why: after a crash the journal alone knows what was acknowledged.
//! Way: the whole segment is verified before anything is applied, then read once more.
//! Holds:
//!   RP1 reading stops at the first bad batch only if no batch of this segment follows (ST4);
//!   RP2 the last batch is written and synced again before it is applied: whoever appended it
//!       may have been killed before its sync, and what is put in place must not outlive it.
//! Not here: what a record does (`contents`).

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{BLOCK_BYTES, Buffer};

use super::batch::{
    ALIGN_BYTES, Batch, BatchHeader, HEADER_BYTES, Link, RawBatchHeader, check_blocks,
};
use super::record::Record;
use super::segment::{self, BATCHES_START, RawSegmentHeader};
use super::segment_path;
use crate::disk::FileId;
use crate::disk::guarded::GuardedDisk;
use crate::error::{Corruption, StoreError};

/// How much is searched at once for a batch behind a bad one.
const SEARCH_BYTES: usize = 1 << 20;

/// A segment that is being read.
pub(crate) struct Replay {
    file: FileId,
    len: u64,
    position: u64,
    link: Link,
    first: Link,
    last: Option<(u64, u64)>,
}

/// What verification found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Batches, the unstable list included.
    pub(crate) batches: u64,
    /// Whether a batch after them was cut.
    pub(crate) is_torn: bool,
}

/// What stands at one place of the segment.
enum Found {
    Batch(Batch, BatchHeader, u32),
    /// A header of this segment, whose batch is not whole.
    Torn,
    Nothing,
}

impl Replay {
    /// Opens a segment and verifies its header.
    pub(crate) fn open(disk: &mut GuardedDisk, sequence: u64) -> Result<Self, StoreError> {
        let file = disk.open(&segment_path(sequence))?;
        let len = disk.len(file)?;
        let mut raw = [0; segment::HEADER_BYTES];
        disk.read_at(file, 0, &mut raw)?;
        let corrupt = |why| Corruption::Segment { segment: sequence, why };
        let (header, sum) = RawSegmentHeader(&raw).verify().map_err(corrupt)?;
        if header.sequence != sequence {
            return Err(corrupt(WireError::Invalid("sequence of a journal segment")).into());
        }
        let first = Link { salt: header.salt, sequence, number: 0, previous: sum };
        Ok(Self { file, len, position: BATCHES_START, link: first, first, last: None })
    }

    /// Reads everything once without applying anything; then begins again.
    pub(crate) fn verify(&mut self, disk: &mut GuardedDisk) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        loop {
            match self.look(disk)? {
                Found::Batch(_, header, sum) => {
                    self.advance(&header, sum);
                    verified.batches += 1;
                }
                end => {
                    verified.is_torn = matches!(end, Found::Torn);
                    self.check_end(disk)?;
                    break;
                }
            }
        }
        self.len = self.position; // What was not verified is not read again.
        self.position = BATCHES_START;
        self.link = self.first;
        Ok(verified)
    }

    /// Writes the last batch again and syncs the segment (RP2).
    pub(crate) fn make_durable(&mut self, disk: &mut GuardedDisk) -> Result<(), StoreError> {
        if let Some((offset, bytes)) = self.last {
            let mut batch = vec![0; bytes as usize];
            disk.read_at(self.file, offset, &mut batch)?;
            disk.write_at(self.file, offset, &[&batch])?;
        }
        disk.sync(self.file)
    }

    /// The next verified batch.
    pub(crate) fn next(&mut self, disk: &mut GuardedDisk) -> Result<Option<Batch>, StoreError> {
        match self.look(disk)? {
            Found::Batch(batch, header, sum) => {
                self.advance(&header, sum);
                Ok(Some(batch))
            }
            Found::Torn | Found::Nothing if self.position == self.len => Ok(None),
            Found::Torn | Found::Nothing => {
                // It was good a moment ago.
                Err(self.bad_records(WireError::Checksum("batch that was verified")))
            }
        }
    }

    pub(crate) fn close(self, disk: &mut GuardedDisk) {
        disk.close(self.file);
    }

    fn advance(&mut self, header: &BatchHeader, sum: u32) {
        self.last = Some((self.position, header.batch_bytes()));
        self.position += header.batch_bytes();
        self.link.number += 1;
        self.link.previous = sum;
    }

    fn bad_records(&self, why: WireError) -> StoreError {
        let (segment, offset) = (self.link.sequence, self.position);
        Corruption::Records { segment, offset, why }.into()
    }

    /// What stands at the current position.
    fn look(&mut self, disk: &mut GuardedDisk) -> Result<Found, StoreError> {
        if self.position >= self.len {
            return Ok(Found::Nothing);
        }
        let mut raw = [0; HEADER_BYTES];
        disk.read_at(self.file, self.position, &mut raw)?;
        let (header, sum) = match RawBatchHeader(&raw).verify(self.link.salt) {
            Ok((header, sum)) if header.sequence == self.link.sequence => (header, sum),
            // An older batch of a recycled segment, or nothing at all.
            Ok(_) | Err(_) => return Ok(Found::Nothing),
        };
        if header.number != self.link.number || header.previous != self.link.previous {
            return Err(self.bad_records(WireError::Invalid("order of batches")));
        }
        if self.position + header.batch_bytes() > self.len {
            return Ok(Found::Torn);
        }
        let mut head = vec![0; header.blocks_start() as usize];
        disk.read_at(self.file, self.position, &mut head)?;
        let records = match header.decode_records(&head) {
            Ok(records) => records,
            Err(WireError::Checksum(_)) => return Ok(Found::Torn),
            // The checksum holds, so these are the bytes that were written.
            Err(why) => return Err(self.bad_records(why)),
        };
        let mut data = Buffer::zeroed(header.blocks as usize * BLOCK_BYTES);
        disk.read_at(self.file, self.position + header.blocks_start(), &mut data)?;
        if check_blocks(&records, &data).is_err() {
            return Ok(Found::Torn);
        }
        let data = split_data(&records, data);
        Ok(Found::Batch(Batch { records, data }, header, sum))
    }

    /// RP1: what follows the last good batch must not be a batch of this segment.
    fn check_end(&self, disk: &mut GuardedDisk) -> Result<(), StoreError> {
        if self.link.number == 0 {
            // J2: batch zero was synced before the segment got its name.
            return Err(self.bad_records(WireError::Invalid("first batch of a segment")));
        }
        let mut chunk = vec![0_u8; SEARCH_BYTES];
        let mut offset = self.position + ALIGN_BYTES;
        while offset < self.len {
            disk.read_at(self.file, offset, &mut chunk)?;
            let (pages, _) = chunk.as_chunks::<{ ALIGN_BYTES as usize }>();
            for (place, page) in (offset..).step_by(ALIGN_BYTES as usize).zip(pages) {
                if self.is_later_batch(page) {
                    let (segment, bad) = (self.link.sequence, self.position);
                    return Err(Corruption::Batch { segment, offset: bad, later: place }.into());
                }
            }
            offset += SEARCH_BYTES as u64;
        }
        Ok(())
    }

    fn is_later_batch(&self, page: &[u8; ALIGN_BYTES as usize]) -> bool {
        let Some(raw) = page.first_chunk::<HEADER_BYTES>() else {
            return false;
        };
        RawBatchHeader(raw).verify(self.link.salt).is_ok_and(|(header, _)| {
            header.sequence == self.link.sequence && header.number >= self.link.number
        })
    }
}

fn split_data(records: &[Record], data: Buffer) -> Vec<sheepdog_proto::Payload> {
    let data = data.share();
    let mut start = 0;
    let mut parts = Vec::new();
    for blocks in records.iter().map(Record::blocks).filter(|blocks| *blocks > 0) {
        let end = start + blocks * BLOCK_BYTES;
        parts.push(data.slice(start..end));
        start = end;
    }
    parts
}

#[cfg(test)]
#[path = "replay/tests.rs"]
mod tests;
