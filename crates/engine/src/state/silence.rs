//! Silence: whom the others do not reach, and who takes part no more because of that.
//!
//! Holds:
//!   SI1 one complaint expels nobody: the one who complains may be the one who is cut off;
//!   SI2 being expelled ends the part of a replica only; what it owns is freed when its life has
//!       certainly ended (`Gone`), for until then it may serve reads of it.

use std::sync::Arc;

use sheepdog_proto::{Incarnation, NodeId};

use super::{ClusterState, Outcome};

impl ClusterState {
    pub(super) fn apply_silent(
        &mut self,
        (node, incarnation): (NodeId, Incarnation),
        (other, other_incarnation): (NodeId, Incarnation),
        is_silent: bool,
    ) -> Outcome {
        let are_current =
            self.is_current(node, incarnation) && self.is_current(other, other_incarnation);
        if !are_current || node == other {
            return Outcome::Void;
        }
        Arc::make_mut(&mut self.members).complain(node, other, is_silent);
        if let Some(expelled) = is_silent.then(|| self.whom_to_expel(node, other)).flatten() {
            Arc::make_mut(&mut self.members).expel(expelled);
            self.touch_groups(expelled);
        }
        Outcome::Done
    }

    /// After `node` has complained about `other`.
    fn whom_to_expel(&self, node: NodeId, other: NodeId) -> Option<NodeId> {
        let accused = self.members.get(other)?;
        let zone_of = |node: &NodeId| self.members.get(*node).map(|member| member.zone);
        let zones = accused.silent_for.iter().filter_map(zone_of);
        let first = zones.clone().next()?;
        if zones.clone().any(|zone| zone != first) {
            return Some(other);
        }
        // Both can write to the log, so both live.
        if self.complains(other, node) {
            let owns = |node| (self.owned(node), std::cmp::Reverse(node));
            return Some(if owns(node) < owns(other) { node } else { other });
        }
        None // SI1
    }

    fn complains(&self, by: NodeId, about: NodeId) -> bool {
        self.members.get(about).is_some_and(|member| member.silent_for.contains(&by))
    }

    /// How many VDIs a sheep has attached.
    fn owned(&self, node: NodeId) -> usize {
        let owner = |vdi: &&super::Vdi| vdi.attachment.as_ref().is_some_and(|a| a.node == node);
        self.catalogue.iter().filter(owner).count()
    }
}

#[cfg(test)]
#[path = "silence/tests.rs"]
mod tests;
