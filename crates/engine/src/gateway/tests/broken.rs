//! Disks that fail: a sheep lives on without what some of its groups had.
//!
//! Way: `break_disk` -> requests for these groups are refused, and barriers as long as the sheep
//!      is in sync with one of them -> `demote` -> what the disk had is gone. A new life finds the
//!      disk as it was; what was taken out by the log meanwhile is gone all the same.

use std::collections::BTreeSet;

use sheepdog_proto::command::Command;
use sheepdog_proto::peer::{Request, RequestBody};
use sheepdog_proto::{NodeId, Oid, PgId};

use super::super::Place;
use super::herd::Herd;
use crate::state::{ClusterState, Group};

/// Disks that have failed: every sheep has two, one for even partitions, one for odd ones.
pub(super) type Broken = BTreeSet<(NodeId, u16)>;

const fn disk_of(pg: PgId) -> u16 {
    pg.partition.0 % 2
}

impl Herd {
    /// A disk fails.
    pub(super) fn break_disk(&mut self, node: NodeId, disk: u16) {
        self.say(|| format!("disk {disk} of {node} fails"));
        self.broken.insert((node, disk));
    }

    /// Whether a request cannot be carried out for want of a disk.
    pub(super) fn lacks_disk(&self, place: Place, state: &ClusterState, request: &Request) -> bool {
        if !self.broken.iter().any(|(node, _)| *node == place.node) {
            return false;
        }
        let Some(vdi) = state.catalogue.get_used(request.vid) else { return false };
        match &request.body {
            RequestBody::Barrier { .. } => {
                let waiting = self.broken_groups(place.node, state);
                waiting.iter().any(|pg| pg.policy == vdi.policy)
            }
            RequestBody::Settle { .. }
            | RequestBody::Watermark
            | RequestBody::Ping
            | RequestBody::Heal { .. }
            | RequestBody::Look { .. } => false,
            RequestBody::List { .. } => true,
            RequestBody::Write { oid, .. }
            | RequestBody::Hole { oid, .. }
            | RequestBody::Reset { oid, .. }
            | RequestBody::Read { oid, .. }
            | RequestBody::Pull { oid, .. } => self.is_broken(place.node, state, *oid),
        }
    }

    fn is_broken(&self, node: NodeId, state: &ClusterState, oid: Oid) -> bool {
        let pg = state.group_of(oid).map(|(pg, _)| pg);
        pg.is_some_and(|pg| self.broken.contains(&(node, disk_of(pg))))
    }

    /// With a disk that has failed nothing is joined.
    pub(super) fn has_broken_disk(&self, node: NodeId) -> bool {
        self.broken.iter().any(|(broken, _)| *broken == node)
    }

    /// Groups whose disk has failed, though the state has the sheep take their changes.
    fn broken_groups(&self, node: NodeId, state: &ClusterState) -> Vec<PgId> {
        let mut groups = Vec::new();
        for (policy, class) in (0..).map(sheepdog_proto::PolicyId).zip(state.policies.iter()) {
            for (partition, group) in (0..).map(sheepdog_proto::Partition).zip(class.groups.iter())
            {
                let pg = PgId { policy, partition };
                if group.takes(node) && self.broken.contains(&(node, disk_of(pg))) {
                    groups.push(pg);
                }
            }
        }
        groups
    }

    /// The sheep tells the log. What it is taken out of is gone from its disk.
    pub(super) fn demote(&mut self, node: NodeId) {
        let Some(incarnation) = self.life(node).map(|life| life.me.incarnation) else { return };
        let before = self.newest().clone();
        let mut groups = self.broken_groups(node, &before);
        // With fewer copies than the minimum writes wait for good, as they should; a run must end.
        let leaves = |g: &Group| g.in_sync.len() - usize::from(g.in_sync.contains(&node));
        let left = |pg: &PgId| before.group(*pg).map(|g| (leaves(g), g.copies_min()));
        groups.retain(|pg| left(pg).is_some_and(|(left, min)| left >= min));
        if groups.is_empty() {
            return;
        }
        self.append(Command::Demote { node, incarnation, groups: groups.clone() });
        let after = self.newest().clone();
        let is_out = |pg: &PgId| after.group(*pg).is_some_and(|g| !g.takes(node));
        let out: BTreeSet<PgId> = groups.into_iter().filter(is_out).collect();
        for store in &mut self.sheep[usize::from(node.0)].stores {
            store.lose(|oid| after.group_of(oid).is_some_and(|(pg, _)| out.contains(&pg)));
        }
    }

    /// Every disk that failed is out of use, or comes back with the next life of its sheep.
    pub(super) fn replace_disks(&mut self) {
        for node in (0..self.sheep.len() as u16).map(NodeId) {
            self.demote(node);
            let state = self.newest().clone();
            let waits = !self.broken_groups(node, &state).is_empty() || self.has_broken_disk(node);
            if self.life(node).is_some() && waits {
                self.kill(node);
                self.start(node);
            }
        }
    }
}
