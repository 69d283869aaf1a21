//! Taking and letting go of VDIs, and their operations (as the daemon's `shard::attach` and
//! `shard::door`).
//!
//! Holds:
//!   A2 a VDI that is being let go is let go completely before it is taken again;
//!   A4 what the log has given to a sheep that asked for it no more is let go.

use std::collections::BTreeMap;

use sheepdog_engine::gateway::Place;
use sheepdog_engine::state::{Attachment, Outcome, Refused};
use sheepdog_engine::volume::{Answer, Operation, Refusal};
use sheepdog_proto::command::Command;
use sheepdog_proto::{Generation, Vid};

use super::control::Proposed;
use super::event::{Caller, Event, Inside, Told};
use super::life::{Shard, TICK};
use super::show;
use super::world::World;

/// How long a VDI's owner may take to let go before an attach is refused.
const HAND_OVER_NS: u64 = 1_000_000_000;
/// How long clients' last operations may take at an orderly end, and how often it is looked.
const DRAIN_NS: u64 = 10_000_000_000;
const LOOK_NS: u64 = 10_000_000;
/// Ticks without a client after which a VDI is let go: ten seconds.
const IDLE_TICKS: u64 = 10_000_000_000 / TICK;

/// What a shard's clients wait for.
#[derive(Debug, Default)]
pub(super) struct Door {
    attaching: BTreeMap<Vid, Acquire>,
    detaching: BTreeMap<Vid, LetGo>,
    operations: BTreeMap<u64, (Caller, u64)>,
    last: u64,
}

#[derive(Debug)]
struct Acquire {
    waiting: Vec<Caller>,
    until: u64,
    stage: Stage,
    /// It shall be let go again as soon as this has ended.
    is_unwanted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    /// Until this entry is applied.
    Applies(usize),
    Granted,
}

#[derive(Debug, Default)]
struct LetGo {
    waiting: Vec<Caller>,
    /// Who wants it afterwards.
    after: Vec<Caller>,
    /// The detachment is in the log.
    at: Option<(usize, Generation)>,
}

impl World {
    pub(super) fn attach(&mut self, place: Place, caller: Caller, vid: Vid) {
        let until = self.now + HAND_OVER_NS;
        if self.is_leaving(place) {
            self.tell(caller, Told::Attached(Err(Refusal::Stopping)));
            return;
        }
        let Some(shard) = self.shard(place) else { return };
        if let Some(letting) = shard.door.detaching.get_mut(&vid) {
            letting.after.push(caller); // A2
        } else if shard.gateway.is_live(vid) {
            self.tell_attached(place, vid, caller);
        } else if let Some(acquire) = shard.door.attaching.get_mut(&vid) {
            acquire.waiting.push(caller);
        } else {
            let (waiting, stage) = (vec![caller], Stage::Asked);
            let acquire = Acquire { waiting, until, stage, is_unwanted: false };
            shard.door.attaching.insert(vid, acquire);
            self.grant(place, vid);
        }
    }

    fn is_leaving(&self, place: Place) -> bool {
        self.sheep[usize::from(place.node.0)]
            .life
            .as_ref()
            .is_some_and(|life| life.leaving.is_some())
    }

    /// Asks the log for the VDI, or waits for what must come before.
    fn grant(&mut self, place: Place, vid: Vid) {
        let sheep = usize::from(place.node.0);
        let Some(state) = self.state_of(place) else { return };
        let Some((me, serial)) = self.sheep[sheep].life.as_ref().map(|l| (l.me, l.serial)) else {
            return;
        };
        let Some(vdi) = state.catalogue.get(vid) else {
            self.end_attaching(place, vid, &Err(Refusal::NoVdi));
            return;
        };
        let Some(owner) = vdi.attachment.clone() else {
            self.set_stage(place, vid, Stage::Asked);
            let (node, incarnation) = (me.node, me.incarnation);
            let command = Command::Attach { vid, node, incarnation, time_ns: self.now };
            self.propose(sheep, serial, command, Proposed::Attach { shard: place.shard, vid });
            return;
        };
        if owner.node == me.node && owner.incarnation == me.incarnation {
            self.set_stage(place, vid, Stage::Granted);
            self.trace.count("attach granted");
            self.step(place, |gateway| gateway.handle_granted(vid, &owner));
            if self.shard(place).is_some_and(|shard| shard.gateway.is_live(vid)) {
                self.end_attaching(place, vid, &Ok(()));
            }
            return;
        }
        let until = self.shard(place).and_then(|shard| Some(shard.door.attaching.get(&vid)?.until));
        match until {
            Some(until) if self.now < until => {
                self.set_stage(place, vid, Stage::Applies(state.index.0 as usize + 1));
                let what = Inside::Impatient { shard: place.shard, vid };
                self.queue.push(until, Event::Life { sheep, life: serial, what });
            }
            _ => {
                let (node, since_ns) = (owner.node, owner.since_ns);
                let refusal = Refusal::Locked { node, address: String::new(), since_ns };
                self.end_attaching(place, vid, &Err(refusal));
            }
        }
    }

    fn set_stage(&mut self, place: Place, vid: Vid, stage: Stage) {
        if let Some(shard) = self.shard(place)
            && let Some(acquire) = shard.door.attaching.get_mut(&vid)
        {
            acquire.stage = stage;
        }
    }

    /// The other owner had its time.
    pub(super) fn handle_impatience(&mut self, place: Place, vid: Vid) {
        let Some(shard) = self.shard(place) else { return };
        let acquire = shard.door.attaching.get(&vid);
        if acquire.is_some_and(|acquire| matches!(acquire.stage, Stage::Applies(_))) {
            self.grant(place, vid);
        }
    }

    /// What the log did with the wish.
    pub(super) fn note_outcome(
        &mut self,
        place: Place,
        vid: Vid,
        outcome: Result<Outcome, Refused>,
        index: usize,
    ) {
        let index = match outcome {
            Ok(Outcome::Void) => return self.note_refused(place, vid),
            Ok(_) => index,
            Err(Refused::Locked(owner)) => owner.index.0 as usize,
            Err(Refused::NoVdi) => {
                return self.end_attaching(place, vid, &Err(Refusal::NoVdi));
            }
            Err(_) => return self.note_refused(place, vid),
        };
        self.set_stage(place, vid, Stage::Applies(index));
        self.wake_door(place);
    }

    pub(super) fn note_refused(&mut self, place: Place, vid: Vid) {
        self.end_attaching(place, vid, &Err(Refusal::Stopping));
    }

    /// The shard has applied more of the log.
    pub(super) fn wake_door(&mut self, place: Place) {
        let Some(shard) = self.shard(place) else { return };
        let applied = shard.applied;
        let due = |acquire: &Acquire| matches!(acquire.stage, Stage::Applies(i) if i <= applied);
        let taken = shard.door.attaching.iter().filter(|(_, acquire)| due(acquire));
        let taken: Vec<Vid> = taken.map(|(vid, _)| *vid).collect();
        let gone = shard.door.detaching.iter().filter_map(|(vid, let_go)| {
            let (index, generation) = let_go.at.filter(|(index, _)| *index <= applied)?;
            (index <= applied).then_some((*vid, generation))
        });
        let gone: Vec<(Vid, Generation)> = gone.collect();
        for (vid, generation) in gone {
            self.step(place, |gateway| gateway.forget(vid, generation));
            self.end_detaching(place, vid);
        }
        for vid in taken {
            self.grant(place, vid);
        }
    }

    fn end_attaching(&mut self, place: Place, vid: Vid, result: &Result<(), Refusal>) {
        let Some(shard) = self.shard(place) else { return };
        let Some(acquire) = shard.door.attaching.remove(&vid) else { return };
        for caller in acquire.waiting {
            match result {
                Ok(()) => self.tell_attached(place, vid, caller),
                Err(refusal) => self.tell(caller, Told::Attached(Err(refusal.clone()))),
            }
        }
        if acquire.is_unwanted {
            self.detach(place, None, vid);
        }
    }

    fn tell_attached(&mut self, place: Place, vid: Vid, caller: Caller) {
        let state = self.state_of(place);
        let vdi = state.as_ref().and_then(|state| state.catalogue.get(vid));
        let owner = vdi.and_then(|vdi| vdi.attachment.as_ref());
        let generation = owner.map(|owner| owner.generation).ok_or(Refusal::Fenced);
        self.tell(caller, Told::Attached(generation));
    }

    pub(super) fn note_live(&mut self, place: Place, vid: Vid) {
        self.say(|| format!("{vid} is live at {}", show::place(place)));
        self.trace.count("attachment live");
        self.end_attaching(place, vid, &Ok(()));
    }

    pub(super) fn note_lost(&mut self, place: Place, vid: Vid) {
        self.say(|| format!("{vid} is lost at {}", show::place(place)));
        self.trace.count("attachment lost");
        self.end_attaching(place, vid, &Err(Refusal::Fenced));
        self.end_detaching(place, vid);
    }

    pub(super) fn detach(&mut self, place: Place, caller: Option<Caller>, vid: Vid) {
        let Some(shard) = self.shard(place) else { return };
        if let Some(acquire) = shard.door.attaching.get_mut(&vid) {
            acquire.is_unwanted = true;
            return;
        }
        let is_known = shard.gateway.attached().any(|(attached, _)| attached == vid);
        let unknown = if is_known { None } else { self.generation_here(place, vid) };
        if !is_known && unknown.is_none() {
            caller.into_iter().for_each(|caller| self.tell(caller, Told::Detached));
            return;
        }
        let Some(shard) = self.shard(place) else { return };
        shard.door.detaching.entry(vid).or_default().waiting.extend(caller);
        match unknown {
            Some(generation) => {
                self.trace.count("attachment let go that nobody asked for any more");
                self.let_go(place, vid, generation); // A4
            }
            None => self.step(place, |gateway| gateway.drain(vid)),
        }
    }

    /// Under which generation this life owns a VDI, as far as the shard knows.
    fn generation_here(&mut self, place: Place, vid: Vid) -> Option<Generation> {
        let state = self.state_of(place)?;
        let me = self.sheep[usize::from(place.node.0)].life.as_ref()?.me;
        let owner = state.catalogue.get(vid)?.attachment.as_ref()?;
        let is_mine = (owner.node, owner.incarnation) == (me.node, me.incarnation);
        is_mine.then_some(owner.generation)
    }

    /// VDIs without a client for a while are let go.
    pub(super) fn release_idle(&mut self, sheep: usize, serial: u64) {
        let Some(life) = self.sheep[sheep].life.as_ref() else { return };
        let me = life.me;
        let is_mine =
            |owner: &Attachment| (owner.node, owner.incarnation) == (me.node, me.incarnation);
        let vdis = self.log.state(life.followed).catalogue.iter();
        let mine = vdis.filter(|vdi| vdi.attachment.as_ref().is_some_and(is_mine));
        let is_used =
            |vid: &Vid| self.clients.iter().any(|client| client.uses(*vid, me.node, serial));
        let idle: Vec<Vid> = mine.map(|vdi| vdi.vid).filter(|vid| !is_used(vid)).collect();
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        life.unused.retain(|vid, _| idle.contains(vid));
        let mut due = Vec::new();
        for vid in idle {
            let ticks = life.unused.entry(vid).or_default();
            *ticks += 1;
            if ticks.is_multiple_of(IDLE_TICKS) {
                due.push(vid);
            }
        }
        for vid in due {
            self.trace.count("attachment let go without a client");
            self.detach(self.door(sheep, vid), None, vid);
        }
    }

    /// The gateway has drained: the log may give the VDI to others.
    pub(super) fn let_go(&mut self, place: Place, vid: Vid, generation: Generation) {
        let sheep = usize::from(place.node.0);
        let Some(life) = self.sheep[sheep].life.as_ref().map(|life| life.serial) else { return };
        self.trace.count("attachment drained");
        let then = Proposed::Detach { shard: place.shard, vid, generation };
        self.propose(sheep, life, Command::Detach { vid, generation }, then);
    }

    pub(super) fn note_let_go(
        &mut self,
        place: Place,
        vid: Vid,
        generation: Generation,
        index: usize,
    ) {
        let Some(shard) = self.shard(place) else { return };
        shard.door.detaching.entry(vid).or_default().at = Some((index, generation));
        self.wake_door(place);
    }

    fn end_detaching(&mut self, place: Place, vid: Vid) {
        let Some(shard) = self.shard(place) else { return };
        let Some(let_go) = shard.door.detaching.remove(&vid) else { return };
        for caller in let_go.waiting {
            self.tell(caller, Told::Detached);
        }
        for caller in let_go.after {
            self.attach(place, caller, vid);
        }
    }

    /// Lets go of what it has, then says good-bye.
    pub(super) fn leave(&mut self, sheep: usize) {
        let Some(life) = self.sheep[sheep].life.as_ref() else { return };
        let (serial, me) = (life.serial, life.me);
        let Some((until, vids)) = life.leaving.clone() else {
            self.begin_leave(sheep);
            return;
        };
        let attached =
            |shard: &Shard| -> Vec<Vid> { shard.gateway.attached().map(|(vid, _)| vid).collect() };
        let left: Vec<Vid> = life.shards.iter().flat_map(attached).collect();
        if vids.iter().any(|vid| left.contains(vid)) && self.now < until {
            self.later(LOOK_NS, Event::Life { sheep, life: serial, what: Inside::Leave });
            return;
        }
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        for store in life.shards.iter_mut().flat_map(|shard| shard.stores.all_mut()) {
            let _ = store.checkpoint(); // without it the next start replays more
        }
        let gone = Command::Gone { node: me.node, incarnation: me.incarnation };
        self.propose(sheep, serial, gone, Proposed::Leave);
    }

    fn begin_leave(&mut self, sheep: usize) {
        let until = self.now + DRAIN_NS;
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        let (serial, node) = (life.serial, life.me.node);
        let mut all = Vec::new();
        for (shard, of) in (0..).zip(&life.shards) {
            all.extend(of.gateway.attached().map(|(vid, _)| (Place { node, shard }, vid)));
        }
        life.leaving = Some((until, all.iter().map(|(_, vid)| *vid).collect()));
        all.into_iter().for_each(|(place, vid)| self.detach(place, None, vid));
        self.later(LOOK_NS, Event::Life { sheep, life: serial, what: Inside::Leave });
    }

    pub(super) fn submit(
        &mut self,
        place: Place,
        (caller, number): (Caller, u64),
        vid: Vid,
        operation: Operation,
    ) {
        let Some(shard) = self.shard(place) else { return };
        shard.door.last += 1;
        let token = shard.door.last;
        shard.door.operations.insert(token, (caller, number));
        self.step(place, |gateway| gateway.submit(vid, operation, token));
    }

    pub(super) fn answer(&mut self, place: Place, token: u64, result: Result<Answer, Refusal>) {
        let Some(shard) = self.shard(place) else { return };
        if let Some((caller, number)) = shard.door.operations.remove(&token) {
            self.tell(caller, Told::Answer { number, result });
        }
    }

    fn tell(&mut self, caller: Caller, what: Told) {
        let delay = self.random.between(1_000, 50_000);
        self.later(delay, Event::Told { caller, what });
    }
}
