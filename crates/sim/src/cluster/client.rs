//! Clients: each has one VDI, which it writes, reads and discards, and takes to another sheep
//! when its own is gone.
//!
//! Way: `handle_client` does the next thing, `handle_told` hears of it. While things break a client
//!      works (`work`); after all is healed it looks at everything once more (`look`).
//! Holds:
//!   V1 one kind gives up what is unanswered when its connection is gone, as an NBD client;
//!   V2 the other connects to the same sheep again and sends it again, one request per object at
//!      a time, as QEMU's driver for the first Sheepdog.

mod hear;
mod look;
mod work;

use std::collections::BTreeMap;

use sheepdog_engine::gateway::Place;
use sheepdog_engine::volume::Operation;
use sheepdog_proto::command::Command;
use sheepdog_proto::{NodeId, Vid};

use super::check::history::{History, Key};
use super::control::Proposed;
use super::event::{Caller, Event, Inside};
use super::show;
use super::world::World;

const MS: u64 = 1_000_000;
/// After so many operations a client takes its time.
const OPERATIONS_BUSY: u64 = 500;

/// What an operation is to the history.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// First sector and tags.
    Write(u64, Vec<u64>),
    /// Sectors.
    Zero(u64, u64),
    Read(u64, u64),
    Other,
}

#[derive(Clone, Debug)]
pub(super) struct Pending {
    operation: Operation,
    shape: Shape,
    objects: std::ops::RangeInclusive<u64>,
    since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not connected.
    Away,
    /// Waits for an operator's command.
    Commanding,
    Attaching,
    Open,
    Detaching,
    /// It has seen everything.
    Done,
}

/// Where it is connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    place: Place,
    life: u64,
    since: u64,
}

#[derive(Debug)]
pub(super) struct Client {
    name: u64,
    pub(super) vid: Option<Vid>,
    objects: u64,
    /// So many objects, once this entry is applied.
    grows: Option<(usize, u64)>,
    sends_again: bool,
    /// Operations under way at once.
    depth: usize,
    /// How many of the hot blocks are used; fewer means more collisions.
    hot: u64,
    phase: Phase,
    session: Option<Session>,
    /// The sheep that it was connected to last.
    home: Option<usize>,
    sessions: u64,
    generation: u32,
    pending: BTreeMap<u64, Pending>,
    /// Operations so far, which names them and orders them.
    number: u64,
    last_sent: u64,
    /// It was refused, and tries again then.
    rests_until: u64,
    /// How often it has looked at everything, and how far it is now.
    looks: usize,
    is_looking: bool,
    pub(super) history: History,
}

impl Client {
    /// The one it is connected to.
    /// Whether it has a VDI through this life of a sheep, or asks for it.
    pub(super) fn uses(&self, vid: Vid, node: NodeId, life: u64) -> bool {
        let here = |session: &Session| (session.place.node, session.life) == (node, life);
        self.vid == Some(vid) && self.session.as_ref().is_some_and(here)
    }

    pub(super) fn sheep(&self) -> Option<usize> {
        self.session.map(|session| usize::from(session.place.node.0))
    }
}

impl World {
    /// A client with an empty VDI.
    pub(super) fn add_client(&mut self, client: usize) {
        let objects = self.random.between(1, 4);
        let sends_again = self.random.chance(400);
        let depth = self.random.pick(&[1, 4, 12]);
        let hot = self.random.pick(&[1, 2, 5]);
        self.clients.push(Client {
            name: client as u64 * 1000,
            vid: None,
            objects,
            grows: None,
            sends_again,
            depth,
            hot,
            phase: Phase::Away,
            session: None,
            home: None,
            sessions: 0,
            generation: 0,
            pending: BTreeMap::new(),
            number: 0,
            last_sent: 0,
            rests_until: 0,
            looks: 0,
            is_looking: false,
            history: History::default(),
        });
        self.later(client as u64, Event::Client { client });
    }

    /// The client does the next thing.
    pub(super) fn handle_client(&mut self, client: usize) {
        if self.clients[client].phase != Phase::Done {
            let (low, high) = self.profile.think_ns;
            // Long histories make slow runs, and show little more.
            let factor = if self.clients[client].number < OPERATIONS_BUSY { 1 } else { 20 };
            let pause = self.random.between(low, high) * factor;
            self.later(pause, Event::Client { client });
        }
        self.notice_loss(client);
        match self.clients[client].phase {
            Phase::Away if self.now < self.clients[client].rests_until => {}
            Phase::Away => self.go_somewhere(client),
            Phase::Open if self.is_healing => self.look(client),
            Phase::Open => self.work(client),
            Phase::Commanding | Phase::Attaching | Phase::Detaching | Phase::Done => {}
        }
    }

    /// Its connection is gone, or it has waited too long.
    fn notice_loss(&mut self, client: usize) {
        let Some(session) = self.clients[client].session else { return };
        let sheep = usize::from(session.place.node.0);
        let is_there = self.life_mut(sheep, session.life).is_some();
        if !is_there {
            self.say(|| format!("client {client} has lost its sheep"));
            self.trace.count("client lost its sheep");
            self.end_session(client);
            return;
        }
        let (now, patience) = (self.now, self.profile.patience_ns);
        let known = &self.clients[client];
        let oldest = known.pending.values().map(|pending| pending.since).min();
        let waits = known.phase != Phase::Open;
        let since = if waits { Some(session.since) } else { oldest };
        if !self.is_healing && since.is_some_and(|since| since + patience < now) {
            self.say(|| format!("client {client} gives up"));
            self.trace.count("client gave up");
            self.give_up(client);
            self.end_session(client);
        }
    }

    pub(super) fn end_session(&mut self, client: usize) {
        let known = &mut self.clients[client];
        (known.session, known.phase, known.is_looking) = (None, Phase::Away, false);
        if !known.sends_again {
            self.give_up(client); // V1
        }
    }

    /// What is unanswered stays so.
    fn give_up(&mut self, client: usize) {
        let known = &mut self.clients[client];
        for (number, _) in std::mem::take(&mut known.pending) {
            known.history.forget(number);
        }
    }

    fn caller(&mut self, client: usize) -> Caller {
        Caller { client, session: self.clients[client].sessions }
    }

    /// Connects to a sheep, or makes a VDI first.
    fn go_somewhere(&mut self, client: usize) {
        let known = &self.clients[client];
        let Some(vid) = known.vid else {
            self.create(client);
            return;
        };
        let is_idle = known.pending.is_empty() && !self.is_healing;
        if is_idle && known.generation > 0 && self.random.chance(self.profile.deletes) {
            self.command(client, Command::DeleteVdi { vid });
            return;
        }
        let Some(sheep) = self.choose_sheep(client, vid) else { return };
        let Some(life) = self.serves(sheep) else { return };
        let place = self.door(sheep, vid);
        let since = self.now;
        let known = &mut self.clients[client];
        known.sessions += 1;
        known.home = Some(sheep);
        known.session = Some(Session { place, life, since });
        known.phase = Phase::Attaching;
        self.say(|| format!("client {client} asks sheep {sheep} for {vid}"));
        let caller = self.caller(client);
        self.send_inside(client, Inside::Attach { caller, vid });
    }

    /// The one that has the VDI, mostly; else any.
    fn choose_sheep(&mut self, client: usize, vid: Vid) -> Option<usize> {
        let known = &self.clients[client];
        if let Some(home) = known.home.filter(|_| known.sends_again && !known.pending.is_empty()) {
            return Some(home); // V2
        }
        let vdi = self.log.newest().catalogue.get(vid)?;
        let owner = vdi.attachment.as_ref().map(|owner| usize::from(owner.node.0));
        let wish = self.clients[client].looks.wrapping_add(client);
        match owner {
            Some(owner) if self.is_healing || self.random.chance(700) => Some(owner),
            _ if self.is_healing => Some(wish % self.sheep.len()),
            _ => Some(self.random.index(self.sheep.len())),
        }
    }

    fn create(&mut self, client: usize) {
        let known = &mut self.clients[client];
        known.name += 1;
        let (name, size) = (format!("vdi-{}", known.name), known.objects << 20);
        let (copies, object_shift) = (None, None);
        self.command(client, Command::CreateVdi { name, size, copies, object_shift, time_ns: 0 });
    }

    fn command(&mut self, client: usize, command: Command) {
        let known = &mut self.clients[client];
        known.sessions += 1;
        known.phase = Phase::Commanding;
        let caller = self.caller(client);
        self.propose(0, 0, command, Proposed::Operator(caller));
    }

    /// By the client's connection, in order.
    fn send_inside(&mut self, client: usize, what: Inside) {
        let delay = self.random.between(5_000, 60_000);
        let at = (self.now + delay).max(self.clients[client].last_sent + 1);
        let known = &mut self.clients[client];
        known.last_sent = at;
        let Some(session) = known.session else { return };
        let sheep = usize::from(session.place.node.0);
        self.queue.push(at, Event::Life { sheep, life: session.life, what });
    }

    fn detach_client(&mut self, client: usize) {
        let Some(vid) = self.clients[client].vid else { return };
        let now = self.now;
        let known = &mut self.clients[client];
        known.phase = Phase::Detaching;
        known.session.iter_mut().for_each(|session| session.since = now);
        let caller = self.caller(client);
        self.send_inside(client, Inside::Detach { caller, vid });
    }

    /// Sends an operation of the current session, once more perhaps.
    fn submit_operation(&mut self, client: usize, mut pending: Pending) {
        let Some(vid) = self.clients[client].vid else { return };
        pending.since = self.now;
        let known = &mut self.clients[client];
        known.number += 1;
        let number = known.number;
        let key: Key = (known.generation, number);
        match &pending.shape {
            Shape::Write(first, tags) => known.history.write(number, key, *first, tags),
            Shape::Zero(first, count) => known.history.zero(number, key, *first..first + count),
            Shape::Read(first, count) => known.history.read(number, key, *first, *count),
            Shape::Other => known.history.other(number, key),
        }
        let operation = pending.operation.clone();
        known.pending.insert(number, pending);
        self.say(|| format!("client {client} sends {number}: {}", show::operation(&operation)));
        self.trace.count("operations sent");
        let caller = self.caller(client);
        self.send_inside(client, Inside::Submit { caller, number, vid, operation });
    }
}
