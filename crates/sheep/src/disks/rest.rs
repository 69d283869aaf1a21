//! Rest: a disk that holds up everybody takes no part for a while.
//!
//! Why: a write waits for every copy, so one disk that hangs, or takes seconds for each request,
//!      stops the clients of the whole cluster. It may be well again later, with all its copies.
//! Way: a shard says that it is slow (`shard::patience`); the sheep leaves the write sets of its
//!      groups and does not join any until the disk has rested. The next rest is twice as long.
//! Holds:
//!   RE1 a group is left only if others that are up and in sync are as many as writes need, in the
//!       state in which the log takes it: two that hang at once do not both leave;
//!   RE2 what is in sync again is so by joining as after any other absence.

use std::time::{Duration, Instant};

use sheepdog_engine::gateway::Me;
use sheepdog_engine::state::{ClusterState, Group};
use sheepdog_proto::command::Command;

use super::{Disks, PROPOSE_AGAIN, group};

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_hours(1);
/// As long as it is said to be slow its rest does not end; it is said ten times a second.
const QUIET: Duration = Duration::from_secs(2);

/// The rests of one disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    until: Instant,
    /// The newest time that it was slow.
    slow_at: Instant,
    length: Duration,
    /// When the sheep last asked to leave groups because of it.
    proposed: Option<Instant>,
}

impl Rest {
    const fn new(now: Instant, before: Option<&Self>) -> Self {
        let length = match before {
            Some(rest) if rest.length.as_secs() * 2 < LONGEST.as_secs() => {
                rest.length.saturating_mul(2)
            }
            Some(_) => LONGEST,
            None => FIRST,
        };
        Self { until: now, slow_at: now, length, proposed: None }
    }

    pub(super) fn lasts(&self, now: Instant) -> bool {
        now < self.until || now.saturating_duration_since(self.slow_at) < QUIET
    }

    /// So long after its end it is forgotten, and a next one is short again.
    fn is_forgotten(&self, now: Instant) -> bool {
        now > self.until.max(self.slow_at) + LONGEST
    }
}

impl Disks {
    /// A shard finds a disk slow.
    pub(crate) fn note_slow(&mut self, slot: u8) {
        if !self.works(slot) {
            return;
        }
        let now = Instant::now();
        let before = self.rests.get(&slot);
        if let Some(rest) = before.filter(|rest| rest.lasts(now)) {
            let rest = Rest { slow_at: now, ..*rest };
            self.rests.insert(slot, rest);
            return;
        }
        let mut rest = Rest::new(now, before);
        rest.until = now + rest.length;
        self.rests.insert(slot, rest);
        let seconds = rest.length.as_secs();
        tracing::error!(slot, path = %self.path(slot), seconds, "disk is slow and rests");
        self.show();
    }

    /// Whether a disk rests, and what the log must be told because of that. Once a second.
    pub(crate) fn tend_rests(&mut self, state: &ClusterState, me: Me) -> (bool, Vec<Command>) {
        let now = Instant::now();
        let count = self.rests.len();
        let (disks, works) = (&self.disks, |disk: &super::Disk| disk.works());
        self.rests.retain(|slot, rest| {
            disks.get(slot).is_some_and(works) && (rest.lasts(now) || !rest.is_forgotten(now))
        });
        let resting: Vec<u8> =
            self.rests.iter().filter(|(_, rest)| rest.lasts(now)).map(|(slot, _)| *slot).collect();
        let commands: Vec<_> =
            resting.iter().filter_map(|slot| self.leave(*slot, state, me, now)).collect();
        if count > 0 {
            self.show();
        }
        (!resting.is_empty(), commands)
    }

    /// RE1.
    fn leave(&mut self, slot: u8, state: &ClusterState, me: Me, now: Instant) -> Option<Command> {
        let rest = self.rests.get_mut(&slot)?;
        if rest.proposed.is_some_and(|at| now - at < PROPOSE_AGAIN) {
            return None;
        }
        let is_on = |bucket: u8| self.table.buckets[usize::from(bucket)] == slot;
        let mut groups = group::taken(state, me.node, is_on);
        let may = |group: &Group| group.can_rest(me.node, &state.members);
        groups.retain(|pg| state.group(*pg).is_some_and(may));
        if groups.is_empty() {
            return None;
        }
        rest.proposed = Some(now);
        let Me { node, incarnation } = me;
        Some(Command::Rest { node, incarnation, groups })
    }

    /// Why a disk takes no part now.
    pub(super) fn rest_of(&self, slot: u8) -> Option<String> {
        let now = Instant::now();
        let rest = self.rests.get(&slot).filter(|rest| rest.lasts(now))?;
        let seconds = rest.until.saturating_duration_since(now).as_secs() + 1;
        Some(format!(
            "it did not answer for seconds, so that all writes waited for it; its copies take no \
             part for {seconds} s at least, as far as the others suffice"
        ))
    }
}
