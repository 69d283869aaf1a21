//! Superblock: who this sheep is, and to which cluster it belongs.
//!
//! Why: a sheep that forgot its name, or joined two clusters, would mix up their data.
//! Way: a file with two copies (`copies`).

use std::fmt;
use std::num::NonZero;

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;

use super::copies::Copied;
use crate::error::Corruption;
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
}

impl Copied for Superblock {
    const PATH: &'static str = PATH;
    const NEW_PATH: &'static str = "superblock.new";
    const COPY_BYTES: usize = COPY_BYTES;
    const COPY_OFFSETS: [u64; 2] = COPY_OFFSETS;

    fn encode(&self) -> Vec<u8> {
        Self::encode(self).to_vec()
    }

    fn verify(bytes: &[u8]) -> Result<Self, WireError> {
        RawSuperblock(bytes.first_chunk().ok_or(WireError::Short)?).verify()
    }

    fn counter(&self) -> u64 {
        self.counter
    }

    fn bad(first: WireError, second: WireError) -> Corruption {
        Corruption::Superblock { first, second }
    }
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
