//! Pattern: blocks that tell which write of which client they are.
//!
//! Holds:
//!   B1 every byte of a block depends on face, block and write, so a byte of another write, another
//!      place or another disk is never taken for right.

use sheepdog_proto::BLOCK_BYTES;
use sheepdog_proto::id::mix64;

const MAGIC: u64 = 0x6b63_6568_6370_6565; // "eepcheck"

/// One write of one block. Sequence numbers begin at 1; 0 is "never written".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) face: u32,
    pub(super) block: u32,
    pub(super) sequence: u64,
}

/// Fills `bytes`, one block.
pub(super) fn fill(tag: Tag, bytes: &mut [u8]) {
    if tag.sequence == 0 {
        return bytes.fill(0);
    }
    let place = (u64::from(tag.face) << 32) | u64::from(tag.block);
    let seed = mix64(place) ^ mix64(tag.sequence);
    let words = bytes.as_chunks_mut::<8>().0;
    for (number, word) in (0..).zip(words) {
        let value = match number {
            0 => MAGIC,
            1 => place,
            2 => tag.sequence,
            number => mix64(seed.wrapping_add(number)),
        };
        *word = value.to_le_bytes();
    }
}

/// Whether `bytes` are that write (B1).
pub(super) fn is(tag: Tag, bytes: &[u8]) -> bool {
    let mut expected = [0; BLOCK_BYTES];
    fill(tag, &mut expected);
    *bytes == expected
}

/// What a wrong block looks like.
pub(super) fn describe(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) {
        return "zeros".to_owned();
    }
    let word = |number: usize| bytes.as_chunks::<8>().0.get(number).map(|w| u64::from_le_bytes(*w));
    if let (Some(MAGIC), Some(place), Some(sequence)) = (word(0), word(1), word(2)) {
        let tag = Tag { face: (place >> 32) as u32, block: place as u32, sequence };
        let whole = if is(tag, bytes) { "" } else { ", torn or damaged" };
        return format!("write {sequence} of block {} of disk {}{whole}", tag.block, tag.face);
    }
    "bytes that no client wrote".to_owned()
}

#[cfg(test)]
#[path = "pattern/tests.rs"]
mod tests;
