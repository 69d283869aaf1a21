//! What a sheep does about its failed disks (as the daemon's `disks`): it says in the log which
//! copies are not complete any more, or ends when no disk is left.

use sheepdog_engine::gateway::{Me, Place};
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::command::Command;
use sheepdog_proto::{NodeId, Partition, PgId, PolicyId};

use super::control::Proposed;
use super::event::{Event, Inside};
use super::world::World;

/// After so long without effect a demotion is proposed again.
const PROPOSE_AGAIN_NS: u64 = 2_000_000_000;

impl World {
    /// A shard has noticed; the control thread tells the others and decides.
    pub(super) fn note_disk_failure(&mut self, sheep: usize, slot: usize) {
        let delay = self.random.between(1_000, 3_000_000);
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        let serial = life.serial;
        let is_new = life.failed.insert(slot);
        if is_new {
            let what = Inside::DiskFailed { slot };
            self.later(delay, Event::Life { sheep, life: serial, what });
        }
    }

    pub(super) fn handle_disk_failure(&mut self, sheep: usize, slot: usize) {
        let slots = self.profile.disks;
        let Some(life) = self.sheep[sheep].life.as_ref() else { return };
        let (is_last, node) = (life.failed.len() == slots, life.me.node);
        if is_last {
            self.kill(sheep, "no disk of it can be used");
            return;
        }
        for shard in 0..self.profile.shards {
            if let Some(shard) = self.shard(Place { node, shard }) {
                shard.stores.give_up(slot);
            }
        }
        self.demote(sheep);
    }

    /// As often as it has not had its effect.
    pub(super) fn demote(&mut self, sheep: usize) {
        let Some(life) = self.sheep[sheep].life.as_ref() else { return };
        let (me, serial, followed) = (life.me, life.serial, life.followed);
        let what = Inside::Demote;
        self.later(PROPOSE_AGAIN_NS, Event::Life { sheep, life: serial, what });
        let groups = demotable(self.log.state(followed), me.node);
        if !groups.is_empty() {
            let Me { node, incarnation } = me;
            let command = Command::Demote { node, incarnation, groups };
            self.propose(sheep, serial, command, Proposed::Demote);
        }
    }
}

/// Groups that this sheep can leave; each has a part in every disk.
fn demotable(state: &ClusterState, node: NodeId) -> Vec<PgId> {
    let mut groups = Vec::new();
    for (policy, class) in (0..).map(PolicyId).zip(state.policies.iter()) {
        for (partition, group) in (0..).map(Partition).zip(class.groups.iter()) {
            if group.can_demote(node) {
                groups.push(PgId { policy, partition });
            }
        }
    }
    groups
}
