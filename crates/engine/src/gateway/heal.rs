//! Healing: blocks that one copy could not read are written anew to all.
//!
//! Way: a read that was served by another copy than the first asked ends in `heal`; for each run of
//!      blocks with data a piece of its own claims the range, reads it and writes what it has read.
//! Holds:
//!   HE1 the range is claimed before it is read, as for a client's write: what is written is the
//!       newest, under a stamp that is newer still;
//!   HE2 a range is healed once at a time, and nobody is answered.

use std::ops::Range;

use sheepdog_proto::BLOCK_BYTES;
use sheepdog_proto::peer::{BlockMeta, BlockState};

use super::Context;
use super::attachment::Attachment;

/// Tokens of operations that nobody waits for.
pub(super) const HEAL: u64 = 1 << 63;

impl Attachment {
    /// Of these blocks, from `first` on, a copy is bad; here is what a good one says of them.
    pub(super) fn heal(
        &mut self,
        context: &mut Context,
        index: u32,
        first: u32,
        blocks: &[BlockMeta],
    ) {
        for (start, count) in data_runs(first, blocks) {
            self.heal_range(context, index, start..start + count);
        }
    }

    /// Claims, reads and writes anew.
    pub(super) fn heal_range(&mut self, context: &mut Context, index: u32, blocks: Range<u32>) {
        let per_object = (self.object_bytes() / BLOCK_BYTES as u64) as u32;
        let is_inside = blocks.start < blocks.end && blocks.end <= per_object;
        if !is_inside || !self.healing.insert((index, blocks.start)) {
            return; // HE2
        }
        context.healed += u64::from(blocks.end - blocks.start);
        let token = HEAL | self.fresh();
        let piece = self.heal_piece(token, index, blocks);
        self.start_pieces(context, token, vec![piece], None);
    }
}

/// Neighbouring blocks that have data.
fn data_runs(first: u32, blocks: &[BlockMeta]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let with_data = (first..).zip(blocks).filter(|(_, block)| block.state == BlockState::Data);
    for (number, _) in with_data {
        match runs.last_mut() {
            Some((start, count)) if *start + *count == number => *count += 1,
            _ => runs.push((number, 1)),
        }
    }
    runs
}
