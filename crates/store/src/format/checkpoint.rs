//! Checkpoints: from which segment the log is replayed, and which versions of the index pages
//! were valid when that segment began.
//!
//! Holds:
//!   CP1 the root of everything: checkpoint, index pages, metadata pages, blocks; each names the
//!       exact version or checksum of what is below it;
//!   CP2 two files take turns, so that one is whole at any moment.

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;

use super::salted_checksum;
use crate::layout::{Field, fills};

/// Bytes before the versions.
pub(crate) const HEADER_BYTES: usize = 64;
/// First bytes of every checkpoint.
pub(crate) const MAGIC: [u8; 8] = *b"SDCHKPNT";
/// The version of the format that this code writes and reads.
pub(crate) const VERSION: u16 = 1;
/// Most index pages that a checkpoint can name: 130 million objects of 4 MiB.
pub(crate) const PAGES_MAX: u32 = 1 << 22;

/// Offsets of a checkpoint's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const MAGIC: Field = Field::first("magic", 8);
    pub(crate) const VERSION: Field = MAGIC.then("version", 2);
    pub(crate) const ZERO: Field = VERSION.then("zero", 6);
    pub(crate) const SEGMENT: Field = ZERO.then("segment", 4);
    pub(crate) const PAGES: Field = SEGMENT.then("index pages", 4);
    pub(crate) const PAGES_CHECKSUM: Field = PAGES.then("checksum of the versions", 4);
    pub(crate) const RESERVED: Field = PAGES_CHECKSUM.then("reserved", 32);
    pub(crate) const CHECKSUM: Field = RESERVED.then("checksum", 4);
}

/// All fields of a checkpoint's header, in order.
pub(crate) const FIELDS: [Field; 8] = [
    field::MAGIC,
    field::VERSION,
    field::ZERO,
    field::SEGMENT,
    field::PAGES,
    field::PAGES_CHECKSUM,
    field::RESERVED,
    field::CHECKSUM,
];
const _: () = assert!(fills(&FIELDS, HEADER_BYTES));

/// A verified checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The first segment of the log that is replayed.
    pub(crate) segment: u32,
    /// Version of each index page; zero for a page that does not exist.
    pub(crate) versions: Vec<u32>,
}

impl Checkpoint {
    /// The file as it is written.
    pub(crate) fn encode(&self, salt: u64) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend(self.versions.iter().flat_map(|version| version.to_le_bytes()));
        let versions_checksum = checksum(&bytes[HEADER_BYTES..]);
        let header = &mut bytes[..HEADER_BYTES];
        field::MAGIC.set(header, &MAGIC);
        field::VERSION.put(header, VERSION);
        field::SEGMENT.put(header, self.segment);
        field::PAGES.put(header, self.versions.len() as u32);
        field::PAGES_CHECKSUM.put(header, versions_checksum);
        let sum = salted_checksum(salt, header, field::CHECKSUM);
        field::CHECKSUM.put(header, sum);
        let len = bytes.len().next_multiple_of(super::page::PAGE_BYTES);
        bytes.resize(len, 0);
        bytes
    }

    /// The checkpoint, if the bytes of a file are a whole one.
    pub(crate) fn verify(salt: u64, bytes: &[u8]) -> Result<Self, WireError> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(WireError::Short)?;
        if *field::MAGIC.of(header) != MAGIC {
            return Err(WireError::Invalid("magic of a checkpoint"));
        }
        let sum: u32 = field::CHECKSUM.get(header);
        if sum != salted_checksum(salt, header, field::CHECKSUM) {
            return Err(WireError::Checksum("checkpoint"));
        }
        let version: u16 = field::VERSION.get(header);
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        if !field::ZERO.is_zero(header) || !field::RESERVED.is_zero(header) {
            return Err(WireError::Invalid("reserved bytes of a checkpoint"));
        }
        let pages: u32 = field::PAGES.get(header);
        if pages > PAGES_MAX {
            return Err(WireError::Invalid("index pages of a checkpoint"));
        }
        let table = rest.get(..pages as usize * 4).ok_or(WireError::Short)?;
        if checksum(table) != field::PAGES_CHECKSUM.get::<4, u32>(header) {
            return Err(WireError::Checksum("versions of a checkpoint"));
        }
        let (table, _) = table.as_chunks::<4>();
        let versions = table.iter().map(|version| u32::from_le_bytes(*version)).collect();
        Ok(Self { segment: field::SEGMENT.get(header), versions })
    }
}

#[cfg(test)]
#[path = "checkpoint/tests.rs"]
mod tests;
