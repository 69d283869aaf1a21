//! Signs of life: to the log, which gives the lease, and between sheep (as the daemon's
//! `cluster::Lease`, `peer::outgoing`, `silence` and `reach`).
//!
//! Holds:
//!   LE1 a session is held for ended only when its patience has passed since the last sign of
//!       life that the log has heard; the lease ends before;
//!   SI0 who stood still himself holds nobody for silent: ticks are counted, not time.

use sheepdog_engine::gateway::Place;
use sheepdog_proto::NodeId;
use sheepdog_proto::command::Command;

use super::control::Proposed;
use super::life::TICK;
use super::world::World;

/// Ticks without a sign of life.
const SILENT_TICKS: u32 = 20;
/// Ticks until a complaint that had no effect is made again.
const AGAIN_TICKS: u32 = 20;

/// What a life hears of one other sheep.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    silent_ticks: u32,
    proposed: Option<(bool, u32)>,
}

impl World {
    /// The log hears of a process that goes on and reaches it.
    pub(super) fn beat(&mut self, sheep: usize) {
        let reaches = !self.log.is_out && !self.sheep[sheep].is_off_log;
        let now = self.now;
        let newest = self.log.newest().clone();
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        let me = life.me;
        let member = newest.members.get(me.node);
        let goes_on =
            member.is_some_and(|m| m.incarnation == me.incarnation && (m.up || m.is_expelled));
        if reaches && goes_on {
            life.heard = now;
        }
        self.listen(sheep);
    }

    pub(super) fn lease_lasts(&self, sheep: usize) -> bool {
        let share = self.profile.pause_session_ns / 10 * 8;
        self.sheep[sheep].life.as_ref().is_some_and(|life| self.now < life.heard + share)
    }

    /// The gateway of a shard is told before it takes a step.
    pub(super) fn tell_lease(&mut self, place: Place) {
        let lasts = self.lease_lasts(usize::from(place.node.0));
        if let Some(shard) = self.shard(place) {
            shard.gateway.set_lease(lasts);
        }
        if !lasts {
            self.trace.count("steps without a lease");
        }
    }

    /// Who stays away is said in the log.
    pub(super) fn tell_absences(&mut self, sheep: usize) {
        let patience = self.profile.out_after;
        let lasts = self.lease_lasts(sheep);
        let Some(life) = self.sheep[sheep].life.as_mut().filter(|_| lasts) else { return };
        let (me, serial) = (life.me, life.serial);
        let state = self.log.state(life.followed);
        for command in life.absences.tick(state, me, patience) {
            self.propose(sheep, serial, command, Proposed::Absence);
        }
    }

    /// Counts who is silent, and says so in the log.
    fn listen(&mut self, sheep: usize) {
        for other in (0..self.sheep.len()).filter(|other| *other != sheep) {
            let is_heard = self.hears(sheep, other);
            let Some(life) = self.sheep[sheep].life.as_mut() else { return };
            let heard = life.hears.entry(other).or_default();
            heard.silent_ticks = if is_heard { 0 } else { heard.silent_ticks + 1 };
            let is_silent = heard.silent_ticks > SILENT_TICKS;
            if self.lease_lasts(sheep) {
                self.complain(sheep, other, is_silent);
            }
        }
    }

    /// Something comes back, if something is sent.
    fn hears(&self, sheep: usize, other: usize) -> bool {
        let runs = self.sheep[other].life.as_ref().is_some_and(|life| life.stopped.is_none());
        runs && !self.is_cut(sheep, other) && self.serves(other).is_some()
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.network.is_blocked(one, other) || self.network.is_blocked(other, one)
    }

    fn complain(&mut self, sheep: usize, other: usize, is_silent: bool) {
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        let (me, serial) = (life.me, life.serial);
        let state = self.log.state(life.followed);
        let Some(member) = state.members.get(NodeId(other as u16)).filter(|m| m.up) else { return };
        let heard = life.hears.entry(other).or_default();
        if member.silent_for.contains(&me.node) == is_silent {
            heard.proposed = None;
            return;
        }
        heard.proposed = match heard.proposed {
            Some((what, ticks)) if what == is_silent && ticks > 0 => Some((what, ticks - 1)),
            _ => {
                let command = Command::Silent {
                    node: me.node,
                    incarnation: me.incarnation,
                    other: member.node,
                    other_incarnation: member.incarnation,
                    is_silent,
                };
                heard.proposed = Some((is_silent, AGAIN_TICKS));
                return self.propose(sheep, serial, command, Proposed::Silence);
            }
        };
    }

    /// Whether a sheep that is about to join reaches everybody who is up.
    pub(super) fn reaches_all(&self, sheep: usize) -> bool {
        let reaches = |other: usize| {
            // A process that stands still is connected to nevertheless, by its kernel.
            self.sheep[other].life.is_some() && !self.is_cut(sheep, other)
        };
        let others = self.log.newest().members.up().map(|member| usize::from(member.node.0));
        let is_here = |other: &usize| *other != sheep && *other < self.sheep.len();
        others.filter(is_here).all(reaches)
    }

    /// When the log's patience with a life ends, if it does not hear of it (LE1).
    pub(super) fn patience_ends(&self, sheep: usize, serial: u64) -> u64 {
        let life = self.sheep[sheep].life.as_ref().filter(|life| life.serial == serial);
        life.map_or(self.now, |life| life.heard + self.profile.pause_session_ns + TICK)
    }
}
