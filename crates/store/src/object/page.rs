//! Metadata pages: stamp, checksum and state of 32 blocks in one sector.

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;
use sheepdog_proto::{Oid, Stamp};

use crate::layout::{Field, fills};
use crate::request::{Block, BlockState};

/// Bytes of a page: one sector.
pub(crate) const PAGE_BYTES: usize = 512;
/// Blocks that one page describes.
pub(crate) const PAGE_BLOCKS: u32 = 32;
/// Bytes that describe one block.
pub(crate) const ENTRY_BYTES: usize = 15;
/// First bytes of every page.
pub(crate) const MAGIC: [u8; 4] = *b"SDPG";

/// Offsets of a page's fields.
pub(crate) mod field {
    use super::{ENTRY_BYTES, Field, PAGE_BLOCKS};

    pub(crate) const MAGIC: Field = Field::first("magic", 4);
    pub(crate) const CHECKSUM: Field = MAGIC.then("checksum", 4);
    pub(crate) const OID: Field = CHECKSUM.then("oid", 8);
    pub(crate) const NUMBER: Field = OID.then("page number", 4);
    pub(crate) const RESERVED: Field = NUMBER.then("reserved", 12);
    pub(crate) const ENTRIES: Field =
        RESERVED.then("block entries", PAGE_BLOCKS as usize * ENTRY_BYTES);
}

/// Offsets of a block entry's fields.
pub(crate) mod entry_field {
    use super::Field;

    pub(crate) const STAMP: Field = Field::first("stamp", 8);
    pub(crate) const CHECKSUM: Field = STAMP.then("block checksum", 4);
    pub(crate) const STATE: Field = CHECKSUM.then("state", 1);
    pub(crate) const RESERVED: Field = STATE.then("reserved", 2);
}

/// All fields of a page, in order.
pub(crate) const FIELDS: [Field; 6] =
    [field::MAGIC, field::CHECKSUM, field::OID, field::NUMBER, field::RESERVED, field::ENTRIES];
/// All fields of a block entry, in order.
pub(crate) const ENTRY_FIELDS: [Field; 4] =
    [entry_field::STAMP, entry_field::CHECKSUM, entry_field::STATE, entry_field::RESERVED];
const _: () = assert!(fills(&FIELDS, PAGE_BYTES) && fills(&ENTRY_FIELDS, ENTRY_BYTES));

const STATE_HOLE: u8 = 1;
const STATE_DATA: u8 = 2;

/// What is known of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stamp: Stamp,
    pub(crate) state: BlockState,
}

impl Entry {
    pub(crate) const ABSENT: Self = Self { stamp: Stamp::NONE, state: BlockState::Absent };

    pub(crate) const fn is_present(self) -> bool {
        !matches!(self.state, BlockState::Absent)
    }

    pub(crate) const fn is_data(self) -> bool {
        matches!(self.state, BlockState::Data { .. })
    }

    /// As callers see it: an absent block is as old as the object's base.
    pub(crate) const fn seen_from(self, base: Stamp) -> Block {
        let stamp = if self.is_present() { self.stamp } else { base };
        Block { stamp, state: self.state }
    }
}

/// A verified page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    oid: Oid,
    number: u32,
    entries: [Entry; PAGE_BLOCKS as usize],
}

/// A page's place in the object: what was found there.
#[derive(Debug, Default)]
pub(crate) enum PageSlot {
    /// Nothing was ever written: all its blocks are absent.
    #[default]
    Empty,
    /// A good page.
    Page(Box<Page>),
    /// Bytes that fail their check.
    Rotten(WireError),
}

impl PageSlot {
    pub(crate) fn present(&self) -> u32 {
        match self {
            Self::Page(page) => {
                page.entries.iter().filter(|entry| entry.is_present()).count() as u32
            }
            Self::Empty | Self::Rotten(_) => 0,
        }
    }

    pub(crate) const fn is_rotten(&self) -> bool {
        matches!(self, Self::Rotten(_))
    }
}

/// Bytes from the disk that may be anything.
pub(crate) struct RawPage<'a>(pub(crate) &'a [u8; PAGE_BYTES]);

impl RawPage<'_> {
    /// What the sector holds, if it is page `number` of `oid` (O2).
    pub(crate) fn verify(&self, oid: Oid, number: u32) -> PageSlot {
        if self.0.iter().all(|byte| *byte == 0) {
            return PageSlot::Empty;
        }
        match self.decode(oid, number) {
            Ok(page) => PageSlot::Page(Box::new(page)),
            Err(why) => PageSlot::Rotten(why),
        }
    }

    fn decode(&self, oid: Oid, number: u32) -> Result<Page, WireError> {
        let bytes = self.0;
        if *field::MAGIC.of(bytes) != MAGIC {
            return Err(WireError::Invalid("magic of a metadata page"));
        }
        if field::CHECKSUM.get::<4, u32>(bytes) != checksum(&bytes[field::CHECKSUM.end()..]) {
            return Err(WireError::Checksum("metadata page"));
        }
        if field::OID.get::<8, u64>(bytes) != oid.get()
            || field::NUMBER.get::<4, u32>(bytes) != number
        {
            return Err(WireError::Invalid("metadata page: it belongs elsewhere"));
        }
        if !field::RESERVED.is_zero(bytes) {
            return Err(WireError::Invalid("reserved bytes of a metadata page"));
        }
        let mut page = Page::empty(oid, number);
        let raw = field::ENTRIES.of(bytes).chunks_exact(ENTRY_BYTES);
        for (entry, raw) in page.entries.iter_mut().zip(raw) {
            *entry = decode_entry(raw)?;
        }
        Ok(page)
    }
}

fn decode_entry(raw: &[u8]) -> Result<Entry, WireError> {
    let stamp = Stamp::from_wire(entry_field::STAMP.get(raw));
    let checksum: u32 = entry_field::CHECKSUM.get(raw);
    let state = match (entry_field::STATE.get::<1, u8>(raw), checksum) {
        (0, 0) if stamp == Stamp::NONE => BlockState::Absent,
        (STATE_HOLE, 0) if stamp != Stamp::NONE => BlockState::Hole,
        (STATE_DATA, checksum) if stamp != Stamp::NONE => BlockState::Data { checksum },
        _ => return Err(WireError::Invalid("block entry")),
    };
    if !entry_field::RESERVED.is_zero(raw) {
        return Err(WireError::Invalid("reserved bytes of a block entry"));
    }
    Ok(Entry { stamp, state })
}

impl Page {
    pub(crate) fn empty(oid: Oid, number: u32) -> Self {
        Self { oid, number, entries: [Entry::ABSENT; PAGE_BLOCKS as usize] }
    }

    pub(crate) fn entry(&self, place: usize) -> Entry {
        self.entries[place]
    }

    pub(crate) fn set_entry(&mut self, place: usize, entry: Entry) {
        self.entries[place] = entry;
    }

    /// The sector as it is written.
    pub(crate) fn encode(&self) -> [u8; PAGE_BYTES] {
        let mut bytes = [0; PAGE_BYTES];
        field::MAGIC.set(&mut bytes, &MAGIC);
        field::OID.put(&mut bytes, self.oid.get());
        field::NUMBER.put(&mut bytes, self.number);
        let raw = bytes[field::ENTRIES.offset..].chunks_exact_mut(ENTRY_BYTES);
        for (entry, raw) in self.entries.iter().zip(raw) {
            entry_field::STAMP.put(raw, entry.stamp.get());
            match entry.state {
                BlockState::Absent => {}
                BlockState::Hole => entry_field::STATE.put(raw, STATE_HOLE),
                BlockState::Data { checksum } => {
                    entry_field::STATE.put(raw, STATE_DATA);
                    entry_field::CHECKSUM.put(raw, checksum);
                }
            }
        }
        let sum = checksum(&bytes[field::CHECKSUM.end()..]);
        field::CHECKSUM.put(&mut bytes, sum);
        bytes
    }
}

#[cfg(test)]
#[path = "page/tests.rs"]
mod tests;
