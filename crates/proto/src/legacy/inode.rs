//! The inode: what clients read and write as raw bytes of the object `80vvvvvv00000000`.
//!
//! Why: old clients read a VDI's fields and map at fixed offsets. Here only the map is stored; the
//!      header is made from the catalogue when it is read, and `gref` is zero.
//! Holds:
//!   N1 the fields touch each other and end where the map begins (checked when compiled).

use super::header::{Field, fields};
use super::request::name_field;
use crate::Vid;
use crate::wire::WireError;

/// Bytes before the map.
pub const INODE_HEADER_BYTES: usize = 4664;
/// Entries of the map: the most objects that a legacy client can use.
pub const MAP_ENTRIES: u32 = 1 << 20;
/// First byte of the map.
pub const MAP_START: u32 = INODE_HEADER_BYTES as u32;
/// First byte after the map; QEMU and tgt never read beyond.
pub const MAP_END: u32 = MAP_START + 4 * MAP_ENTRIES;
/// Bytes of the whole inode, with the reference counts (`gref`) that are zero here.
pub const INODE_BYTES: u32 = MAP_END + 8 * MAP_ENTRIES;

fields! {
    /// Everything before the map.
    INODE_FIELDS: 0..INODE_HEADER_BYTES;
    NAME "name" 0 256,
    TAG "tag" 256 256,
    CREATE_TIME "create_time" 512 8,
    SNAPSHOT_TIME "snap_ctime" 520 8,
    VM_CLOCK "vm_clock_nsec" 528 8,
    SIZE "vdi_size" 536 8,
    VM_STATE_SIZE "vm_state_size" 544 8,
    INODE_COPY_POLICY "copy_policy" 552 1,
    INODE_STORE_POLICY "store_policy" 553 1,
    INODE_COPIES "nr_copies" 554 1,
    INODE_OBJECT_SHIFT "block_size_shift" 555 1,
    INODE_SNAP_ID "snap_id" 556 4,
    INODE_VID "vdi_id" 560 4,
    PARENT_VID "parent_vdi_id" 564 4,
    BTREE_COUNTER "btree_counter" 568 4,
    UNUSED "unused" 572 4092,
}

const _: () = assert!(MAP_END == 4_198_968 && INODE_BYTES == 12_587_576);

/// The fields of the header that have a meaning here. Copy policy, store policy, VM clock and VM
/// state size are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InodeHeader {
    /// Empty: the VDI was deleted.
    pub name: String,
    /// Of a snapshot.
    pub tag: String,
    /// Nanoseconds since 1970.
    pub created_ns: u64,
    /// Nanoseconds since 1970; 0 for a working VDI.
    pub snapshot_ns: u64,
    /// Bytes.
    pub size: u64,
    /// Copies.
    pub copies: u8,
    /// Object size is 2^this.
    pub object_shift: u8,
    /// Snapshot id, or the next one for a working VDI.
    pub snap_id: u32,
    /// Its own.
    pub vid: Vid,
    /// What it was cloned from.
    pub parent: Option<Vid>,
}

impl InodeHeader {
    /// The bytes that a client reads at offset 0.
    #[must_use]
    pub fn emit(&self) -> [u8; INODE_HEADER_BYTES] {
        let mut bytes = [0; INODE_HEADER_BYTES];
        let mut put = |field: Field, value: &[u8]| {
            bytes[field.offset..field.offset + value.len()].copy_from_slice(value);
        };
        put(NAME, &name_field(self.name.as_bytes()));
        put(TAG, &name_field(self.tag.as_bytes()));
        put(CREATE_TIME, &legacy_time(self.created_ns).to_le_bytes());
        put(SNAPSHOT_TIME, &legacy_time(self.snapshot_ns).to_le_bytes());
        put(SIZE, &self.size.to_le_bytes());
        put(INODE_COPIES, &[self.copies]);
        put(INODE_OBJECT_SHIFT, &[self.object_shift]);
        put(INODE_SNAP_ID, &self.snap_id.to_le_bytes());
        put(INODE_VID, &self.vid.get().to_le_bytes());
        put(PARENT_VID, &self.parent.map_or(0, Vid::get).to_le_bytes());
        bytes
    }

    /// Reads a whole header, as a client would.
    ///
    /// # Errors
    /// `Short`, or `Invalid` for a name that is no text or a vid that is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let bytes: &[u8; INODE_HEADER_BYTES] = bytes.first_chunk().ok_or(WireError::Short)?;
        let text = |field: Field| {
            let field = &bytes[field.offset..field.offset + field.bytes];
            let end = field.iter().position(|byte| *byte == 0).ok_or(WireError::Invalid("name"))?;
            std::str::from_utf8(&field[..end])
                .map(str::to_owned)
                .map_err(|_| WireError::Invalid("name"))
        };
        let number = |field: Field| field_of(bytes, field);
        Ok(Self {
            name: text(NAME)?,
            tag: text(TAG)?,
            created_ns: nanoseconds(number(CREATE_TIME)),
            snapshot_ns: nanoseconds(number(SNAPSHOT_TIME)),
            size: number(SIZE),
            copies: number(INODE_COPIES) as u8,
            object_shift: number(INODE_OBJECT_SHIFT) as u8,
            snap_id: number(INODE_SNAP_ID) as u32,
            vid: Vid::new(number(INODE_VID) as u32).ok_or(WireError::Invalid("vdi_id"))?,
            parent: Vid::new(number(PARENT_VID) as u32),
        })
    }
}

/// The size that a write of `data` at `offset` of an inode sets; `None` if it does not cover the
/// whole field.
#[must_use]
pub fn written_size(offset: u32, data: &[u8]) -> Option<u64> {
    let start = SIZE.offset.checked_sub(offset as usize)?;
    let bytes = data.get(start..start + SIZE.bytes)?;
    bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn field_of(bytes: &[u8; INODE_HEADER_BYTES], field: Field) -> u64 {
    let mut value = [0_u8; 8];
    let count = field.bytes.min(8);
    value[..count].copy_from_slice(&bytes[field.offset..field.offset + count]);
    u64::from_le_bytes(value)
}

/// Seconds in the high half, nanoseconds in the low.
const fn legacy_time(ns: u64) -> u64 {
    ((ns / 1_000_000_000) << 32) | (ns % 1_000_000_000)
}

const fn nanoseconds(time: u64) -> u64 {
    (time >> 32) * 1_000_000_000 + (time & 0xffff_ffff)
}
