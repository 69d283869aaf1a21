//! Scrub: what two copies of one object say of each other.
//!
//! Why: a copy that has lost a change without anybody noticing is as bad as one that has rotted.
//! Way: a member looks at its own stamps and at those of the next member in sync; what differs is
//!      looked at once more some time later.
//! Holds:
//!   SC1 a change that may not be everywhere, on either side, is no difference;
//!   SC2 a difference counts only if the same one is seen twice: a block that is being written
//!       differs for a moment.
//! Not here: reading, waiting, healing (sheep).

use sheepdog_proto::NodeId;
use sheepdog_proto::peer::{BlockMeta, BlockState, Pulled};

use crate::state::{ClusterState, Group, Member};

/// A block that is not the same on two members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its number inside the object.
    pub block: u32,
    /// Here.
    pub ours: BlockMeta,
    /// There.
    pub theirs: BlockMeta,
}

impl Difference {
    /// The other copy has a newer block: this one has lost a change.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.ours.stamp < self.theirs.stamp
    }
}

/// The member whose copies are compared with those of `me`: the next one in sync that is up, so
/// that each copy is compared with another one, and all of them in a ring.
#[must_use]
pub fn neighbour<'a>(state: &'a ClusterState, group: &Group, me: NodeId) -> Option<&'a Member> {
    let mut live: Vec<NodeId> = state.live(group).map(|member| member.node).collect();
    live.sort_unstable();
    let at = live.iter().position(|node| *node == me)?;
    let next = live[(at + 1) % live.len()];
    (next != me).then(|| state.members.get(next)).flatten()
}

/// Blocks that differ, from block `first` of the object on (SC1).
#[must_use]
pub fn differences(first: u32, ours: &Pulled, theirs: &Pulled) -> Vec<Difference> {
    let is_open = |meta: &BlockMeta| {
        ours.unstable.contains(&meta.stamp) || theirs.unstable.contains(&meta.stamp)
    };
    let pairs = (first..).zip(ours.blocks.iter().zip(&theirs.blocks));
    pairs
        .filter(|(_, (ours, theirs))| !is_open(ours) && !is_open(theirs) && differ(ours, theirs))
        .map(|(block, (ours, theirs))| Difference { block, ours: *ours, theirs: *theirs })
        .collect()
}

/// What an absent block says as its stamp is its object's base, which a copy may have forgotten.
fn differ(ours: &BlockMeta, theirs: &BlockMeta) -> bool {
    match (ours.state, theirs.state) {
        (BlockState::Absent, BlockState::Absent) => false,
        _ => ours != theirs,
    }
}

/// Differences that were there before (SC2).
#[must_use]
pub fn confirmed(before: &[Difference], now: Vec<Difference>) -> Vec<Difference> {
    now.into_iter().filter(|difference| before.contains(difference)).collect()
}

#[cfg(test)]
#[path = "scrub/tests.rs"]
mod tests;
