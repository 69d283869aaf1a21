//! Payload: bytes that are different in every block and say where they belong.
//!
//! Why: equal blocks could be stored once or compressed somewhere below; and a fast read of wrong
//!      bytes is worth nothing.
//! Holds:
//!   P1 no two blocks that are ever written are equal;
//!   P2 each block names its place, which every read compares (B3).

use crate::random::Random;

/// Bytes of a block, which names its own place.
pub const BLOCK_BYTES: usize = 4096;
const POOL_BYTES: usize = 64 << 10;
const MAGIC: [u8; 8] = *b"SHEEPBEN";
const STAMP_BYTES: usize = 24;

/// A block is not the one that belongs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongBlock {
    /// Its first byte on the disk.
    pub offset: u64,
}

impl std::fmt::Display for WrongBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the block at byte {} is not what was written there", self.offset)
    }
}

impl std::error::Error for WrongBlock {}

/// Makes payloads; each maker's own are unique when its seed is.
#[derive(Clone, Debug)]
pub struct Payload {
    pool: Vec<u8>,
    random: Random,
    blocks_made: u64,
    seed: u64,
}

impl Payload {
    /// A maker.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let words = POOL_BYTES / 8;
        let pool = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        Self { pool, random, blocks_made: 0, seed }
    }

    /// Fills whole blocks that belong at `offset`.
    pub fn fill(&mut self, bytes: &mut [u8], offset: u64) {
        for (index, block) in bytes.chunks_exact_mut(BLOCK_BYTES).enumerate() {
            let from = self.random.next() as usize % (POOL_BYTES - BLOCK_BYTES);
            block.copy_from_slice(&self.pool[from..from + BLOCK_BYTES]);
            let place = offset / BLOCK_BYTES as u64 + index as u64;
            self.blocks_made += 1;
            let unique = self.blocks_made ^ self.seed.rotate_left(32);
            block[..8].copy_from_slice(&MAGIC);
            block[8..16].copy_from_slice(&place.to_le_bytes()); // P2
            block[16..STAMP_BYTES].copy_from_slice(&unique.to_le_bytes()); // P1
        }
    }
}

/// Compares the places that the blocks from `offset` name (P2).
///
/// # Errors
/// The first block that is not one of ours, or is one from elsewhere.
pub fn check(bytes: &[u8], offset: u64) -> Result<(), WrongBlock> {
    for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
        let at = offset + (index * BLOCK_BYTES) as u64;
        let place = (at / BLOCK_BYTES as u64).to_le_bytes();
        let named = block.len() == BLOCK_BYTES && block[..8] == MAGIC && block[8..16] == place;
        if !named {
            return Err(WrongBlock { offset: at });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "payload/tests.rs"]
mod tests;
