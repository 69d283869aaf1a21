//! Absence: which sheep have been down for so long that their copies shall be made elsewhere.
//!
//! Way: each sheep counts for itself; the one with the lowest number that is up says so in the log,
//!      the next ones some time later if it does not.
//! Holds:
//!   AB1 counting begins anew with each life of either: a cluster that comes up slowly after a
//!       power cut moves nothing;
//!   AB2 nothing is said while the cluster is told to stop.
//! Not here: what follows from it (`state::target`), time (sheep).

use std::collections::BTreeMap;

use sheepdog_proto::command::Command;
use sheepdog_proto::{Incarnation, NodeId};

use crate::gateway::Me;
use crate::state::{ClusterState, Member};

/// Ticks between two sheep that would say it, and until it is said again.
const AGAIN: u64 = 10;

/// Sheep that are down.
#[derive(Clone, Debug, Default)]
pub struct Absences {
    /// The life that ended, and ticks since.
    since: BTreeMap<NodeId, (Incarnation, u64)>,
}

impl Absences {
    /// Called at even intervals; `patience` is how many of them a sheep may be away, zero for ever.
    pub fn tick(&mut self, state: &ClusterState, me: Me, patience: u64) -> Vec<Command> {
        if state.stopping || state.format.is_none() || patience == 0 {
            self.since.clear(); // AB2
            return Vec::new();
        }
        let is_away = |member: &&Member| !member.up && !member.is_out && member.weight > 0;
        let away: Vec<&Member> = state.members.iter().filter(is_away).collect();
        self.since.retain(|node, (life, _)| {
            away.iter().any(|member| member.node == *node && member.incarnation == *life)
        });
        let before_me = state.members.up().filter(|member| member.node < me.node).count() as u64;
        let due = patience + before_me * AGAIN;
        let mut commands = Vec::new();
        for Member { node, incarnation, .. } in away {
            let (_, ticks) = self.since.entry(*node).or_insert((*incarnation, 0));
            *ticks += 1;
            if *ticks >= due && (*ticks - due).is_multiple_of(AGAIN) {
                commands.push(Command::Out { node: *node, incarnation: *incarnation });
            }
        }
        commands
    }
}

#[cfg(test)]
#[path = "absence/tests.rs"]
mod tests;
