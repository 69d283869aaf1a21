//! Shape: how objects are cut on a disk.
//!
//! Holds:
//!   SH1 an object of 2^shift bytes is blocks of 4 KiB, in units of 64 blocks (256 KiB, what a
//!       slab is divided into), pages of 256 blocks (1 MiB, what one metadata page describes),
//!       and fragments of 1024 blocks (4 MiB, what one slot of the index describes).

use std::ops::Range;

use sheepdog_proto::{BLOCK_BYTES, Oid};

use crate::error::Refusal;

/// Smallest object: 2^20 bytes.
pub(crate) const SHIFT_MIN: u8 = 20;
/// Largest object: 2^26 bytes.
pub(crate) const SHIFT_MAX: u8 = 26;
/// Blocks of a unit.
pub(crate) const UNIT_BLOCKS: u32 = 64;
/// Bytes of a unit.
pub(crate) const UNIT_BYTES: u64 = UNIT_BLOCKS as u64 * BLOCK_BYTES as u64;
/// Blocks that one metadata page describes.
pub(crate) const PAGE_BLOCKS: u32 = 256;
/// Blocks of a fragment.
pub(crate) const FRAGMENT_BLOCKS: u32 = 1024;
/// Units of a fragment.
pub(crate) const FRAGMENT_UNITS: usize = (FRAGMENT_BLOCKS / UNIT_BLOCKS) as usize;
/// Metadata pages of a fragment.
pub(crate) const FRAGMENT_PAGES: usize = (FRAGMENT_BLOCKS / PAGE_BLOCKS) as usize;

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

    pub(crate) const fn fragments(self) -> u32 {
        self.blocks().div_ceil(FRAGMENT_BLOCKS)
    }
}

/// The fragment of a block, and the number of its unit in it.
pub(crate) const fn unit_of(block: u32) -> (usize, usize) {
    let unit = (block % FRAGMENT_BLOCKS) / UNIT_BLOCKS;
    ((block / FRAGMENT_BLOCKS) as usize, unit as usize)
}

/// The fragment of a metadata page of an object, and the number of the page in it.
pub(crate) const fn place_of_page(page: u32) -> (usize, usize) {
    ((page as usize) / FRAGMENT_PAGES, (page as usize) % FRAGMENT_PAGES)
}

/// The metadata pages of some blocks.
pub(crate) const fn pages_of(first_block: u32, count: u32) -> Range<u32> {
    first_block / PAGE_BLOCKS..(first_block + count).div_ceil(PAGE_BLOCKS)
}

/// Refuses no blocks, and blocks beyond the end.
pub(crate) fn check_range(
    oid: Oid,
    shape: Shape,
    first_block: u32,
    count: u32,
) -> Result<(), Refusal> {
    let end = first_block.checked_add(count);
    if count == 0 || end.is_none_or(|end| end > shape.blocks()) {
        return Err(Refusal::Range { oid, first_block, count });
    }
    Ok(())
}

/// Cuts a range of blocks where units begin.
pub(crate) fn cut_at_units(blocks: Range<u32>) -> impl Iterator<Item = Range<u32>> {
    let mut next = blocks.start;
    std::iter::from_fn(move || {
        if next >= blocks.end {
            return None;
        }
        let first = next;
        next = ((first / UNIT_BLOCKS + 1) * UNIT_BLOCKS).min(blocks.end);
        Some(first..next)
    })
}

/// Ascending numbers as ranges without gaps.
pub(crate) fn runs(numbers: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

#[cfg(test)]
#[path = "shape/tests.rs"]
mod tests;
