//! Register: whether what the clients saw can be explained by one atomic block.
//!
//! Why: an acknowledged write is never lost, a write that nobody acknowledged takes effect at
//!      most once and never un-takes. That is linearizability of a register (G1).
//! Way: it keeps every explanation that is still possible: the block's value and the set of
//!      writes that have taken effect. Each event of a client strikes out the others.
//! Holds: R1 the set is closed: a started write may take effect at any moment, once.

use super::config::WRITES_MAX;

const SETS: u32 = 1 << WRITES_MAX;

/// Explanations of the past of one block. Value 0 is what it held before the first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    explanations: u32,
    started: u8,
}

impl Default for Register {
    fn default() -> Self {
        Self { explanations: 1, started: 0 }
    }
}

impl Register {
    /// A client sends write `write` (1 and up).
    pub fn start(&mut self, write: u8) {
        self.started |= 1 << (write - 1);
        self.close();
    }

    /// A client is told that `write` is done.
    pub fn finish(&mut self, write: u8) {
        self.keep(|_, done| done & (1 << (write - 1)) != 0);
    }

    /// A client reads `value`. False if no explanation allows it; then nothing changes.
    pub fn read(&mut self, value: u8) -> bool {
        let before = *self;
        self.keep(|held, _| held == value);
        if self.explanations == 0 {
            *self = before;
            return false;
        }
        true
    }

    /// All of it as one number.
    #[must_use]
    pub fn code(&self) -> u64 {
        u64::from(self.explanations) << 8 | u64::from(self.started)
    }

    fn keep(&mut self, possible: impl Fn(u8, u32) -> bool) {
        let mut kept = 0;
        for value in 0..=WRITES_MAX {
            for done in 0..SETS {
                let bit = bit(value, done);
                if self.explanations & bit != 0 && possible(value, done) {
                    kept |= bit;
                }
            }
        }
        self.explanations = kept;
        self.close();
    }

    // R1. Taking effect only adds to the set of done writes, so that a walk through the sets
    // in rising order meets every explanation after those it follows from.
    fn close(&mut self) {
        for done in 0..SETS {
            let here = (0..=WRITES_MAX).any(|value| self.explanations & bit(value, done) != 0);
            if !here {
                continue;
            }
            for write in 0..WRITES_MAX {
                let mask = 1 << write;
                if self.started & mask != 0 && done & u32::from(mask) == 0 {
                    self.explanations |= bit(write + 1, done | u32::from(mask));
                }
            }
        }
    }
}

const fn bit(value: u8, done: u32) -> u32 {
    1 << (value as u32 * SETS + done)
}

#[cfg(test)]
#[path = "register/tests.rs"]
mod tests;
