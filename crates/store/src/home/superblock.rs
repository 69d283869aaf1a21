//! Superblock: who this sheep is, and to which cluster it belongs.
//!
//! Why: a sheep that forgot its name, or joined two clusters, would mix up their data.
//! Way: a file with two copies, written and synced one after the other.
//! Holds:
//!   SB1 at any moment one copy is whole; of two whole ones that differ the later one counts;
//!   SB2 the file gets its name only after both copies are synced.

use std::fmt;
use std::num::NonZero;

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;

use crate::disk::{Disk, DiskError, FileId};
use crate::error::{Corruption, StoreError};
use crate::layout::{Field, fills};

/// Bytes of one copy: one sector.
pub(crate) const COPY_BYTES: usize = 512;
/// Where the copies begin.
pub(crate) const COPY_OFFSETS: [u64; 2] = [0, 4096];
/// First bytes of each copy.
pub(crate) const MAGIC: [u8; 8] = *b"SDSUPERB";
/// The version that this code writes and reads.
pub(crate) const VERSION: u16 = 1;

/// Name of the file.
pub(crate) const PATH: &str = "superblock";
const NEW_PATH: &str = "superblock.new";

/// Offsets of a copy's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const MAGIC: Field = Field::first("magic", 8);
    pub(crate) const VERSION: Field = MAGIC.then("version", 2);
    pub(crate) const ZERO: Field = VERSION.then("zero", 6);
    pub(crate) const COUNTER: Field = ZERO.then("counter", 8);
    pub(crate) const NODE: Field = COUNTER.then("node uuid", 16);
    pub(crate) const CLUSTER: Field = NODE.then("cluster id", 16);
    pub(crate) const RESERVED: Field = CLUSTER.then("reserved", 452);
    pub(crate) const CHECKSUM: Field = RESERVED.then("checksum", 4);
}

/// All fields of a copy, in order.
pub(crate) const FIELDS: [Field; 8] = [
    field::MAGIC,
    field::VERSION,
    field::ZERO,
    field::COUNTER,
    field::NODE,
    field::CLUSTER,
    field::RESERVED,
    field::CHECKSUM,
];
const _: () = assert!(fills(&FIELDS, COPY_BYTES));

/// A verified superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Rises with each change.
    pub(crate) counter: u64,
    pub(crate) node: u128,
    /// `None` until the sheep has joined.
    pub(crate) cluster: Option<NonZero<u128>>,
}

/// Bytes from the disk that may be anything.
pub(crate) struct RawSuperblock<'a>(pub(crate) &'a [u8; COPY_BYTES]);

impl RawSuperblock<'_> {
    /// The superblock, if this copy is whole.
    pub(crate) fn verify(&self) -> Result<Superblock, WireError> {
        let bytes = self.0;
        if *field::MAGIC.of(bytes) != MAGIC {
            return Err(WireError::Invalid("magic of a superblock"));
        }
        let version: u16 = field::VERSION.get(bytes);
        if field::CHECKSUM.get::<4, u32>(bytes) != checksum(&bytes[..field::CHECKSUM.offset]) {
            return Err(WireError::Checksum("superblock"));
        }
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        if !field::ZERO.is_zero(bytes) || !field::RESERVED.is_zero(bytes) {
            return Err(WireError::Invalid("reserved bytes of a superblock"));
        }
        Ok(Superblock {
            counter: field::COUNTER.get(bytes),
            node: field::NODE.get(bytes),
            cluster: NonZero::new(field::CLUSTER.get(bytes)),
        })
    }
}

impl Superblock {
    /// One copy as it is written.
    pub(crate) fn encode(&self) -> [u8; COPY_BYTES] {
        let mut bytes = [0; COPY_BYTES];
        field::MAGIC.set(&mut bytes, &MAGIC);
        field::VERSION.put(&mut bytes, VERSION);
        field::COUNTER.put(&mut bytes, self.counter);
        field::NODE.put(&mut bytes, self.node);
        field::CLUSTER.put(&mut bytes, self.cluster.map_or(0, NonZero::get));
        let sum = checksum(&bytes[..field::CHECKSUM.offset]);
        field::CHECKSUM.put(&mut bytes, sum);
        bytes
    }

    /// Reads the superblock, and writes a bad copy anew. `None` if there is no such file; true
    /// if a copy had to be written.
    pub(crate) fn load(disk: &mut dyn Disk) -> Result<Option<(Self, bool)>, StoreError> {
        let file = match disk.open(PATH) {
            Ok(file) => file,
            Err(DiskError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let loaded = load_copies(disk, file);
        disk.close(file);
        loaded.map(Some)
    }

    /// Makes the file; it is durable on return (SB2).
    pub(crate) fn create(&self, disk: &mut dyn Disk) -> Result<(), StoreError> {
        match disk.remove(NEW_PATH) {
            Ok(()) | Err(DiskError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let file = disk.create(NEW_PATH)?;
        let written = self.write_copies(disk, file);
        disk.close(file);
        written?;
        disk.rename(NEW_PATH, PATH)?;
        disk.sync_dir("")?;
        Ok(())
    }

    /// Replaces the contents of the file; durable on return.
    pub(crate) fn save(&self, disk: &mut dyn Disk) -> Result<(), StoreError> {
        let file = disk.open(PATH)?;
        let written = self.write_copies(disk, file);
        disk.close(file);
        Ok(written?)
    }

    /// The second copy is touched only when the first is synced (SB1).
    fn write_copies(&self, disk: &mut dyn Disk, file: FileId) -> Result<(), DiskError> {
        for offset in COPY_OFFSETS {
            disk.write_at(file, offset, &[&self.encode()])?;
            disk.sync(file)?;
        }
        Ok(())
    }
}

fn load_copies(disk: &mut dyn Disk, file: FileId) -> Result<(Superblock, bool), StoreError> {
    let mut copies = [Err(WireError::Short); 2];
    for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
        let mut raw = [0; COPY_BYTES];
        if disk.read_at(file, offset, &mut raw)? == COPY_BYTES {
            *copy = RawSuperblock(&raw).verify();
        }
    }
    let good = match copies {
        [Ok(first), Ok(second)] if first == second => return Ok((first, false)),
        [Ok(first), Ok(second)] if second.counter > first.counter => second,
        // A newer program wrote one of the copies: do not write over it.
        [Err(first @ WireError::Version(_)), Ok(_)] => return Err(superblock(first, first)),
        [Ok(_), Err(second @ WireError::Version(_))] => return Err(superblock(second, second)),
        [Ok(first), _] => first,
        [_, Ok(second)] => second,
        [Err(first), Err(second)] => return Err(superblock(first, second)),
    };
    good.write_copies(disk, file)?;
    Ok((good, true))
}

fn superblock(first: WireError, second: WireError) -> StoreError {
    Corruption::Superblock { first, second }.into()
}

impl fmt::Display for Superblock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counter, node, cluster } = self;
        let cluster = cluster.map_or(0, NonZero::get);
        write!(f, "superblock {counter}: node {node:032x} cluster {cluster:032x}")
    }
}

#[cfg(test)]
#[path = "superblock/tests.rs"]
mod tests;
