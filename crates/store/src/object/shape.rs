//! Where things are in an object file, by the size of the object.
//!
//! Holds:
//!   SH1 header at 0, page p at 4096 + 512 p, blocks from the first 4096-byte border after
//!       the pages; all of it follows from the object's shift alone.

use sheepdog_proto::BLOCK_BYTES;

use super::page::{PAGE_BLOCKS, PAGE_BYTES};

/// Bits of an oid's partition that name the directory of its file.
pub(crate) const PARTITION_BITS: u8 = 8;
/// Smallest object: 2^20 bytes.
pub(crate) const SHIFT_MIN: u8 = 20;
/// Largest object: 2^26 bytes.
pub(crate) const SHIFT_MAX: u8 = 26;
/// Where the metadata pages begin.
pub(crate) const PAGES_START: u64 = 4096;

const BLOCK_SHIFT: u8 = 12;
const _: () = assert!(1 << BLOCK_SHIFT == BLOCK_BYTES);

/// Size of an object, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    shift: u8,
}

impl Shape {
    /// The largest shape.
    pub(crate) const LARGEST: Self = Self { shift: SHIFT_MAX };

    /// `None` if objects do not come in this size.
    pub(crate) const fn new(shift: u8) -> Option<Self> {
        if shift < SHIFT_MIN || shift > SHIFT_MAX { None } else { Some(Self { shift }) }
    }

    pub(crate) const fn shift(self) -> u8 {
        self.shift
    }

    pub(crate) const fn blocks(self) -> u32 {
        1 << (self.shift - BLOCK_SHIFT)
    }

    pub(crate) const fn pages(self) -> u32 {
        self.blocks() / PAGE_BLOCKS
    }

    /// Where block zero begins: the size of the file without blocks.
    pub(crate) const fn blocks_start(self) -> u64 {
        PAGES_START + (self.pages() as u64) * PAGE_BYTES as u64
    }

    pub(crate) const fn block_offset(self, block: u32) -> u64 {
        self.blocks_start() + (block as u64) * BLOCK_BYTES as u64
    }

    pub(crate) const fn page_offset(page: u32) -> u64 {
        PAGES_START + (page as u64) * PAGE_BYTES as u64
    }

    /// The page of a block, and the block's place in it.
    pub(crate) const fn page_of(block: u32) -> (u32, usize) {
        (block / PAGE_BLOCKS, (block % PAGE_BLOCKS) as usize)
    }
}

// SH1: blocks begin on a border of 4096 bytes whatever the size.
const _: () = {
    let mut shift = SHIFT_MIN;
    while shift <= SHIFT_MAX {
        assert!(Shape { shift }.blocks_start().is_multiple_of(BLOCK_BYTES as u64));
        assert!(Shape { shift }.pages() * PAGE_BLOCKS == Shape { shift }.blocks());
        shift += 1;
    }
};
