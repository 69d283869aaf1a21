//! Segments: the files of the log; each is used again and again, under a new number.
//!
//! Holds:
//!   SG1 the header stands twice, so that a segment is known by its number even if one is bad;
//!   SG2 a segment names the last batch of the segment before it, so that it is known where that
//!       one ends: what stands behind was never acknowledged.

use std::fmt;

use sheepdog_proto::wire::WireError;

use crate::format::salted_checksum;
use crate::layout::{Field, fills};

/// Bytes of a segment header.
pub(crate) const HEADER_BYTES: usize = 64;
/// First bytes of every segment.
pub(crate) const MAGIC: [u8; 8] = *b"SDWALSEG";
/// The version that this code writes and reads.
pub(crate) const VERSION: u16 = 1;
/// Where the two headers stand (SG1).
pub(crate) const HEADER_OFFSETS: [u64; 2] = [0, 4096];
/// Where batch zero begins.
pub(crate) const BATCHES_START: u64 = 8192;

/// Offsets of a segment header's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const MAGIC: Field = Field::first("magic", 8);
    pub(crate) const VERSION: Field = MAGIC.then("version", 2);
    pub(crate) const ZERO: Field = VERSION.then("zero", 2);
    pub(crate) const SEGMENT: Field = ZERO.then("segment", 4);
    pub(crate) const PREVIOUS: Field = SEGMENT.then("previous checksum", 4);
    pub(crate) const PREVIOUS_BATCHES: Field = PREVIOUS.then("previous batches", 8);
    pub(crate) const RESERVED: Field = PREVIOUS_BATCHES.then("reserved", 32);
    pub(crate) const CHECKSUM: Field = RESERVED.then("checksum", 4);
}

/// All fields of a segment header, in order.
pub(crate) const FIELDS: [Field; 8] = [
    field::MAGIC,
    field::VERSION,
    field::ZERO,
    field::SEGMENT,
    field::PREVIOUS,
    field::PREVIOUS_BATCHES,
    field::RESERVED,
    field::CHECKSUM,
];
const _: () = assert!(fills(&FIELDS, HEADER_BYTES));

/// A verified segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// One more than that of the segment before it; never zero.
    pub(crate) segment: u32,
    /// Checksum of the last batch header of the segment before (SG2); zero if there is none.
    pub(crate) previous: u32,
    /// Batches of the segment before.
    pub(crate) previous_batches: u64,
}

impl SegmentHeader {
    /// The bytes as they are written, and their checksum.
    pub(crate) fn encode(&self, salt: u64) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        field::MAGIC.set(&mut bytes, &MAGIC);
        field::VERSION.put(&mut bytes, VERSION);
        field::SEGMENT.put(&mut bytes, self.segment);
        field::PREVIOUS.put(&mut bytes, self.previous);
        field::PREVIOUS_BATCHES.put(&mut bytes, self.previous_batches);
        let sum = salted_checksum(salt, &bytes, field::CHECKSUM);
        field::CHECKSUM.put(&mut bytes, sum);
        (bytes, sum)
    }

    /// The header and its checksum, if these bytes are a whole one of this store.
    pub(crate) fn verify(salt: u64, bytes: &[u8; HEADER_BYTES]) -> Result<(Self, u32), WireError> {
        if *field::MAGIC.of(bytes) != MAGIC {
            return Err(WireError::Invalid("magic of a log segment"));
        }
        let sum: u32 = field::CHECKSUM.get(bytes);
        if sum != salted_checksum(salt, bytes, field::CHECKSUM) {
            return Err(WireError::Checksum("segment header"));
        }
        let version: u16 = field::VERSION.get(bytes);
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let segment: u32 = field::SEGMENT.get(bytes);
        if segment == 0 || !field::ZERO.is_zero(bytes) || !field::RESERVED.is_zero(bytes) {
            return Err(WireError::Invalid("field of a segment header"));
        }
        let previous = field::PREVIOUS.get(bytes);
        let previous_batches = field::PREVIOUS_BATCHES.get(bytes);
        Ok((Self { segment, previous, previous_batches }, sum))
    }
}

impl fmt::Display for SegmentHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log segment {}", self.segment)
    }
}

#[cfg(test)]
#[path = "segment/tests.rs"]
mod tests;
