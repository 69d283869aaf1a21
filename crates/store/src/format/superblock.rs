//! The store's superblock: whose store it is, and the salt of its checksums.
//!
//! Way: written once, when the store is made, in two copies; a bad one is written anew at open.
//! Not here: the sheep's own superblock (`home::superblock`).

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;

use crate::layout::{Field, fills};
use crate::wal::SEGMENT_BYTES_MIN;

/// Bytes of one copy: one sector.
pub(crate) const COPY_BYTES: usize = 512;
/// Where the copies begin.
pub(crate) const COPY_OFFSETS: [u64; 2] = [0, 4096];
/// First bytes of each copy.
pub(crate) const MAGIC: [u8; 8] = *b"SDSTORE\0";
/// The version of all formats of the store.
pub(crate) const VERSION: u16 = 1;
/// Units have 2^18 bytes.
const UNIT_SHIFT: u8 = 18;
const _: () = assert!(1_u64 << UNIT_SHIFT == crate::shape::UNIT_BYTES);

/// Offsets of a copy's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const MAGIC: Field = Field::first("magic", 8);
    pub(crate) const VERSION: Field = MAGIC.then("version", 2);
    pub(crate) const UNIT_SHIFT: Field = VERSION.then("unit shift", 1);
    pub(crate) const ZERO: Field = UNIT_SHIFT.then("zero", 3);
    pub(crate) const SHARD: Field = ZERO.then("shard", 2);
    pub(crate) const SALT: Field = SHARD.then("salt", 8);
    pub(crate) const NODE: Field = SALT.then("node uuid", 16);
    pub(crate) const SEGMENT_BYTES: Field = NODE.then("segment bytes", 8);
    pub(crate) const RESERVED: Field = SEGMENT_BYTES.then("reserved", 460);
    pub(crate) const CHECKSUM: Field = RESERVED.then("checksum", 4);
}

/// All fields of a copy, in order.
pub(crate) const FIELDS: [Field; 10] = [
    field::MAGIC,
    field::VERSION,
    field::UNIT_SHIFT,
    field::ZERO,
    field::SHARD,
    field::SALT,
    field::NODE,
    field::SEGMENT_BYTES,
    field::RESERVED,
    field::CHECKSUM,
];
const _: () = assert!(fills(&FIELDS, COPY_BYTES));

/// A verified superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// The sheep whose store it is.
    pub(crate) node: u128,
    /// The shard of that sheep.
    pub(crate) shard: u16,
    /// Unknown to guests.
    pub(crate) salt: u64,
    /// Bytes of each segment of the log.
    pub(crate) segment_bytes: u64,
}

impl Superblock {
    /// One copy as it is written.
    pub(crate) fn encode(&self) -> [u8; COPY_BYTES] {
        let mut bytes = [0; COPY_BYTES];
        field::MAGIC.set(&mut bytes, &MAGIC);
        field::VERSION.put(&mut bytes, VERSION);
        field::UNIT_SHIFT.put(&mut bytes, UNIT_SHIFT);
        field::SHARD.put(&mut bytes, self.shard);
        field::SALT.put(&mut bytes, self.salt);
        field::NODE.put(&mut bytes, self.node);
        field::SEGMENT_BYTES.put(&mut bytes, self.segment_bytes);
        let sum = checksum(&bytes[..field::CHECKSUM.offset]);
        field::CHECKSUM.put(&mut bytes, sum);
        bytes
    }

    /// The superblock, if these bytes are a whole copy.
    pub(crate) fn verify(bytes: &[u8; COPY_BYTES]) -> Result<Self, WireError> {
        if *field::MAGIC.of(bytes) != MAGIC {
            return Err(WireError::Invalid("magic of a store's superblock"));
        }
        if field::CHECKSUM.get::<4, u32>(bytes) != checksum(&bytes[..field::CHECKSUM.offset]) {
            return Err(WireError::Checksum("store's superblock"));
        }
        let version: u16 = field::VERSION.get(bytes);
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        if field::UNIT_SHIFT.get::<1, u8>(bytes) != UNIT_SHIFT
            || !is_segment_size(field::SEGMENT_BYTES.get(bytes))
            || !field::ZERO.is_zero(bytes)
            || !field::RESERVED.is_zero(bytes)
        {
            return Err(WireError::Invalid("field of a store's superblock"));
        }
        Ok(Self {
            node: field::NODE.get(bytes),
            shard: field::SHARD.get(bytes),
            salt: field::SALT.get(bytes),
            segment_bytes: field::SEGMENT_BYTES.get(bytes),
        })
    }
}

/// Whether segments of the log can have so many bytes.
const fn is_segment_size(bytes: u64) -> bool {
    bytes >= SEGMENT_BYTES_MIN && bytes.is_multiple_of(4096)
}

#[cfg(test)]
#[path = "superblock/tests.rs"]
mod tests;
