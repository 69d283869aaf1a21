//! Segments: the files of the journal, one in use and one spare.

use std::fmt;

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;

use crate::layout::{Field, fills};

/// Bytes of a segment header; the first batch begins at the next border of 4096.
pub(crate) const HEADER_BYTES: usize = 64;
/// First bytes of every segment.
pub(crate) const MAGIC: [u8; 8] = *b"SDJOURNL";
/// The version that this code writes and reads.
pub(crate) const VERSION: u16 = 1;
/// Where batch zero begins.
pub(crate) const BATCHES_START: u64 = 4096;

/// Offsets of a segment header's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const MAGIC: Field = Field::first("magic", 8);
    pub(crate) const VERSION: Field = MAGIC.then("version", 2);
    pub(crate) const ZERO: Field = VERSION.then("zero", 6);
    pub(crate) const SEQUENCE: Field = ZERO.then("segment sequence", 8);
    pub(crate) const SALT: Field = SEQUENCE.then("salt", 8);
    pub(crate) const RESERVED: Field = SALT.then("reserved", 28);
    pub(crate) const CHECKSUM: Field = RESERVED.then("checksum", 4);
}

/// All fields of a segment header, in order.
pub(crate) const FIELDS: [Field; 7] = [
    field::MAGIC,
    field::VERSION,
    field::ZERO,
    field::SEQUENCE,
    field::SALT,
    field::RESERVED,
    field::CHECKSUM,
];
const _: () = assert!(fills(&FIELDS, HEADER_BYTES));

/// A verified segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Larger than that of every segment before it, never zero.
    pub(crate) sequence: u64,
    /// Unknown to guests, so that their data cannot pass for a batch.
    pub(crate) salt: u64,
}

/// Bytes from the disk that may be anything.
pub(crate) struct RawSegmentHeader<'a>(pub(crate) &'a [u8; HEADER_BYTES]);

impl RawSegmentHeader<'_> {
    /// The header and its checksum, if it is whole.
    pub(crate) fn verify(&self) -> Result<(SegmentHeader, u32), WireError> {
        let bytes = self.0;
        if *field::MAGIC.of(bytes) != MAGIC {
            return Err(WireError::Invalid("magic of a journal segment"));
        }
        let version: u16 = field::VERSION.get(bytes);
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let sum: u32 = field::CHECKSUM.get(bytes);
        if sum != checksum(&bytes[..field::CHECKSUM.offset]) {
            return Err(WireError::Checksum("segment header"));
        }
        if !field::ZERO.is_zero(bytes) || !field::RESERVED.is_zero(bytes) {
            return Err(WireError::Invalid("reserved bytes of a segment header"));
        }
        let sequence = field::SEQUENCE.get(bytes);
        Ok((SegmentHeader { sequence, salt: field::SALT.get(bytes) }, sum))
    }
}

impl SegmentHeader {
    /// The bytes as they are written, and their checksum.
    pub(crate) fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        field::MAGIC.set(&mut bytes, &MAGIC);
        field::VERSION.put(&mut bytes, VERSION);
        field::SEQUENCE.put(&mut bytes, self.sequence);
        field::SALT.put(&mut bytes, self.salt);
        let sum = checksum(&bytes[..field::CHECKSUM.offset]);
        field::CHECKSUM.put(&mut bytes, sum);
        (bytes, sum)
    }
}

impl fmt::Display for SegmentHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "journal segment {}", self.sequence)
    }
}

#[cfg(test)]
#[path = "segment/tests.rs"]
mod tests;
