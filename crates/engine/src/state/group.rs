//! Placement groups of one redundancy class: who holds copies, who is in sync, since when.

use std::sync::Arc;

use sheepdog_proto::command::Copies;
use sheepdog_proto::{NodeId, View};

use super::Members;

/// One placement group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who shall hold a copy, in ring order.
    pub targets: Vec<NodeId>,
    /// How many copies it had when it settled last; the fewest for writes follow from it.
    pub copies: u8,
    /// Who holds every acknowledged write. A member that is not up is "lost".
    pub in_sync: Vec<NodeId>,
    /// Targets that take every change, but lack older ones, and the view with which they joined.
    pub joiners: Vec<(NodeId, View)>,
    /// Who left the in-sync set, and the view before which it has every change.
    pub left: Vec<(NodeId, View)>,
    /// Log index of the last change.
    pub view: View,
}

impl Group {
    /// An in-sync member is not up, and no `Act` has removed it yet.
    #[must_use]
    pub fn has_lost(&self, members: &Members) -> bool {
        self.in_sync.iter().any(|node| members.get(*node).is_none_or(|m| !m.up))
    }

    /// At least one in-sync member is up.
    #[must_use]
    pub fn has_live(&self, members: &Members) -> bool {
        self.in_sync.iter().any(|node| members.get(*node).is_some_and(|m| m.up))
    }

    /// The view with which the node joined, if it is a joiner.
    #[must_use]
    pub fn joined(&self, node: NodeId) -> Option<View> {
        self.joiners.iter().find(|(joiner, _)| *joiner == node).map(|(_, view)| *view)
    }

    /// Takes every change: in sync, or a joiner.
    #[must_use]
    pub fn takes(&self, node: NodeId) -> bool {
        self.in_sync.contains(&node) || self.joined(node).is_some()
    }

    /// Shall hold a copy, but neither does nor is on its way to.
    #[must_use]
    pub fn lacks(&self, node: NodeId) -> bool {
        self.targets.contains(&node) && !self.takes(node)
    }

    /// The copy of a node that is not in sync has every change of views before this one.
    #[must_use]
    pub fn complete_before(&self, node: NodeId) -> View {
        let left = self.left.iter().find(|(member, _)| *member == node);
        left.map_or(View(0), |(_, view)| *view)
    }

    /// A member is not in sync, or joins no more; its copy has every change of views before `view`.
    pub(super) fn take_out(&mut self, node: NodeId, view: View) {
        self.end_joining(node);
        self.in_sync.retain(|member| *member != node);
        self.left.retain(|(member, _)| *member != node);
        self.left.push((node, view));
        assert!(!self.in_sync.is_empty(), "STICKY: an in-sync set is never empty");
    }

    /// A joiner holds everything.
    pub(super) fn take_in(&mut self, node: NodeId) {
        self.end_joining(node);
        self.left.retain(|(member, _)| *member != node);
        self.in_sync.push(node);
    }

    /// A joiner takes changes no more.
    pub(super) fn end_joining(&mut self, node: NodeId) {
        self.joiners.retain(|(joiner, _)| *joiner != node);
    }

    /// In-sync members that are up.
    #[must_use]
    pub fn live_count(&self, members: &Members) -> usize {
        self.in_sync.iter().filter(|node| members.get(**node).is_some_and(|m| m.up)).count()
    }

    /// The member is in sync and not the last one, so that it can be taken out, or a joiner.
    #[must_use]
    pub fn can_demote(&self, node: NodeId) -> bool {
        self.in_sync.contains(&node) && self.in_sync.len() > 1 || self.joined(node).is_some()
    }

    /// As `can_demote`, and the others that are up are as many as writes need.
    #[must_use]
    pub fn can_rest(&self, node: NodeId, members: &Members) -> bool {
        let is_other = |other: &&NodeId| {
            **other != node && members.get(**other).is_some_and(|member| member.up)
        };
        let others = self.in_sync.iter().filter(is_other).count();
        let suffice = others >= self.copies_min();
        self.joined(node).is_some() || (self.in_sync.contains(&node) && suffice)
    }

    /// With fewer live in-sync members than this, writes wait.
    #[must_use]
    pub fn copies_min(&self) -> usize {
        copies_min(usize::from(self.copies))
    }
}

/// Fewest in-sync copies for which writes go on: 1 of 1, 1 of 2, 2 of 3, then more than half.
#[must_use]
pub const fn copies_min(copies: usize) -> usize {
    match copies {
        0..=2 => 1,
        _ => copies / 2 + 1,
    }
}

/// One redundancy class with all its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What was asked for.
    pub copies: Copies,
    /// Copies that each group shall have.
    pub count: u8,
    /// By partition.
    pub groups: Arc<Vec<Group>>,
}
