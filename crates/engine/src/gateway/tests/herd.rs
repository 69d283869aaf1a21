//! A herd in one thread: real gateways, real admission, real cluster state; log, network and
//! stores in memory. Nothing happens unless the caller says so.
//!
//! Way: `sheep` are processes with a life; a life has shards ([`Unit`]), each at its own place in
//!      the log; `link` carries their messages; what a client would see is collected in `events`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use sheepdog_proto::command::{Addresses, Command, Copies};
use sheepdog_proto::peer::{PeerError, Reply, ReplyBody, Request, RequestBody};
use sheepdog_proto::{Buffer, Generation, Incarnation, LogIndex, NodeId, Oid, Vid};

use super::super::attachment::Attachment;
use super::super::{Action, Gateway, Me, Place};
use super::broken::Broken;
use super::link::Links;
use super::memory::Memory;
use super::random::Random;
use super::show::{describe, name, show, show_answer, show_reply};
use crate::join::{JOINER_ID, Joiner, Local};
use crate::replica::{Admission, admit, lists, must_exist};
use crate::state::{ClusterState, Outcome};
use crate::volume::{Answer, Operation, Refusal};

/// What a client or an operator would notice.
#[derive(Debug)]
pub(super) enum Event {
    Answer(u64, Result<Answer, Refusal>),
    Granted(Place, Vid, Generation),
    Live,
    Drained(Vid, Generation),
    Lost(Place, Vid),
    Died(NodeId),
}

/// One shard of one life.
#[derive(Debug)]
pub(super) struct Unit {
    /// Log entries applied.
    pub(super) applied: usize,
    pub(super) gateway: Gateway,
    pub(super) joiner: Joiner,
    held: VecDeque<(u64, Request)>,
    /// Admitted, not yet done by the store.
    pub(super) queue: VecDeque<Job>,
}

/// Something for the store.
#[derive(Debug)]
pub(super) enum Job {
    /// It came by this connection.
    Request(u64, Request),
    /// The own joiner asks.
    Local(u64, Local),
}

#[derive(Debug)]
pub(super) struct Life {
    pub(super) serial: u64,
    pub(super) me: Me,
    pub(super) units: Vec<Unit>,
}

#[derive(Debug)]
pub(super) struct Sheep {
    pub(super) life: Option<Life>,
    pub(super) stores: Vec<Memory>,
}

/// Faults of stores, per thousand requests, and how often a crash forgets a watermark.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weakness {
    pub(super) unreadable: usize,
    pub(super) full: usize,
    pub(super) forgets: usize,
}

type Filter = Box<dyn Fn(Place, &Request) -> bool>;

/// Everything.
pub(super) struct Herd {
    pub(super) random: Random,
    pub(super) log: Vec<Command>,
    pub(super) states: Vec<Arc<ClusterState>>,
    pub(super) outcomes: Vec<Option<Outcome>>,
    pub(super) sheep: Vec<Sheep>,
    pub(super) links: Links,
    pub(super) proposals: VecDeque<Command>,
    pub(super) events: VecDeque<Event>,
    pub(super) weakness: Weakness,
    /// Requests that do not arrive for now.
    pub(super) stopped: Option<Filter>,
    /// Changes for which no store has room for now.
    pub(super) refused: Option<Filter>,
    /// Sheep whose replies do not arrive for now.
    pub(super) mute: BTreeSet<NodeId>,
    pub(super) broken: Broken,
    /// Nothing is appended for now.
    pub(super) log_stops: bool,
    pub(super) is_loud: bool,
    lives: u64,
    shards: u16,
}

impl Herd {
    /// `count` sheep, joined and formatted.
    pub(super) fn new(seed: u64, count: u16, shards: u16, copies: Copies, bits: u8) -> Self {
        let mut herd = Self {
            random: Random::new(seed),
            log: Vec::new(),
            states: vec![Arc::new(ClusterState::default())],
            outcomes: vec![None],
            sheep: Vec::new(),
            links: Links::default(),
            proposals: VecDeque::new(),
            events: VecDeque::new(),
            weakness: Weakness::default(),
            stopped: None,
            refused: None,
            mute: BTreeSet::new(),
            broken: Broken::new(),
            log_stops: false,
            is_loud: false,
            lives: 0,
            shards,
        };
        for node in 0..count {
            let stores = (0..shards).map(|_| Memory::default()).collect();
            herd.sheep.push(Sheep { life: None, stores });
            herd.start(NodeId(node));
        }
        let (cluster, time_ns) = (7, 0);
        let format =
            Command::Format { cluster, time_ns, partition_bits: bits, object_shift: 20, copies };
        assert_eq!(herd.append(format), Some(Outcome::Done));
        herd
    }

    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        if self.is_loud {
            eprintln!("{}", line());
        }
    }

    /// The state after the last entry of the log.
    pub(super) fn newest(&self) -> &Arc<ClusterState> {
        self.states.last().expect("the empty state is always there")
    }

    pub(super) fn append(&mut self, command: Command) -> Option<Outcome> {
        let mut state = (**self.newest()).clone();
        let index = LogIndex(self.log.len() as u64 + 1);
        let outcome = state.apply(index, &command).ok();
        self.say(|| format!("log {index}: {command:?} -> {outcome:?}"));
        self.log.push(command);
        self.states.push(Arc::new(state));
        self.outcomes.push(outcome.clone());
        outcome
    }

    pub(super) fn create(&mut self, name: &str, objects: u64) -> Vid {
        let (copies, object_shift) = (None, None);
        let (name, size) = (name.to_owned(), objects << 20);
        let create = Command::CreateVdi { name, size, copies, object_shift, time_ns: 0 };
        match self.append(create) {
            Some(Outcome::Created(vid)) => vid,
            other => panic!("{other:?}"),
        }
    }

    /// The command that asks the log to give `vid` to a living sheep.
    pub(super) fn attach_command(&self, vid: Vid, node: NodeId) -> Option<Command> {
        let incarnation = self.life(node)?.me.incarnation;
        Some(Command::Attach { vid, node, incarnation, time_ns: 0 })
    }

    pub(super) fn life(&self, node: NodeId) -> Option<&Life> {
        self.sheep[usize::from(node.0)].life.as_ref()
    }

    pub(super) fn unit(&mut self, place: Place) -> Option<&mut Unit> {
        let life = self.sheep[usize::from(place.node.0)].life.as_mut()?;
        life.units.get_mut(usize::from(place.shard))
    }

    pub(super) fn places(&self) -> Vec<Place> {
        let of = |(node, sheep): (usize, &Sheep)| {
            let shards = sheep.life.as_ref().map_or(0, |life| life.units.len() as u16);
            (0..shards).map(move |shard| Place { node: NodeId(node as u16), shard })
        };
        self.sheep.iter().enumerate().flat_map(of).collect()
    }

    /// The place that serves `vid` on `node`.
    pub(super) fn door(&self, vid: Vid, node: NodeId) -> Place {
        Place { node, shard: (vid.get() % u32::from(self.shards)) as u16 }
    }

    pub(super) fn submit(&mut self, place: Place, vid: Vid, operation: Operation, token: u64) {
        self.say(|| format!("submit {token} at {}: {}", name(place), describe(&operation)));
        if let Some(unit) = self.unit(place) {
            unit.gateway.submit(vid, operation, token);
        }
        self.pump(place);
    }

    pub(super) fn drain(&mut self, place: Place, vid: Vid) {
        self.say(|| format!("drain {vid} at {}", name(place)));
        if let Some(unit) = self.unit(place) {
            unit.gateway.drain(vid);
        }
        self.pump(place);
    }

    pub(super) fn set_lease(&mut self, place: Place, lasts: bool) {
        if let Some(unit) = self.unit(place) {
            unit.gateway.set_lease(lasts);
        }
        self.pump(place);
    }

    pub(super) fn tick(&mut self, place: Place) {
        if let Some(unit) = self.unit(place) {
            unit.gateway.tick();
            unit.joiner.tick(u64::MAX);
        }
        self.pump(place);
    }

    /// A new life joins. It has applied the log up to its own entry.
    pub(super) fn start(&mut self, node: NodeId) {
        let join = Command::Join {
            uuid: 0x51_0000 + u128::from(node.0),
            zone: u32::from(node.0),
            weight: 16,
            shards: self.shards,
            addresses: Addresses::default(),
        };
        self.append(join);
        self.broken.retain(|(broken, _)| *broken != node);
        let incarnation = Incarnation(self.log.len() as u64);
        let me = Me { node, incarnation };
        let joiner = |shard| {
            let mut joiner = Joiner::new(me, shard);
            joiner.handle_state(self.newest().clone());
            joiner
        };
        let unit = |shard| Unit {
            applied: self.log.len(),
            joiner: joiner(shard),
            gateway: Gateway::new(me, self.newest().clone()),
            held: VecDeque::new(),
            queue: VecDeque::new(),
        };
        let units = (0..self.shards).map(unit).collect();
        self.lives += 1;
        let life = Life { serial: self.lives, me, units };
        self.sheep[usize::from(node.0)].life = Some(life);
    }

    /// The process is gone; the log does not know yet.
    pub(super) fn kill(&mut self, node: NodeId) {
        self.say(|| format!("kill {node}"));
        let keeps_late = self.random.chance(500);
        self.links.bury(node, keeps_late);
        let sheep = &mut self.sheep[usize::from(node.0)];
        sheep.life = None;
        for store in &mut sheep.stores {
            store.crash(&mut self.random, self.weakness.forgets);
        }
        self.events.push_back(Event::Died(node));
    }

    /// The log learns that the newest life of a sheep has ended.
    pub(super) fn gone(&mut self, node: NodeId) {
        let Some(member) = self.newest().members.get(node) else { return };
        let incarnation = member.incarnation;
        self.append(Command::Gone { node, incarnation });
    }

    /// A shard applies the log up to entry `to` and then learns of it at once.
    pub(super) fn advance(&mut self, place: Place, to: usize, grants_first: bool) {
        let Some(life) = self.life(place.node) else { return };
        let (me, from) = (life.me, life.units[usize::from(place.shard)].applied);
        if to <= from {
            return;
        }
        let state = self.states[to].clone();
        self.say(|| format!("{} applies up to {to}", name(place)));
        let member = state.members.get(me.node);
        if member.is_none_or(|m| !m.up || m.incarnation != me.incarnation) {
            self.kill(place.node);
            return;
        }
        if let Some(unit) = self.unit(place) {
            unit.applied = to;
        }
        if grants_first {
            self.tell_grants(place, me, from, to);
        }
        if let Some(unit) = self.unit(place) {
            unit.joiner.handle_state(state.clone());
            unit.gateway.handle_state(state);
        }
        self.pump(place);
        if !grants_first {
            self.tell_grants(place, me, from, to);
        }
        let held = self.unit(place).map(|unit| std::mem::take(&mut unit.held)).unwrap_or_default();
        for (link, request) in held {
            self.receive(place, link, request);
        }
    }

    fn tell_grants(&mut self, place: Place, me: Me, from: usize, to: usize) {
        for index in from + 1..=to {
            match self.log[index - 1] {
                Command::Attach { vid, node, incarnation, .. }
                    if (Me { node, incarnation }) == me && self.door(vid, node) == place =>
                {
                    let Some(Outcome::Attached(generation)) = self.outcomes[index] else {
                        continue;
                    };
                    let vdi = self.states[index].catalogue.get(vid);
                    let owner = vdi.and_then(|vdi| vdi.attachment.clone()).expect("just granted");
                    self.events.push_back(Event::Granted(place, vid, generation));
                    if let Some(unit) = self.unit(place) {
                        unit.gateway.handle_granted(vid, &owner);
                    }
                }
                Command::Detach { vid, generation } if self.door(vid, me.node) == place => {
                    // A sheep forgets what it gave up itself; of the rest it learns by the state.
                    if let Some(unit) = self.unit(place)
                        && unit.gateway.attachments.get(&vid).is_some_and(Attachment::is_drained)
                    {
                        unit.gateway.forget(vid, generation);
                    }
                }
                _ => {}
            }
            self.pump(place);
        }
    }

    /// Carries out what a gateway wants.
    pub(super) fn pump(&mut self, place: Place) {
        let Some(life) = self.life(place.node) else { return };
        let serial = life.serial;
        self.pump_joiner(place, serial);
        let Some(unit) = self.unit(place) else { return };
        for action in unit.gateway.take_actions() {
            match action {
                Action::Send(to, request) => {
                    self.say(|| format!("  {} -> {}: {}", name(place), name(to), show(&request)));
                    let alive = self.life(to.node).is_some();
                    self.links.send(place, serial, to, alive, request);
                }
                Action::Propose(command) => {
                    self.say(|| format!("  {} proposes {command:?}", name(place)));
                    self.proposals.push_back(command);
                }
                Action::Answer(token, result) => {
                    self.say(|| format!("  answer {token}: {}", show_answer(&result)));
                    self.events.push_back(Event::Answer(token, result));
                }
                Action::Live(vid) => {
                    self.say(|| format!("  {vid} is live at {}", name(place)));
                    self.events.push_back(Event::Live);
                }
                Action::Drained(vid, generation) => {
                    self.say(|| format!("  {vid} generation {generation} is drained"));
                    self.events.push_back(Event::Drained(vid, generation));
                }
                Action::Lost(vid) => {
                    self.say(|| format!("  {vid} is lost at {}", name(place)));
                    self.events.push_back(Event::Lost(place, vid));
                }
            }
        }
    }

    /// The next request of a connection arrives. False if there is none or it is stopped.
    pub(super) fn deliver_request(&mut self, at: usize) -> bool {
        let Some(link) = self.links.all.get(at) else { return false };
        let stops = self.stopped.as_ref();
        let open = |request: &Request| !stops.is_some_and(|stops| stops(link.to, request));
        if !(link.is_up || link.is_late)
            || link.is_stalled
            || !link.requests.front().is_some_and(open)
        {
            return false;
        }
        let Some((id, to, request)) = self.links.take_request(at) else { return false };
        self.say(|| format!("{} receives {}", name(to), show(&request)));
        self.receive(to, id, request);
        true
    }

    pub(super) fn deliver_reply(&mut self, at: usize) -> bool {
        let Some(link) = self.links.all.get_mut(at) else { return false };
        if !link.is_up || self.mute.contains(&link.to.node) {
            return false;
        }
        let Some(reply) = link.replies.pop_front() else { return false };
        let (from, to) = (link.from, link.to);
        self.say(|| format!("{} <- {}: {}", name(from), name(to), show_reply(&reply)));
        if let Some(unit) = self.unit(from) {
            if reply.id & JOINER_ID == 0 {
                unit.gateway.handle_reply(to, reply);
            } else {
                unit.joiner.handle_reply(to, reply);
            }
        }
        self.pump(from);
        true
    }

    fn receive(&mut self, place: Place, link: u64, request: Request) {
        let states = &self.states;
        let sheep = &mut self.sheep[usize::from(place.node.0)];
        let Some(life) = sheep.life.as_mut() else { return };
        let unit = &mut life.units[usize::from(place.shard)];
        match admit(life.me, &states[unit.applied], &request) {
            Admission::Execute => {
                unit.joiner.note_change(&request.body);
                unit.queue.push_back(Job::Request(link, request));
            }
            Admission::Hold => unit.held.push_back((link, request)),
            Admission::Refuse(error) => {
                self.links.reply(link, Reply { id: request.id, result: Err(error) });
            }
        }
    }

    /// The store does the next thing, or `overtaking`, the first read.
    pub(super) fn execute(&mut self, place: Place, overtaking: bool) -> bool {
        let Some(unit) = self.unit(place) else { return false };
        let is_read = |job: &Job| {
            matches!(job, Job::Request(_, Request { body: RequestBody::Read { .. }, .. }))
        };
        let read = if overtaking { unit.queue.iter().position(is_read) } else { None };
        let (link, request) = match unit.queue.remove(read.unwrap_or(0)) {
            Some(Job::Request(link, request)) => (link, request),
            Some(Job::Local(token, local)) => {
                self.execute_local(place, token, &local);
                return true;
            }
            None => return false,
        };
        let is_remote = self.links.all.iter().any(|l| l.id == link && l.from.node != place.node);
        let result = self.perform(place, &request, is_remote);
        self.say(|| format!("{} has done {}", name(place), show(&request)));
        if request.body != RequestBody::Watermark {
            self.links.reply(link, Reply { id: request.id, result });
        }
        true
    }

    fn perform(
        &mut self,
        place: Place,
        request: &Request,
        is_remote: bool,
    ) -> Result<ReplyBody, PeerError> {
        let Weakness { unreadable, full, .. } = self.weakness;
        let mutates = matches!(request.body, RequestBody::Write { .. } | RequestBody::Hole { .. });
        let refused = self.refused.as_ref().is_some_and(|refused| refused(place, request));
        if refused || mutates && self.random.chance(full) {
            return Err(PeerError::Full);
        }
        let applied = self.unit(place).map_or(0, |unit| unit.applied);
        if self.lacks_disk(place, &self.states[applied], request) {
            return Err(PeerError::NotInSync);
        }
        let Request { vid, generation, stable, view, body, .. } = request;
        if let RequestBody::List { policy, after, partitions, .. } = body {
            return Ok(self.list_groups(place, *policy, *after, partitions));
        }
        let store = &mut self.sheep[usize::from(place.node.0)].stores[usize::from(place.shard)];
        if must_exist(place.node, &self.states[applied], body)
            && body.oid().is_some_and(|oid| !store.has(oid))
        {
            return Err(PeerError::Missing);
        }
        let mut result = store.execute(*vid, *generation, (*stable, *view), body);
        if let Ok(ReplyBody::Unstable(list)) = &mut result {
            let (me, state) = (place.node, &self.states[applied]);
            list.retain(|change| lists(me, state, change.oid));
        }
        if let Ok(ReplyBody::Blocks { data, .. }) = &mut result
            && self.random.chance(unreadable)
        {
            // A network may damage what it carries, a store looks before it answers.
            if data.is_empty() || !is_remote || self.random.chance(500) {
                return Err(PeerError::Corrupt);
            }
            let mut flipped = Buffer::copy_of(data);
            let at = self.random.below(flipped.len());
            flipped[at] ^= 1;
            *data = flipped.share();
        }
        result
    }

    /// The store of a member that keeps an object.
    pub(super) fn store_of(&mut self, node: NodeId, oid: Oid) -> &mut Memory {
        let state = self.newest().clone();
        let (pg, _) = state.group_of(oid).expect("the VDI exists");
        let shard = state.members.get(node).expect("joined").shard_of(pg);
        &mut self.sheep[usize::from(node.0)].stores[usize::from(shard)]
    }
}
