//! Range locks: overlapping operations take their turns, in the order in which they came.
//!
//! Holds:
//!   L1 a range held exclusively overlaps no other held range;
//!   L2 nobody overtakes an earlier overlapping waiter, so no one starves.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// A claim of one piece on blocks of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) piece: u64,
    pub(super) blocks: Range<u32>,
    pub(super) exclusive: bool,
}

impl Claim {
    const fn conflicts(&self, other: &Self) -> bool {
        let apart = self.blocks.end <= other.blocks.start || other.blocks.end <= self.blocks.start;
        !apart && (self.exclusive || other.exclusive)
    }
}

#[derive(Debug, Default)]
struct Object {
    held: Vec<Claim>,
    waiting: VecDeque<Claim>,
}

/// The locks of one attachment, by object index.
#[derive(Debug, Default)]
pub(super) struct RangeLocks {
    objects: BTreeMap<u32, Object>,
}

impl RangeLocks {
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.objects.is_empty()
    }

    /// True if the claim is held now; otherwise it waits and `release` will name it.
    pub(super) fn claim(&mut self, object: u32, claim: Claim) -> bool {
        let object = self.objects.entry(object).or_default();
        let blocked = object.held.iter().chain(&object.waiting).any(|c| c.conflicts(&claim));
        if blocked {
            object.waiting.push_back(claim);
        } else {
            object.held.push(claim);
        }
        !blocked
    }

    /// Ends a claim; returns the pieces whose turn has come, in their order.
    pub(super) fn release(&mut self, index: u32, piece: u64) -> Vec<u64> {
        let Some(object) = self.objects.get_mut(&index) else { return Vec::new() };
        object.held.retain(|claim| claim.piece != piece);
        let mut granted = Vec::new();
        let mut still: VecDeque<Claim> = VecDeque::new();
        for claim in std::mem::take(&mut object.waiting) {
            if object.held.iter().chain(&still).any(|c| c.conflicts(&claim)) {
                still.push_back(claim); // L2
            } else {
                granted.push(claim.piece);
                object.held.push(claim);
            }
        }
        object.waiting = still;
        if object.held.is_empty() {
            self.objects.remove(&index);
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(piece: u64, blocks: Range<u32>, exclusive: bool) -> Claim {
        Claim { piece, blocks, exclusive }
    }

    #[test]
    fn readers_share_and_a_writer_waits_for_all_of_them() {
        let mut locks = RangeLocks::default();
        assert!(locks.claim(0, claim(1, 0..4, false)));
        assert!(locks.claim(0, claim(2, 2..6, false)));
        assert!(!locks.claim(0, claim(3, 3..5, true)));
        assert!(locks.claim(0, claim(4, 5..8, true)) || !locks.release(0, 2).is_empty());
        assert!(locks.claim(1, claim(5, 0..9, true)));
    }

    #[test]
    fn nobody_overtakes_an_earlier_overlapping_waiter() {
        let mut locks = RangeLocks::default();
        assert!(locks.claim(0, claim(1, 0..2, true)));
        assert!(!locks.claim(0, claim(2, 1..3, true)));
        assert!(!locks.claim(0, claim(3, 2..4, true)), "would overtake piece 2");
        assert!(locks.claim(0, claim(4, 8..9, true)));
        assert_eq!(locks.release(0, 1), [2]);
        assert_eq!(locks.release(0, 2), [3]); // L2
        assert!(locks.release(0, 3).is_empty());
        assert!(locks.release(0, 4).is_empty());
        assert!(locks.objects.is_empty());
    }
}
