//! Targets: who shall hold copies, as sheep come, stay away, and change their weight.
//!
//! Way: an entry that changes who is on the ring lets every group be walked anew. Its copies stay
//!      where they are; new targets join (`engine::join`), and when all targets are complete the
//!      others leave.
//! Holds:
//!   T1     targets are a function of the log;
//!   SETTLE whoever is in sync stays so until every target is up and in sync; the entry by which
//!          that comes about lets the others go;
//!   T2     no group gives up copies by itself: where zones are missing, targets that are away
//!          stay;
//!   T3     the fewest copies for writes rise when a group has settled with more, not before:
//!          new sheep hold up nobody;
//!   T4     whoever is out is on the ring again as soon as it joins.

use std::collections::BTreeSet;
use std::sync::Arc;

use sheepdog_proto::command::Copies;
use sheepdog_proto::{Incarnation, NodeId, Partition, View};

use super::{COPIES_MAX, ClusterState, Group, Members, Outcome, Policy, Refused};
use crate::placement::{Candidate, Ring};

/// Copies of a class that asks for as many as there are zones, at most.
const AUTO_MAX: usize = 3;

impl ClusterState {
    /// Sheep that may hold copies.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let storing = self.members.iter().filter(|member| member.weight > 0 && !member.is_out);
        let candidate = |member: &super::Member| Candidate {
            node: member.node,
            seed: (member.uuid >> 64) as u64 ^ member.uuid as u64,
            zone: member.zone,
            weight: member.weight,
        };
        storing.map(candidate).collect()
    }

    /// A member stays away: its copies shall be made elsewhere.
    pub(super) fn apply_out(&mut self, node: NodeId, incarnation: Incarnation) -> Outcome {
        let member = self.members.get(node);
        if !member.is_some_and(|m| m.incarnation == incarnation && !m.up && !m.is_out) {
            return Outcome::Void;
        }
        let before = self.candidates();
        Arc::make_mut(&mut self.members).set_out(node);
        self.retarget(&before);
        Outcome::Done
    }

    /// Who is on the ring may have changed.
    pub(super) fn retarget(&mut self, before: &[Candidate]) {
        let now = self.candidates();
        let Some(format) = self.format.clone() else { return };
        if now == before {
            return;
        }
        let (ring, zones) = (Ring::new(now.iter().copied()), zones(&now));
        let view = View(self.index.0);
        for policy in Arc::make_mut(&mut self.policies) {
            if policy.copies == Copies::Auto {
                policy.count = policy.count.max(zones.min(AUTO_MAX) as u8);
            }
            let count = usize::from(policy.count);
            for (number, group) in (0..).zip(Arc::make_mut(&mut policy.groups)) {
                let targets = ring.targets(Partition(number), format.partition_bits, count);
                group.retarget(targets, count, view);
            }
        }
        self.settle();
    }

    /// SETTLE, in all groups.
    pub(super) fn settle(&mut self) {
        let (members, view) = (self.members.clone(), View(self.index.0));
        let is_due = |group: &Group| group.is_due_to_settle(&members);
        for policy in Arc::make_mut(&mut self.policies) {
            if policy.groups.iter().any(is_due) {
                let groups = Arc::make_mut(&mut policy.groups).iter_mut();
                groups.filter(|group| is_due(group)).for_each(|group| group.settle(view));
            }
        }
    }
}

impl Policy {
    /// Places every group of a new class. Targets that are up are in sync, for there is nothing
    /// yet.
    pub(super) fn place(
        copies: Copies,
        candidates: &[Candidate],
        members: &Members,
        partition_bits: u8,
        view: View,
    ) -> Result<Self, Refused> {
        let zones = zones(candidates);
        let count = match copies {
            Copies::Auto => zones.min(AUTO_MAX),
            Copies::Exactly(count) => usize::from(count),
        };
        if count > usize::from(COPIES_MAX) {
            return Err(Refused::Invalid("copies (1 to 8)"));
        }
        if count == 0 || count > zones {
            return Err(Refused::TooFewZones { zones, copies: count.max(1) as u8 });
        }
        let ring = Ring::new(candidates.iter().copied());
        let is_up = |node: &NodeId| members.get(*node).is_some_and(|member| member.up);
        let place = |partition: u32| {
            let targets = ring.targets(Partition(partition as u16), partition_bits, count);
            let up: Vec<NodeId> = targets.iter().copied().filter(is_up).collect();
            let in_sync = if up.is_empty() { targets.clone() } else { up };
            let (joiners, left) = (Vec::new(), Vec::new());
            Group { targets, copies: count as u8, in_sync, joiners, left, view }
        };
        let groups = (0..1_u32 << partition_bits).map(place).collect();
        Ok(Self { copies, count: count as u8, groups: Arc::new(groups) })
    }
}

impl Group {
    /// Others shall hold the copies; where the ring has too few zones, some as before (T2).
    fn retarget(&mut self, mut targets: Vec<NodeId>, count: usize, view: View) {
        let missing = count.max(usize::from(self.copies)).saturating_sub(targets.len());
        let others = self.targets.iter().copied().filter(|node| !targets.contains(node));
        let kept: Vec<NodeId> = others.take(missing).collect();
        targets.extend(kept);
        if targets == self.targets {
            return;
        }
        self.joiners.retain(|(node, _)| targets.contains(node));
        self.targets = targets;
        self.view = view;
    }

    /// In sync are those who shall have copies, and nobody else.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.in_sync.len() == self.targets.len()
            && self.targets.iter().all(|node| self.in_sync.contains(node))
    }

    fn is_due_to_settle(&self, members: &Members) -> bool {
        let is_there = |node: &NodeId| {
            self.in_sync.contains(node) && members.get(*node).is_some_and(|member| member.up)
        };
        let is_settled = self.is_settled() && usize::from(self.copies) == self.targets.len();
        !is_settled && !self.targets.is_empty() && self.targets.iter().all(is_there)
    }

    /// All targets are complete: nobody else need be.
    fn settle(&mut self, view: View) {
        let others = |node: &NodeId| !self.targets.contains(node);
        let leaving: Vec<NodeId> = self.in_sync.iter().copied().filter(others).collect();
        // Up to this view every change has gone to them, too.
        leaving.into_iter().for_each(|node| self.take_out(node, view));
        self.copies = self.targets.len() as u8; // T3
        self.view = view;
    }

    /// Whether a member that holds copies of the group, or held some, can let go of them for good:
    /// it shall hold none, and all that shall are up and complete.
    #[must_use]
    pub fn can_do_without(&self, node: NodeId, members: &Members) -> bool {
        let is_there = |target: &NodeId| {
            self.in_sync.contains(target) && members.get(*target).is_some_and(|member| member.up)
        };
        !self.targets.contains(&node) && !self.takes(node) && self.targets.iter().all(is_there)
    }
}

fn zones(candidates: &[Candidate]) -> usize {
    candidates.iter().map(|candidate| candidate.zone).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
#[path = "target/tests.rs"]
mod tests;
