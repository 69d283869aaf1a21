//! Following the log and appending to it (as the daemon's `control`).
//!
//! Holds:
//!   C1 a proposal is answered with what its own entry did, once that entry is applied here;
//!   C2 an engine's proposal is made until it is in the log, and a letting go likewise.

use sheepdog_engine::gateway::Place;
use sheepdog_engine::state::{ClusterState, Outcome, Refused};
use sheepdog_proto::command::Command;
use sheepdog_proto::{Generation, NodeId, Vid};

use super::check::state::check_entry;
use super::event::{Caller, Event, Inside, Told};
use super::life::TICK;
use super::world::World;

/// Who waits for what of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposed {
    Join,
    /// A gateway's wish.
    Engine,
    Attach {
        shard: u16,
        vid: Vid,
    },
    Detach {
        shard: u16,
        vid: Vid,
        generation: Generation,
    },
    /// Copies are given up; proposed again as long as that has no effect.
    Demote,
    /// That another sheep is silent, or not any more; said again as long as that has no effect.
    Silence,
    /// That a sheep stays away, likewise.
    Absence,
    /// The orderly end of a life.
    Leave,
    /// An operator's command, by whichever sheep.
    Operator(Caller),
}

#[derive(Debug)]
pub(super) struct Proposal {
    sheep: usize,
    life: u64,
    command: Command,
    pub(super) then: Proposed,
}

impl World {
    pub(super) fn propose(&mut self, sheep: usize, life: u64, command: Command, then: Proposed) {
        self.proposed += 1;
        let proposal = self.proposed;
        self.say(|| format!("sheep {sheep} proposes {proposal}: {command:?}"));
        self.proposals.insert(proposal, Proposal { sheep, life, command, then });
        self.send_proposal(proposal);
    }

    fn send_proposal(&mut self, proposal: u64) {
        let delay = self.random.delay(self.profile.log_ns);
        self.later(delay, Event::Append { proposal });
    }

    /// The proposal reaches the log, if that is reached by anybody.
    pub(super) fn handle_append(&mut self, proposal: u64) {
        let Some(known) = self.proposals.get(&proposal) else { return };
        let (sheep, life, command) = (known.sheep, known.life, known.command.clone());
        let then = known.then;
        let is_operator = matches!(then, Proposed::Operator(_));
        if self.log.is_out || self.sheep[sheep].is_off_log && !is_operator {
            self.log.waiting.push(proposal);
            return;
        }
        if !is_operator && self.random.chance(self.profile.log_busy) {
            self.trace.count("append refused");
            self.tell_appended(proposal, None);
            return;
        }
        if !is_operator {
            if self.log.buried.contains(&life) {
                self.trace.count("append of a life whose will is in the log");
                self.proposals.remove(&proposal);
                let what = Inside::Die { why: "its session has ended" };
                return self.later(TICK, Event::Life { sheep, life, what });
            }
            self.bury_before(sheep, life); // W1
        }
        let index = self.append(&command);
        if is_operator || !self.random.chance(self.profile.log_forgets) {
            self.tell_appended(proposal, Some(index));
        } else {
            self.trace.count("append whose answer was lost");
            self.tell_appended(proposal, None);
        }
    }

    fn tell_appended(&mut self, proposal: u64, index: Option<usize>) {
        let Some(Proposal { sheep, life, then, .. }) = self.proposals.get(&proposal) else {
            return;
        };
        let (sheep, life, then) = (*sheep, *life, *then);
        let delay = self.random.delay(self.profile.log_ns);
        if let Proposed::Operator(caller) = then {
            self.proposals.remove(&proposal);
            let index = index.filter(|index| self.log.outcome(*index).is_ok());
            self.later(delay, Event::Told { caller, what: Told::Commanded { index } });
            return;
        }
        let what = Inside::Appended { proposal, index };
        self.later(delay, Event::Life { sheep, life, what });
    }

    /// Puts a command at the end of the log; every life will hear of it.
    pub(super) fn append(&mut self, command: &Command) -> usize {
        let outcome = format!("{:?}", self.log.append(command));
        let index = self.log.len();
        self.say(|| format!("log {index}: {command:?}: {outcome}"));
        let (before, after) = (self.log.state(index - 1).clone(), self.log.state(index).clone());
        if let Err(what) = check_entry(&before, &after, command) {
            self.blame(what);
        }
        self.note_entry(command, &before, index);
        (0..self.sheep.len()).for_each(|sheep| self.feed(sheep));
        index
    }

    fn note_entry(&mut self, command: &Command, before: &ClusterState, index: usize) {
        let is_done = !matches!(self.log.outcome(index), Ok(Outcome::Void) | Err(_));
        let name = match command {
            Command::Act { .. } if is_done => "entry: Act",
            Command::Act { .. } => "entry: Act, void",
            Command::Demote { .. } | Command::Rest { .. } if is_done => "entry: Demote",
            Command::Silent { is_silent: false, .. } => "entry: heard again",
            Command::Silent { .. } if self.expels(before, index) => "entry: Silent, expelled",
            Command::Silent { .. } => "entry: Silent",
            Command::Attach { .. } if is_done => "entry: Attach",
            Command::Attach { .. } => "entry: Attach, void or refused",
            Command::Detach { .. } => "entry: Detach",
            Command::Join { .. } => "entry: Join",
            Command::Gone { .. } if is_done => "entry: Gone",
            Command::Gone { .. } => "entry: Gone, void",
            Command::Ended { .. } => "entry: Ended",
            Command::Out { .. } if is_done => "entry: Out",
            Command::ResizeVdi { .. } => "entry: ResizeVdi",
            Command::DeleteVdi { .. } if is_done => "entry: DeleteVdi",
            _ => return,
        };
        self.trace.count(name);
        if let Command::Gone { node, .. } = command
            && is_done
            && before
                .catalogue
                .iter()
                .any(|v| v.attachment.as_ref().is_some_and(|a| a.node == *node))
        {
            self.trace.count("owner gone while attached");
        }
    }

    fn expels(&self, before: &ClusterState, index: usize) -> bool {
        let after = self.log.state(index).members.up().count();
        before.members.up().count() > after
    }

    /// Sends a life what it has not heard of the log.
    pub(super) fn feed(&mut self, sheep: usize) {
        let newest = self.log.len();
        if self.sheep[sheep].is_off_log || self.serves(sheep).is_none() {
            return;
        }
        while let Some(life) = self.sheep[sheep].life.as_mut()
            && life.fed < newest
        {
            life.fed += 1;
            let (index, serial, last) = (life.fed, life.serial, life.last_entry);
            let at = (self.now + self.random.delay(self.profile.log_ns)).max(last + 1);
            if let Some(life) = self.sheep[sheep].life.as_mut() {
                life.last_entry = at;
            }
            let what = Inside::Follow { index };
            self.queue.push(at, Event::Life { sheep, life: serial, what });
        }
    }

    /// The control thread applies an entry and tells the shards.
    pub(super) fn follow(&mut self, sheep: usize, index: usize) {
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        assert_eq!(life.followed + 1, index, "LOG-ORDER");
        life.followed = index;
        let (me, serial, waiting) = (life.me, life.serial, life.waiting.remove(&index));
        for shard in 0..self.profile.shards {
            let lag = self.random.delay((100, self.profile.shard_lag_ns));
            let at = self.now + lag;
            let place = Place { node: NodeId(sheep as u16), shard };
            let Some(shard_of) = self.shard(place) else { continue };
            let at = at.max(shard_of.last_apply + 1);
            shard_of.last_apply = at;
            let what = Inside::Apply { shard, index };
            self.queue.push(at, Event::Life { sheep, life: serial, what });
        }
        if let Some(proposal) = waiting {
            self.resolve(proposal, index);
        }
        let member = self.log.state(index).members.get(me.node).cloned();
        if member.is_none_or(|m| !m.up || m.incarnation != me.incarnation) {
            let delay = self.random.between(1_000, 200_000);
            self.trace.count("life that learned that it is gone");
            let what = Inside::Die { why: "the cluster holds it for gone" };
            self.later(delay, Event::Life { sheep, life: serial, what });
        }
    }

    /// The driver has answered.
    pub(super) fn handle_appended(&mut self, sheep: usize, proposal: u64, index: Option<usize>) {
        let Some(known) = self.proposals.get(&proposal) else { return };
        let then = known.then;
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        let Some(index) = index else {
            self.handle_unavailable(sheep, proposal, then);
            return;
        };
        if then == Proposed::Join {
            self.proposals.remove(&proposal);
            let (serial, delay) = (life.serial, self.random.delay(self.profile.log_ns));
            self.later(delay, Event::Life { sheep, life: serial, what: Inside::Joined { index } });
        } else if life.followed >= index {
            self.resolve(proposal, index);
        } else {
            life.waiting.insert(index, proposal); // C1
        }
    }

    /// Nobody knows whether the command is in the log.
    fn handle_unavailable(&mut self, sheep: usize, proposal: u64, then: Proposed) {
        let place = |shard| Place { node: NodeId(sheep as u16), shard };
        let Some(life) = self.sheep[sheep].life.as_ref().map(|life| life.serial) else { return };
        match then {
            Proposed::Engine | Proposed::Detach { .. } => {
                let what = Inside::Retry { proposal }; // C2
                self.later(TICK, Event::Life { sheep, life, what });
                return;
            }
            Proposed::Join => {
                let what = Inside::Die { why: "it could not join" };
                self.later(1_000, Event::Life { sheep, life, what });
            }
            Proposed::Leave => self.exit(sheep),
            Proposed::Attach { shard, vid } => self.note_refused(place(shard), vid),
            Proposed::Operator(_) | Proposed::Demote | Proposed::Silence | Proposed::Absence => {}
        }
        self.proposals.remove(&proposal);
    }

    pub(super) fn retry(&mut self, proposal: u64) {
        self.send_proposal(proposal);
    }

    /// The entry of a proposal is applied.
    fn resolve(&mut self, proposal: u64, index: usize) {
        let Some(Proposal { sheep, then, .. }) = self.proposals.remove(&proposal) else { return };
        let place = |shard| Place { node: NodeId(sheep as u16), shard };
        let outcome: Result<Outcome, Refused> = self.log.outcome(index).clone();
        match then {
            Proposed::Attach { shard, vid } => self.note_outcome(place(shard), vid, outcome, index),
            Proposed::Detach { shard, vid, generation } => {
                self.note_let_go(place(shard), vid, generation, index);
            }
            Proposed::Leave => self.exit(sheep),
            Proposed::Join
            | Proposed::Engine
            | Proposed::Demote
            | Proposed::Silence
            | Proposed::Absence
            | Proposed::Operator(_) => {}
        }
    }

    /// The orderly end: the others know.
    fn exit(&mut self, sheep: usize) {
        self.trace.count("orderly end");
        self.kill(sheep, "in order");
    }
}
