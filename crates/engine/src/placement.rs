//! Placement: which sheep hold the copies of a partition.
//!
//! Way: each sheep has `weight` points on a ring of 2^64; a partition's own point is walked
//!      clockwise, taking each sheep whose zone is not taken yet.
//! Holds:
//!   P1 the copies of a partition are in different zones;
//!   P2 a sheep's points depend on nothing but its own identity and weight, so that adding or
//!      removing a sheep moves only what it gains or loses;
//!   P3 the targets for fewer copies are a prefix of those for more;
//!   P4 the result is wire and disk behaviour: golden-tested, never changed silently.

use sheepdog_proto::id::mix64;
use sheepdog_proto::{NodeId, Partition};

/// A sheep that may hold copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub node: NodeId,
    /// Its identity, folded to 64 bits.
    pub seed: u64,
    /// At most one copy per zone.
    pub zone: u32,
    /// Points on the ring.
    pub weight: u32,
}

/// The points of all candidates, sorted.
#[derive(Clone, Debug)]
pub struct Ring {
    points: Vec<(u64, NodeId, u32)>,
}

impl Ring {
    /// Lays out the points.
    pub fn new(candidates: impl Iterator<Item = Candidate>) -> Self {
        let mut points = Vec::new();
        for candidate in candidates {
            let base = mix64(candidate.seed);
            let point = |i: u32| mix64(base.wrapping_add(u64::from(i)));
            points
                .extend((0..candidate.weight).map(|i| (point(i), candidate.node, candidate.zone)));
        }
        points.sort_unstable();
        Self { points }
    }

    /// Up to `copies` sheep for `partition` out of 2^`bits`, in ring order; fewer if there are
    /// not enough zones.
    #[must_use]
    pub fn targets(&self, partition: Partition, bits: u8, copies: usize) -> Vec<NodeId> {
        let shift = 64 - u32::from(bits);
        let start = u64::from(partition.0).checked_shl(shift).unwrap_or(0);
        let first = self.points.partition_point(|point| point.0 < start);
        let (before, after) = self.points.split_at(first);
        let mut nodes = Vec::new();
        let mut zones = Vec::new();
        for (_, node, zone) in after.iter().chain(before) {
            if nodes.len() == copies {
                break;
            }
            if !zones.contains(zone) {
                zones.push(*zone);
                nodes.push(*node);
            }
        }
        nodes
    }
}

#[cfg(test)]
#[path = "placement/tests.rs"]
mod tests;
