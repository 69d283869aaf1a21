//! Cutting: where a range of bytes crosses the borders of objects, pieces and blocks.

use std::ops::Range;

use sheepdog_proto::BLOCK_BYTES;

/// Most blocks moved by one piece: 1 MiB.
pub(super) const PIECE_BLOCKS: u32 = 256;
/// Bytes of a block.
pub(super) const BLOCK: u64 = BLOCK_BYTES as u64;

/// A range inside one object: `bytes` of the object, `at` bytes into the operation.
pub(super) struct Cut {
    pub(super) index: u32,
    pub(super) bytes: Range<u64>,
    pub(super) at: usize,
}

impl Cut {
    pub(super) const fn blocks(&self) -> Range<u32> {
        (self.bytes.start / BLOCK) as u32..self.bytes.end.div_ceil(BLOCK) as u32
    }

    pub(super) const fn skip(&self) -> usize {
        (self.bytes.start % BLOCK) as usize
    }

    pub(super) const fn len(&self) -> usize {
        (self.bytes.end - self.bytes.start) as usize
    }
}

/// Cuts a range at object borders and at multiples of `blocks_max` blocks.
pub(super) fn cut(offset: u64, len: u64, object_bytes: u64, blocks_max: u64) -> Vec<Cut> {
    let end = offset + len;
    let mut cuts = Vec::new();
    let mut start = offset;
    while start < end {
        let object_end = (start / object_bytes + 1) * object_bytes;
        let step = blocks_max.saturating_mul(BLOCK);
        let step_end = (start / step).saturating_add(1).saturating_mul(step);
        let stop = end.min(object_end).min(step_end);
        let inside = start % object_bytes;
        cuts.push(Cut {
            index: (start / object_bytes) as u32,
            bytes: inside..inside + (stop - start),
            at: (start - offset) as usize,
        });
        start = stop;
    }
    cuts
}

/// Splits off a partial first and last block; the flag says "whole blocks".
pub(super) fn split_edges(offset: u64, len: u64) -> Vec<(Range<u64>, bool)> {
    let end = offset + len;
    let (first, last) = (offset.next_multiple_of(BLOCK), end - end % BLOCK);
    if first > last {
        return vec![(offset..end, false)]; // inside one block
    }
    let parts = [(offset..first, false), (first..last, true), (last..end, false)];
    parts.into_iter().filter(|(part, _)| !part.is_empty()).collect()
}

#[cfg(test)]
#[path = "cut/tests.rs"]
mod tests;
