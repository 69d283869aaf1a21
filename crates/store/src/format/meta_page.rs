//! Metadata pages: stamp, state and checksum of each block of 1 MiB of an object.

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{Oid, Stamp};

use super::page::{self, Kind, PAGE_BYTES, PageHeader};
use crate::layout::{Field, fills};
use crate::request::BlockState;
use crate::shape::{FRAGMENT_PAGES, PAGE_BLOCKS};

/// Bytes that describe one block.
pub(crate) const ENTRY_BYTES: usize = 15;
/// Where the entries end; zeros follow.
const ENTRIES_END: usize = page::HEADER_BYTES + ENTRY_BYTES * PAGE_BLOCKS as usize;
const _: () = assert!(ENTRIES_END <= PAGE_BYTES);

/// Offsets of an entry's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const STAMP: Field = Field::first("stamp", 8);
    pub(crate) const CHECKSUM: Field = STAMP.then("checksum", 4);
    pub(crate) const STATE: Field = CHECKSUM.then("state", 1);
    pub(crate) const RESERVED: Field = STATE.then("reserved", 2);
}

/// All fields of an entry, in order.
pub(crate) const FIELDS: [Field; 4] =
    [field::STAMP, field::CHECKSUM, field::STATE, field::RESERVED];
const _: () = assert!(fills(&FIELDS, ENTRY_BYTES));

const ABSENT: u8 = 0;
const DATA: u8 = 1;
const HOLE: u8 = 2;

/// What is known of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Zero for an absent block.
    pub(crate) stamp: Stamp,
    pub(crate) state: BlockState,
}

impl Entry {
    /// A block that was never written.
    pub(crate) const ABSENT: Self = Self { stamp: Stamp::NONE, state: BlockState::Absent };

    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self.state, BlockState::Absent)
    }

    pub(crate) const fn is_data(&self) -> bool {
        matches!(self.state, BlockState::Data { .. })
    }
}

/// Which page it is: of an object, and in the file by the slot of its fragment.
pub(crate) fn header(oid: Oid, page: u32, slot: u32, version: u32) -> PageHeader {
    let place = u64::from(page) % FRAGMENT_PAGES as u64;
    let number = u64::from(slot) * FRAGMENT_PAGES as u64 + place;
    PageHeader { kind: Kind::Meta, version, number, owner: oid.get(), part: page }
}

/// A page as it is written.
pub(crate) fn encode(header: &PageHeader, salt: u64, entries: &[Entry]) -> [u8; PAGE_BYTES] {
    let mut bytes = [0; PAGE_BYTES];
    let body = &mut bytes[page::HEADER_BYTES..ENTRIES_END];
    for (place, entry) in body.chunks_exact_mut(ENTRY_BYTES).zip(entries) {
        let (state, checksum) = match entry.state {
            BlockState::Absent => (ABSENT, 0),
            BlockState::Hole => (HOLE, 0),
            BlockState::Data { checksum } => (DATA, checksum),
        };
        field::STAMP.put(place, entry.stamp.get());
        field::CHECKSUM.put(place, checksum);
        field::STATE.put(place, state);
    }
    header.seal(salt, &mut bytes);
    bytes
}

/// The entries of a page whose header was verified.
pub(crate) fn decode(page: &[u8; PAGE_BYTES]) -> Result<Vec<Entry>, WireError> {
    let body = &page[page::HEADER_BYTES..ENTRIES_END];
    if page[ENTRIES_END..].iter().any(|byte| *byte != 0) {
        return Err(WireError::Invalid("reserved bytes of a metadata page"));
    }
    body.chunks_exact(ENTRY_BYTES).map(decode_entry).collect()
}

fn decode_entry(place: &[u8]) -> Result<Entry, WireError> {
    let stamp = Stamp::from_wire(field::STAMP.get(place));
    let checksum: u32 = field::CHECKSUM.get(place);
    let state = match field::STATE.get::<1, u8>(place) {
        ABSENT => BlockState::Absent,
        DATA => BlockState::Data { checksum },
        HOLE => BlockState::Hole,
        _ => return Err(WireError::Invalid("state of a block")),
    };
    let entry = Entry { stamp, state };
    let has_checksum = entry.is_data() || checksum == 0;
    let has_stamp = entry.is_absent() == (stamp == Stamp::NONE);
    if !has_checksum || !has_stamp || !field::RESERVED.is_zero(place) {
        return Err(WireError::Invalid("unused field of a block"));
    }
    Ok(entry)
}

#[cfg(test)]
#[path = "meta_page/tests.rs"]
mod tests;
