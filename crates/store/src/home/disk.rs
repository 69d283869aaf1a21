//! Superblock of a disk: whose disk this directory is.
//!
//! Why: a disk of another sheep must not be taken, and an empty directory (a file system that is
//!      not mounted, a disk that was exchanged) must not pass for a disk with data.

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;

use super::copies::Copied;
use crate::layout::{Field, fills};

/// Bytes of one copy: one sector.
pub(crate) const COPY_BYTES: usize = 512;
/// First bytes of each copy.
pub(crate) const MAGIC: [u8; 8] = *b"SDDISK\0\0";
/// The version that this code writes and reads.
pub(crate) const VERSION: u16 = 1;

/// Offsets of a copy's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const MAGIC: Field = Field::first("magic", 8);
    pub(crate) const VERSION: Field = MAGIC.then("version", 2);
    pub(crate) const ZERO: Field = VERSION.then("zero", 6);
    pub(crate) const COUNTER: Field = ZERO.then("counter", 8);
    pub(crate) const DISK: Field = COUNTER.then("disk uuid", 16);
    pub(crate) const NODE: Field = DISK.then("node uuid", 16);
    pub(crate) const RESERVED: Field = NODE.then("reserved", 452);
    pub(crate) const CHECKSUM: Field = RESERVED.then("checksum", 4);
}

/// All fields of a copy, in order.
pub(crate) const FIELDS: [Field; 8] = [
    field::MAGIC,
    field::VERSION,
    field::ZERO,
    field::COUNTER,
    field::DISK,
    field::NODE,
    field::RESERVED,
    field::CHECKSUM,
];
const _: () = assert!(fills(&FIELDS, COPY_BYTES));

/// A verified superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskSuperblock {
    /// Rises with each change.
    pub(crate) counter: u64,
    /// New each time the directory becomes a disk.
    pub(crate) disk: u128,
    /// The sheep; zero: it was let go, and may be taken by any.
    pub(crate) node: u128,
}

impl Copied for DiskSuperblock {
    const PATH: &'static str = "disk";
    const NEW_PATH: &'static str = "disk.new";
    const COPY_BYTES: usize = COPY_BYTES;
    const COPY_OFFSETS: [u64; 2] = [0, 4096];

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; COPY_BYTES];
        field::MAGIC.set(&mut bytes, &MAGIC);
        field::VERSION.put(&mut bytes, VERSION);
        field::COUNTER.put(&mut bytes, self.counter);
        field::DISK.put(&mut bytes, self.disk);
        field::NODE.put(&mut bytes, self.node);
        let sum = checksum(&bytes[..field::CHECKSUM.offset]);
        field::CHECKSUM.put(&mut bytes, sum);
        bytes
    }

    fn verify(bytes: &[u8]) -> Result<Self, WireError> {
        if *field::MAGIC.of(bytes) != MAGIC {
            return Err(WireError::Invalid("magic of a disk's superblock"));
        }
        if field::CHECKSUM.get::<4, u32>(bytes) != checksum(&bytes[..field::CHECKSUM.offset]) {
            return Err(WireError::Checksum("disk's superblock"));
        }
        let version: u16 = field::VERSION.get(bytes);
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let disk = field::DISK.get(bytes);
        if !field::ZERO.is_zero(bytes) || !field::RESERVED.is_zero(bytes) || disk == 0 {
            return Err(WireError::Invalid("field of a disk's superblock"));
        }
        Ok(Self { counter: field::COUNTER.get(bytes), disk, node: field::NODE.get(bytes) })
    }

    fn counter(&self) -> u64 {
        self.counter
    }
}

#[cfg(test)]
#[path = "disk/tests.rs"]
mod tests;
