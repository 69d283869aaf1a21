//! Sequence numbers of one attachment and its stable watermark.
//!
//! Holds:
//!   Q1 stamps of an attachment are unique and rise;
//!   W1 no more than [`WINDOW`] stamps are given beyond the watermark to clients' operations: what
//!      replicas must remember stays bounded while one operation waits for a lost member;
//!   Q2 every mutation with a stamp up to `stable()` is complete: acknowledged by its whole write
//!      set, and so is the map entry it needs.

use std::collections::BTreeSet;

use sheepdog_proto::{Generation, Stamp};

/// Most mutations beyond the watermark; a replica remembers each of them.
const WINDOW: u64 = 1 << 16;

#[derive(Debug)]
pub(super) struct Sequencer {
    pub(super) window: u64,
    generation: Generation,
    last: u64,
    incomplete: BTreeSet<u64>,
}

impl Sequencer {
    pub(super) const fn new(generation: Generation) -> Self {
        Self { window: WINDOW, generation, last: 0, incomplete: BTreeSet::new() }
    }

    /// The next stamp, incomplete from now on.
    pub(super) fn start(&mut self) -> Stamp {
        self.last += 1;
        self.incomplete.insert(self.last);
        Stamp::new(self.generation, self.last) // Q1
    }

    /// Clients' operations must wait for older ones (W1).
    pub(super) fn is_full(&self) -> bool {
        self.incomplete.first().is_some_and(|first| self.last - first >= self.window)
    }

    /// Stamps of older generations (resets rolled forward) are not ours to count.
    pub(super) fn complete(&mut self, stamp: Stamp) {
        if stamp.generation() == self.generation {
            self.incomplete.remove(&stamp.sequence());
        }
    }

    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        self.incomplete.is_empty()
    }

    pub(super) fn stable(&self) -> Stamp {
        let below = self.incomplete.first().map_or(self.last, |first| first - 1);
        Stamp::new(self.generation, below) // Q2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_stops_below_the_oldest_incomplete_write() {
        let mut sequencer = Sequencer::new(Generation(3));
        let stamps: Vec<Stamp> = (0..3).map(|_| sequencer.start()).collect();
        assert_eq!(sequencer.stable(), Stamp::new(Generation(3), 0));
        sequencer.complete(stamps[1]);
        assert_eq!(sequencer.stable().sequence(), 0);
        sequencer.complete(stamps[0]);
        assert_eq!(sequencer.stable().sequence(), 2);
        sequencer.complete(stamps[2]);
        assert_eq!(sequencer.stable(), stamps[2]);
    }
}
