//! Replay: reads the log from the checkpoint's segment to where it was cut.
//!
//! Why: after a crash the log alone knows what was acknowledged.
//! Way: `find` reads the headers of all files; `next` verifies and returns one batch after the
//!      other; at the end it proves that nothing follows. Nothing is changed here.
//! Holds:
//!   RP1 reading stops at the first bad batch only if no later batch or segment follows
//!       (NO-SILENT-TRUNCATION);
//!   RP2 the last append must be written and synced again before anything is built on it:
//!       whoever made it may have been killed before it was durable;
//!   RP3 files have numbers without gaps, for none is ever removed: in a gap may have been the
//!       end of the log, and the next new file would get the name of one that is in use.
//! Not here: what a record does (`contents`).

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{BLOCK_BYTES, Buffer, Payload};

use super::batch::{
    ALIGN_BYTES, Batch, BatchHeader, HEADER_BYTES, Link, RawBatchHeader, check_blocks,
};
use super::record::Record;
use super::segment::{self, BATCHES_START, HEADER_OFFSETS, SegmentHeader};
use super::{WAL_DIR, file_path};
use crate::disk::FileId;
use crate::disk::guarded::GuardedDisk;
use crate::error::{Corruption, StoreError};

/// How much is searched at once for a batch behind a bad one.
const SEARCH_BYTES: usize = 128 << 10;

/// The files of the log as they were found.
pub(crate) struct Files {
    /// Segments by number.
    pub(crate) segments: BTreeMap<u32, (FileId, SegmentHeader, u32)>,
    /// Files without a good header.
    pub(crate) blank: Vec<FileId>,
    /// Names that are no segments.
    pub(crate) strangers: Vec<String>,
    /// One more than the highest number of a file.
    pub(crate) next_file: u32,
}

/// A log that is being read.
pub(crate) struct Replay<'a> {
    files: &'a Files,
    salt: u64,
    segment_bytes: u64,
    file: FileId,
    position: u64,
    link: Link,
    /// The last batch, for RP2.
    last: Option<(FileId, u64, u64)>,
    /// Where the batch behind the last one would stand.
    end: Link,
    /// Whether a batch behind the last one was cut.
    pub(crate) is_torn: bool,
}

/// A batch, and where it was.
pub(crate) struct Found {
    pub(crate) header: BatchHeader,
    pub(crate) batch: Batch,
}

/// What stands at one place of a segment.
enum Look {
    Batch(Found, u32),
    /// A header of this segment, whose batch is not whole.
    Torn,
    Nothing,
}

impl Files {
    /// Opens all files of the log, which are named 0, 1, 2 and so on, and reads their headers.
    pub(crate) fn find(disk: &mut GuardedDisk, salt: u64) -> Result<Self, StoreError> {
        let (mut segments, mut blank) = (BTreeMap::new(), Vec::new());
        let (mut strangers, mut numbers) = (Vec::new(), BTreeSet::new());
        for entry in disk.list(WAL_DIR)? {
            let path = format!("{WAL_DIR}/{}", entry.name);
            let number = entry.name.parse::<u32>().ok();
            if entry.is_directory || number.is_none_or(|number| file_path(number) != path) {
                strangers.push(path);
                continue;
            }
            numbers.extend(number);
            let file = disk.open(&path)?;
            match read_header(disk, salt, file)? {
                Some((header, sum)) => {
                    let segment = header.segment;
                    if segments.insert(segment, (file, header, sum)).is_some() {
                        let why = WireError::Invalid("segment: two files have it");
                        return Err(Corruption::Segment { segment, why }.into());
                    }
                }
                None => blank.push(file),
            }
        }
        check_names(&numbers)?;
        let next_file = numbers.len() as u32;
        Ok(Self { segments, blank, strangers, next_file })
    }

    /// Number of the newest segment; zero if there is none.
    pub(crate) fn newest(&self) -> u32 {
        self.segments.last_key_value().map_or(0, |(segment, _)| *segment)
    }
}

/// RP3.
fn check_names(numbers: &BTreeSet<u32>) -> Result<(), Corruption> {
    match (0..).zip(numbers).find(|(expected, number)| expected != *number) {
        Some((gone, _)) => Err(Corruption::LogFile { path: file_path(gone) }),
        None => Ok(()),
    }
}

fn read_header(
    disk: &mut GuardedDisk,
    salt: u64,
    file: FileId,
) -> Result<Option<(SegmentHeader, u32)>, StoreError> {
    for offset in HEADER_OFFSETS {
        let mut raw = [0; segment::HEADER_BYTES];
        disk.read_at(file, offset, &mut raw)?;
        match SegmentHeader::verify(salt, &raw) {
            Ok(found) => return Ok(Some(found)),
            Err(why @ WireError::Version(_)) => {
                return Err(Corruption::Segment { segment: 0, why }.into());
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

impl<'a> Replay<'a> {
    /// A replay that begins with segment `first`.
    pub(crate) fn new(
        files: &'a Files,
        (salt, segment_bytes): (u64, u64),
        first: u32,
    ) -> Result<Self, StoreError> {
        let why = WireError::Invalid("segment: it is gone");
        let missing = Corruption::Segment { segment: first, why };
        let (file, _, sum) = files.segments.get(&first).ok_or(missing)?;
        let link = Link { salt, segment: first, number: 0, previous: *sum };
        let (file, position) = (*file, BATCHES_START);
        let (end, is_torn) = (link, false);
        Ok(Self { files, salt, segment_bytes, file, position, link, last: None, end, is_torn })
    }

    /// The next batch; `None` at the end, when it is proved that nothing follows (RP1).
    pub(crate) fn next(&mut self, disk: &mut GuardedDisk) -> Result<Option<Found>, StoreError> {
        if self.is_at_end_of_segment() {
            self.enter_next_segment();
        }
        let look = self.look(disk)?;
        if let Look::Batch(found, sum) = look {
            self.last = Some((self.file, self.position, found.header.batch_bytes()));
            self.position += found.header.batch_bytes();
            self.link.number += 1;
            self.link.previous = sum;
            self.end = self.link;
            return Ok(Some(found));
        }
        if self.files.segments.contains_key(&(self.link.segment + 1)) {
            // It says that this one has more batches.
            return Err(self.bad(WireError::Invalid("end of a segment")));
        }
        self.is_torn = matches!(look, Look::Torn) || self.empty_segment().is_some();
        self.check_end(disk)?;
        Ok(None)
    }

    /// Whether the next segment follows here (SG2). What stands behind may be anything: an
    /// append that was cut, or that reached the disk after the next segment had begun.
    fn is_at_end_of_segment(&self) -> bool {
        let next = self.files.segments.get(&(self.link.segment + 1));
        next.is_some_and(|(_, header, _)| {
            let is_end = header.previous == self.link.previous;
            is_end && header.previous_batches == self.link.number && self.link.number > 0
        })
    }

    fn enter_next_segment(&mut self) {
        let Some((file, header, sum)) = self.files.segments.get(&(self.link.segment + 1)) else {
            return;
        };
        (self.file, self.position) = (*file, BATCHES_START);
        let (salt, segment) = (self.salt, header.segment);
        self.link = Link { salt, segment, number: 0, previous: *sum };
    }

    /// Where the log ends.
    pub(crate) fn end(&self) -> Link {
        self.end
    }

    /// A segment behind the last batch whose first append was cut.
    pub(crate) fn empty_segment(&self) -> Option<FileId> {
        (self.link.segment != self.end.segment).then_some(self.file)
    }

    /// The last append, which has to be written and synced again (RP2): file, byte, bytes.
    pub(crate) fn last_append(
        &self,
        disk: &mut GuardedDisk,
    ) -> Result<Option<(FileId, u64, Vec<u8>)>, StoreError> {
        let Some((file, offset, bytes)) = self.last else { return Ok(None) };
        // The first batch of a segment came with the header.
        let start = if offset == BATCHES_START { 0 } else { offset };
        let mut append = vec![0; (offset + bytes - start) as usize];
        disk.read_at(file, start, &mut append)?;
        Ok(Some((file, start, append)))
    }

    fn bad(&self, why: WireError) -> StoreError {
        let (segment, offset) = (self.link.segment, self.position);
        Corruption::Records { segment, offset, why }.into()
    }

    /// What stands at the current position.
    fn look(&mut self, disk: &mut GuardedDisk) -> Result<Look, StoreError> {
        if self.position + ALIGN_BYTES > self.segment_bytes {
            return Ok(Look::Nothing);
        }
        let mut raw = [0; HEADER_BYTES];
        disk.read_at(self.file, self.position, &mut raw)?;
        let (header, sum) = match RawBatchHeader(&raw).verify(self.salt) {
            Ok((header, sum)) if header.segment == self.link.segment => (header, sum),
            // An older batch of a segment that is used again, or nothing at all.
            Ok(_) | Err(_) => return Ok(Look::Nothing),
        };
        if header.number != self.link.number || header.previous != self.link.previous {
            return Err(self.bad(WireError::Invalid("order of batches")));
        }
        if self.position + header.batch_bytes() > self.segment_bytes {
            return Err(self.bad(WireError::Invalid("length of a batch")));
        }
        let mut head = vec![0; header.blocks_start() as usize];
        disk.read_at(self.file, self.position, &mut head)?;
        let records = match header.decode_records(&head) {
            Ok(records) => records,
            Err(WireError::Checksum(_)) => return Ok(Look::Torn),
            // The checksum holds, so these are the bytes that were written.
            Err(why) => return Err(self.bad(why)),
        };
        let mut data = Buffer::zeroed(header.blocks as usize * BLOCK_BYTES);
        disk.read_at(self.file, self.position + header.blocks_start(), &mut data)?;
        if check_blocks(&records, &data).is_err() {
            return Ok(Look::Torn);
        }
        let data = split_data(&records, data);
        let found = Found { header, batch: Batch { records, data } };
        Ok(Look::Batch(found, sum))
    }

    /// RP1: what follows the last good batch must not be a batch of this segment or a later
    /// one, and no later segment may be there.
    fn check_end(&self, disk: &mut GuardedDisk) -> Result<(), StoreError> {
        if self.last.is_none() {
            // Its first batch was durable before the checkpoint named the segment.
            return Err(self.bad(WireError::Invalid("first batch of the checkpoint's segment")));
        }
        if self.files.newest() > self.link.segment + 1 {
            let why = WireError::Invalid("segment: it is gone, but a later one is there");
            return Err(Corruption::Segment { segment: self.link.segment + 1, why }.into());
        }
        let link = self.link;
        self.check_file(disk, self.file, self.position + ALIGN_BYTES, |header| {
            header.segment == link.segment && header.number > link.number
        })?;
        for file in &self.files.blank {
            // Batch zero comes with the header; a batch behind it proves that both were whole.
            self.check_file(disk, *file, 0, |header| {
                header.segment > self.end.segment && header.number > 0
            })?;
        }
        Ok(())
    }

    fn check_file(
        &self,
        disk: &mut GuardedDisk,
        file: FileId,
        start: u64,
        is_later: impl Fn(&BatchHeader) -> bool,
    ) -> Result<(), StoreError> {
        let mut chunk = vec![0_u8; SEARCH_BYTES];
        let mut offset = start;
        while offset < self.segment_bytes {
            if disk.read_at(file, offset, &mut chunk)? == 0 {
                break;
            }
            let (pages, _) = chunk.as_chunks::<{ ALIGN_BYTES as usize }>();
            for (place, page) in (offset..).step_by(ALIGN_BYTES as usize).zip(pages) {
                let header = page.first_chunk::<HEADER_BYTES>().map(RawBatchHeader);
                let header = header.and_then(|raw| raw.verify(self.salt).ok());
                if header.is_some_and(|(header, _)| is_later(&header)) {
                    let (segment, bad) = (self.link.segment, self.position);
                    return Err(Corruption::Batch { segment, offset: bad, later: place }.into());
                }
            }
            offset += SEARCH_BYTES as u64;
        }
        Ok(())
    }
}

fn split_data(records: &[Record], data: Buffer) -> Vec<Payload> {
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
