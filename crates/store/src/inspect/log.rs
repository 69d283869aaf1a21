//! The files of the log: which segment each one is, as far as that can still be known.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{Fault, FaultKind};
use super::look::Shelf;
use crate::wal::batch::{self, BatchHeader, RawBatchHeader};
use crate::wal::segment::{HEADER_BYTES, HEADER_OFFSETS, SegmentHeader};
use crate::wal::{WAL_DIR, file_path};

/// How much is searched at once for a batch.
const SEARCH_BYTES: usize = 1 << 20;

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its path in the store.
    pub path: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// The segment that is in it; `None` if nothing is.
    pub segment: Option<u32>,
    /// Batches of the segment before, and the checksum of the last one, as the header says.
    pub(super) header: Option<(SegmentHeader, u32)>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct LogFiles {
    pub(super) files: Vec<LogFile>,
    /// Index in `files`, by segment.
    pub(super) segments: BTreeMap<u32, usize>,
    pub(super) strangers: Vec<String>,
}

impl LogFiles {
    /// Without a checkpoint `first` is `None`.
    pub(super) fn find(
        shelf: &mut Shelf,
        salt: u64,
        first: Option<u32>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let mut found = Self::default();
        let names = match shelf.list(WAL_DIR) {
            Ok(names) => names,
            Err(error) => {
                faults.push(Fault::of_disk(WAL_DIR, 0, &error));
                return found;
            }
        };
        let mut numbers = BTreeSet::new();
        for entry in names {
            let path = format!("{WAL_DIR}/{}", entry.name);
            let number = entry.name.parse::<u32>().ok();
            if entry.is_directory || number.is_none_or(|number| file_path(number) != path) {
                found.strangers.push(path);
                continue;
            }
            numbers.extend(number);
            found.add(shelf, salt, path, faults);
        }
        // They have numbers without gaps, and are never removed.
        let end = numbers.last().copied().unwrap_or_default();
        for gone in (0..end).filter(|number| !numbers.contains(number)) {
            faults.push(Fault::new(&file_path(gone), 0, FaultKind::Missing));
        }
        found.name_the_nameless(shelf, salt, first, faults);
        found
    }

    fn add(&mut self, shelf: &mut Shelf, salt: u64, path: String, faults: &mut Vec<Fault>) {
        let bytes = match shelf.len(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                faults.push(Fault::of_disk(&path, 0, &error));
                0
            }
        };
        let header = read_header(shelf, salt, &path, faults);
        let segment = header.map(|(header, _)| header.segment);
        if let Some(segment) = segment {
            if self.segments.contains_key(&segment) {
                faults.push(Fault::new(&path, 0, FaultKind::SegmentTwice { segment }));
            } else {
                self.segments.insert(segment, self.files.len());
            }
        }
        self.files.push(LogFile { path, bytes, segment, header });
    }

    /// A file whose headers are both bad is known by its batches. One batch alone may be an
    /// append that was cut, header and all; a second one proves that it was not. What is older
    /// than the checkpoint was left behind by an earlier use of the file.
    fn name_the_nameless(
        &mut self,
        shelf: &mut Shelf,
        salt: u64,
        first: Option<u32>,
        faults: &mut Vec<Fault>,
    ) {
        let newest = self.segments.last_key_value().map_or(0, |(segment, _)| *segment);
        let first = first.unwrap_or(newest + 1);
        let mut unreadable = Vec::new();
        let note = &mut |fault| unreadable.push(fault);
        for number in 0..self.files.len() {
            let file = &self.files[number];
            if file.segment.is_some() {
                continue;
            }
            let named = &self.segments;
            let is_proof = |header: &BatchHeader| {
                let is_new = header.segment >= first && !named.contains_key(&header.segment);
                is_new && header.number > 0
            };
            let end = file.bytes;
            let path = file.path.clone();
            if let Some((_, header)) = search(shelf, salt, (&path, 0..end), is_proof, note) {
                let segment = header.segment;
                faults.push(Fault::new(&path, 0, FaultKind::SegmentHeader { segment }));
                self.segments.insert(segment, number);
                self.files[number].segment = Some(segment);
            }
        }
        faults.append(&mut unreadable);
    }
}

fn read_header(
    shelf: &mut Shelf,
    salt: u64,
    path: &str,
    faults: &mut Vec<Fault>,
) -> Option<(SegmentHeader, u32)> {
    let mut good = None;
    let mut bad = Vec::new();
    for offset in HEADER_OFFSETS {
        let mut raw = [0; HEADER_BYTES];
        match shelf.read(path, offset, &mut raw) {
            Ok(_) => match SegmentHeader::verify(salt, &raw) {
                Ok(found) => good = good.or(Some(found)),
                Err(why) => bad.push((offset, why)),
            },
            Err(error) => faults.push(Fault::of_disk(path, offset, &error)),
        }
    }
    if let Some((SegmentHeader { segment, .. }, _)) = good {
        for (offset, why) in bad {
            faults.push(Fault::new(path, offset, FaultKind::SegmentCopy { segment, why }));
        }
    }
    good
}

/// The first batch header in a part of a file that `is_wanted`, and where it begins.
pub(super) fn search(
    shelf: &mut Shelf,
    salt: u64,
    (path, part): (&str, std::ops::Range<u64>),
    is_wanted: impl Fn(&BatchHeader) -> bool,
    note: &mut dyn FnMut(Fault),
) -> Option<(u64, BatchHeader)> {
    const ALIGN: usize = batch::ALIGN_BYTES as usize;
    let mut chunk = vec![0_u8; SEARCH_BYTES];
    let mut offset = part.start;
    while offset < part.end {
        // What cannot be read hides nothing that is behind it.
        shelf.read_blocks(path, offset, &mut chunk, note);
        let (pages, _) = chunk.as_chunks::<ALIGN>();
        for (place, page) in (offset..).step_by(ALIGN).zip(pages) {
            let raw = page.first_chunk::<{ batch::HEADER_BYTES }>().map(RawBatchHeader);
            let header = raw.and_then(|raw| raw.verify(salt).ok());
            if let Some((header, _)) = header.filter(|(header, _)| is_wanted(header)) {
                return Some((place, header));
            }
        }
        offset += SEARCH_BYTES as u64;
    }
    None
}
