//! The table of disks: which disks this sheep has, and which of them holds which bucket.
//!
//! Why: what an object's bytes are is known only on the disk that has its bucket. The table says
//!      where that is, whatever disks come, go or fail.
//! Way: 256 buckets, the top eight bits of the hash that gives an object's partition; the file
//!      `disks` in the sheep's directory, in two copies.
//! Holds:
//!   TB1 a table is durable before it is used;
//!   TB2 a bucket gets another disk only when that has everything of it, or when this sheep
//!       is in sync with no group of it (whoever changes the table sees to it: sheep).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sheepdog_proto::Oid;
use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;

use super::copies::Copied;
use super::rendezvous::{self, Candidate};
use crate::layout::{Field, fills};

/// Buckets of a sheep.
pub const BUCKETS: usize = 256;
/// Most disks of a sheep.
pub const DISKS_MAX: usize = 62;
/// The longest path of a disk, in bytes.
pub(crate) const PATH_BYTES_MAX: usize = 480;

/// Bytes of one copy.
pub(crate) const COPY_BYTES: usize = 32 << 10;
/// Bytes of one disk in the table.
pub(crate) const SLOT_BYTES: usize = 512;
/// First bytes of each copy.
pub(crate) const MAGIC: [u8; 8] = *b"SDDISKS\0";
/// The version that this code writes and reads.
pub(crate) const VERSION: u16 = 1;

/// Offsets of a copy's fields, and of a slot's.
pub(crate) mod field {
    use super::{DISKS_MAX, Field, PATH_BYTES_MAX, SLOT_BYTES};

    pub(crate) const MAGIC: Field = Field::first("magic", 8);
    pub(crate) const VERSION: Field = MAGIC.then("version", 2);
    pub(crate) const SHARDS: Field = VERSION.then("shards", 2);
    pub(crate) const ZERO: Field = SHARDS.then("zero", 4);
    pub(crate) const COUNTER: Field = ZERO.then("counter", 8);
    pub(crate) const NODE: Field = COUNTER.then("node uuid", 16);
    pub(crate) const BUCKETS: Field = NODE.then("buckets", super::BUCKETS);
    pub(crate) const RESERVED: Field = BUCKETS.then("reserved", 216);
    pub(crate) const SLOTS: Field = RESERVED.then("slots", DISKS_MAX * SLOT_BYTES);
    pub(crate) const RESERVED_TOO: Field = SLOTS.then("reserved too", 508);
    pub(crate) const CHECKSUM: Field = RESERVED_TOO.then("checksum", 4);

    pub(crate) const DISK: Field = Field::first("disk uuid", 16);
    pub(crate) const WEIGHT: Field = DISK.then("weight", 8);
    pub(crate) const STATE: Field = WEIGHT.then("state", 1);
    pub(crate) const SLOT_ZERO: Field = STATE.then("zero", 5);
    pub(crate) const PATH_BYTES: Field = SLOT_ZERO.then("path bytes", 2);
    pub(crate) const PATH: Field = PATH_BYTES.then("path", PATH_BYTES_MAX);
}

/// All fields of a copy, in order.
pub(crate) const FIELDS: [Field; 11] = [
    field::MAGIC,
    field::VERSION,
    field::SHARDS,
    field::ZERO,
    field::COUNTER,
    field::NODE,
    field::BUCKETS,
    field::RESERVED,
    field::SLOTS,
    field::RESERVED_TOO,
    field::CHECKSUM,
];
const _: () = assert!(fills(&FIELDS, COPY_BYTES));

/// All fields of a slot, in order.
pub(crate) const SLOT_FIELDS: [Field; 6] =
    [field::DISK, field::WEIGHT, field::STATE, field::SLOT_ZERO, field::PATH_BYTES, field::PATH];
const _: () = assert!(fills(&SLOT_FIELDS, SLOT_BYTES));

/// What shall become of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskState {
    /// It holds buckets.
    InUse = 1,
    /// Its buckets are to move away; then it is let go.
    Leaving = 2,
    /// It failed in some life of this sheep: it gets no buckets, and those that it still has, and
    /// can show, are to move away.
    Failed = 3,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its identity; that of the sheep itself for the sheep's own directory.
    pub uuid: u128,
    /// Share of the buckets: bytes of its file system when it became a disk of this sheep.
    pub weight: u64,
    /// What shall become of it.
    pub state: DiskState,
    /// Where it was seen last; empty for the sheep's own directory.
    pub path: PathBuf,
}

/// The table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskTable {
    pub(crate) counter: u64,
    pub(crate) node: u128,
    /// Stores on each disk.
    pub shards: u16,
    /// Disks by their slot.
    pub disks: BTreeMap<u8, DiskEntry>,
    /// The slot of the disk that holds each bucket.
    pub buckets: [u8; BUCKETS],
}

/// The bucket of an object.
#[must_use]
pub const fn bucket_of(oid: Oid) -> u8 {
    oid.partition(8).0 as u8
}

impl DiskTable {
    /// A table for disks that hold nothing yet.
    pub(crate) fn new(node: u128, shards: u16, disks: Vec<DiskEntry>) -> Self {
        let disks = (0..).zip(disks).collect();
        let mut table = Self { counter: 0, node, shards, disks, buckets: [0; BUCKETS] };
        table.buckets = table.wanted();
        table
    }

    /// Where every bucket shall be. Without a disk in use everything stays where it is.
    #[must_use]
    pub fn wanted(&self) -> [u8; BUCKETS] {
        let in_use = self.disks.iter().filter(|(_, disk)| disk.state == DiskState::InUse);
        let candidate = |(slot, disk): (&u8, &DiskEntry)| Candidate {
            slot: *slot,
            disk: disk.uuid,
            weight: disk.weight,
        };
        let candidates: Vec<Candidate> = in_use.map(candidate).collect();
        let mut wanted = self.buckets;
        for (bucket, slot) in (0..=u8::MAX).zip(&mut wanted) {
            *slot = rendezvous::choose(&candidates, bucket).unwrap_or(*slot);
        }
        wanted
    }

    /// The slot of the disk that holds an object.
    #[must_use]
    pub const fn slot_of(&self, oid: Oid) -> u8 {
        self.buckets[bucket_of(oid) as usize]
    }

    /// The buckets that a disk holds.
    pub fn buckets_of(&self, slot: u8) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).zip(self.buckets).filter(move |(_, on)| *on == slot).map(|(bucket, _)| bucket)
    }

    /// A slot that is not used.
    #[must_use]
    pub fn free_slot(&self) -> Option<u8> {
        (0..DISKS_MAX as u8).find(|slot| !self.disks.contains_key(slot))
    }

    /// By identity.
    #[must_use]
    pub fn find(&self, uuid: u128) -> Option<u8> {
        self.disks.iter().find(|(_, disk)| disk.uuid == uuid).map(|(slot, _)| *slot)
    }

    /// By the path that the table has, which is empty for the sheep's own directory.
    #[must_use]
    pub fn find_path(&self, path: &Path) -> Option<u8> {
        self.disks.iter().find(|(_, disk)| disk.path == path).map(|(slot, _)| *slot)
    }
}

impl Copied for DiskTable {
    const PATH: &'static str = "disks";
    const NEW_PATH: &'static str = "disks.new";
    const COPY_BYTES: usize = COPY_BYTES;
    const COPY_OFFSETS: [u64; 2] = [0, COPY_BYTES as u64];

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; COPY_BYTES];
        field::MAGIC.set(&mut bytes, &MAGIC);
        field::VERSION.put(&mut bytes, VERSION);
        field::SHARDS.put(&mut bytes, self.shards);
        field::COUNTER.put(&mut bytes, self.counter);
        field::NODE.put(&mut bytes, self.node);
        field::BUCKETS.set(&mut bytes, &self.buckets);
        let (slots, _) = field::SLOTS.of_mut(&mut bytes).as_chunks_mut::<SLOT_BYTES>();
        for (slot, disk) in &self.disks {
            if let Some(bytes) = slots.get_mut(usize::from(*slot)) {
                disk.encode(bytes);
            }
        }
        let sum = checksum(&bytes[..field::CHECKSUM.offset]);
        field::CHECKSUM.put(&mut bytes, sum);
        bytes
    }

    fn verify(bytes: &[u8]) -> Result<Self, WireError> {
        if *field::MAGIC.of(bytes) != MAGIC {
            return Err(WireError::Invalid("magic of a table of disks"));
        }
        if field::CHECKSUM.get::<4, u32>(bytes) != checksum(&bytes[..field::CHECKSUM.offset]) {
            return Err(WireError::Checksum("table of disks"));
        }
        let version: u16 = field::VERSION.get(bytes);
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let reserved = [field::ZERO, field::RESERVED, field::RESERVED_TOO];
        if reserved.iter().any(|field| !field.is_zero(bytes)) {
            return Err(WireError::Invalid("reserved bytes of a table of disks"));
        }
        let mut disks = BTreeMap::new();
        let (slots, _) = field::SLOTS.of(bytes).as_chunks::<SLOT_BYTES>();
        for (slot, bytes) in (0..).zip(slots) {
            if let Some(disk) = DiskEntry::verify(bytes)? {
                disks.insert(slot, disk);
            }
        }
        let mut buckets = [0; BUCKETS];
        buckets.copy_from_slice(field::BUCKETS.of(bytes));
        if buckets.iter().any(|slot| !disks.contains_key(slot)) {
            return Err(WireError::Invalid("bucket of a table of disks"));
        }
        let shards = field::SHARDS.get(bytes);
        let (counter, node) = (field::COUNTER.get(bytes), field::NODE.get(bytes));
        Ok(Self { counter, node, shards, disks, buckets })
    }

    fn counter(&self) -> u64 {
        self.counter
    }
}

impl DiskEntry {
    fn encode(&self, bytes: &mut [u8]) {
        let path = self.path.as_os_str().as_bytes();
        field::DISK.put(bytes, self.uuid);
        field::WEIGHT.put(bytes, self.weight);
        field::STATE.put(bytes, self.state as u8);
        field::PATH_BYTES.put(bytes, path.len() as u16);
        field::PATH.of_mut(bytes)[..path.len()].copy_from_slice(path);
    }

    /// `None` for a slot that is not used.
    fn verify(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let state = match field::STATE.get::<1, u8>(bytes) {
            0 if bytes.iter().all(|byte| *byte == 0) => return Ok(None),
            1 => DiskState::InUse,
            2 => DiskState::Leaving,
            3 => DiskState::Failed,
            _ => return Err(WireError::Invalid("state of a disk")),
        };
        let length = usize::from(field::PATH_BYTES.get::<2, u16>(bytes));
        let path = field::PATH.of(bytes).split_at_checked(length);
        let (path, rest) = path.ok_or(WireError::Invalid("path of a disk"))?;
        if !field::SLOT_ZERO.is_zero(bytes) || rest.iter().any(|byte| *byte != 0) {
            return Err(WireError::Invalid("reserved bytes of a disk"));
        }
        let (uuid, weight) = (field::DISK.get(bytes), field::WEIGHT.get(bytes));
        Ok(Some(Self { uuid, weight, state, path: PathBuf::from(OsStr::from_bytes(path)) }))
    }
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
