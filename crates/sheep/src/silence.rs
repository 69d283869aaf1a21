//! Which sheep this one hears nothing of, and what of that the log does not know yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sheepdog_engine::gateway::Me;
use sheepdog_engine::state::{ClusterState, Member};
use sheepdog_proto::NodeId;
use sheepdog_proto::command::Command;

use crate::shared::Silence;

/// A proposal that had no effect is made again after this.
const AGAIN: Duration = Duration::from_secs(2);

/// Links that are silent, by the sheep at their other end.
#[derive(Debug, Default)]
pub(crate) struct Silences {
    links: BTreeMap<NodeId, BTreeSet<(u16, u16)>>,
    proposed: BTreeMap<NodeId, (bool, Instant)>,
}

impl Silences {
    pub(crate) fn note(&mut self, silence: Silence) {
        let Silence { from_shard, to, is_silent } = silence;
        let links = self.links.entry(to.node).or_default();
        if is_silent {
            links.insert((from_shard, to.shard));
        } else {
            links.remove(&(from_shard, to.shard));
        }
    }

    /// What the log must be told.
    pub(crate) fn due(&mut self, state: &ClusterState, me: Me) -> Vec<Command> {
        let now = Instant::now();
        let mut commands = Vec::new();
        for member in state.members.up().filter(|member| member.node != me.node) {
            let is_silent = self.links.get(&member.node).is_some_and(|links| !links.is_empty());
            if member.silent_for.contains(&me.node) == is_silent {
                self.proposed.remove(&member.node);
                continue;
            }
            let last = self.proposed.get(&member.node);
            if last.is_none_or(|(what, when)| *what != is_silent || now - *when >= AGAIN) {
                self.proposed.insert(member.node, (is_silent, now));
                commands.push(command(me, member, is_silent));
            }
        }
        commands
    }
}

fn command(me: Me, other: &Member, is_silent: bool) -> Command {
    Command::Silent {
        node: me.node,
        incarnation: me.incarnation,
        other: other.node,
        other_incarnation: other.incarnation,
        is_silent,
    }
}
