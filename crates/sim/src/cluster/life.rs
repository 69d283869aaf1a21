//! Sheep and their lives: how a process begins, stands still, and ends.
//!
//! Way: `start` opens the stores and joins; `kill` and `cut_power` end a life at once, `Leave`
//!      in order; what was told to the disks stays in them, or what power left of it.
//! Holds:
//!   L1 a life is ended from outside, or by itself when the log holds it for gone, as in the
//!      daemon (`control::check_alive`), or when a store of it has failed (it has one disk);
//!   W1 as the log's drivers promise, nothing of a life follows its will, and the will comes
//!      before anything of the next life.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sheepdog_engine::absence::Absences;
use sheepdog_engine::gateway::{Gateway, Me, Place};
use sheepdog_engine::join::Joiner;
use sheepdog_proto::command::{Addresses, Command};
use sheepdog_proto::{Incarnation, NodeId, PgId, Vid};
use sheepdog_store::{FakeDisk, Options, Store, StoreError};

use super::control::Proposed;
use super::door::Door;
use super::event::{Event, Inside, Message};
use super::fuse::Fuse;
use super::link::Link;
use super::shard::Held;
use super::silence::Heard;
use super::store::Stores;
use super::world::World;
use sheepdog_proto::peer::Reply;

/// Time between two ticks of a process.
pub(super) const TICK: u64 = 100_000_000;

/// One machine with its disks.
#[derive(Debug)]
pub(super) struct Sheep {
    /// Of each shard, one for each slot.
    pub(super) disks: Vec<Vec<FakeDisk>>,
    pub(super) life: Option<Life>,
    /// It is cut off from the log.
    pub(super) is_off_log: bool,
    /// How slow its disks are: a turn takes between these.
    pub(super) disk_ns: (u64, u64),
    /// Its points on the ring, as of its next start.
    pub(super) weight: u32,
}

/// One process.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) serial: u64,
    pub(super) me: Me,
    /// Index of the last entry that the control thread has applied; zero before the join.
    pub(super) followed: usize,
    /// Index up to which entries are on their way to it.
    pub(super) fed: usize,
    /// When the last entry, and the last letter, arrives.
    pub(super) last_entry: u64,
    pub(super) last_mail: u64,
    pub(super) shards: Vec<Shard>,
    /// Opened, but not joined yet.
    stores: Vec<Stores>,
    /// Slots of disks that are of no use any more.
    pub(super) failed: BTreeSet<usize>,
    /// Answers of the log whose entry is not applied yet.
    pub(super) waiting: BTreeMap<usize, u64>,
    /// What has come since it stands still.
    pub(super) stopped: Option<VecDeque<Inside>>,
    pub(super) fuse: Option<Fuse>,
    /// When the log heard of it last.
    pub(super) heard: u64,
    /// What it hears of the others.
    pub(super) hears: BTreeMap<usize, Heard>,
    pub(super) absences: Absences,
    /// Ticks for which a VDI that it owns has had no client.
    pub(super) unused: BTreeMap<Vid, u64>,
    /// It was asked to end in order: by when, and what it lets go of before.
    pub(super) leaving: Option<(u64, Vec<Vid>)>,
}

/// One shard of a life.
#[derive(Debug)]
pub(super) struct Shard {
    /// Index of the last entry applied.
    pub(super) applied: usize,
    pub(super) gateway: Gateway,
    pub(super) joiner: Joiner,
    pub(super) stores: Stores,
    pub(super) held: Vec<Held>,
    pub(super) local_replies: VecDeque<Reply>,
    pub(super) links: BTreeMap<Place, Link>,
    /// The newest connection of each calling shard.
    pub(super) incoming: BTreeMap<Place, u64>,
    pub(super) door: Door,
    pub(super) swept: BTreeSet<Vid>,
    /// Groups whose copies are not needed here.
    pub(super) given_up: BTreeSet<PgId>,
    pub(super) last_apply: u64,
}

pub(super) fn uuid(sheep: usize) -> u128 {
    0x51_0000_0000_0000_0000_0000 + sheep as u128
}

impl World {
    /// Starts a process: what is on the disks is opened, then the others are told.
    pub(super) fn start(&mut self, sheep: usize) {
        if self.sheep[sheep].life.is_some() {
            return;
        }
        if !self.reaches_all(sheep) {
            self.trace.count("start that waited for a sheep");
            return self.later(TICK, Event::Start { sheep });
        }
        let mut all = Vec::new();
        for (shard, disks) in self.sheep[sheep].disks.iter().enumerate() {
            let options = self.options_of(sheep, shard as u16);
            let open = |disk: &FakeDisk| Store::open(Box::new(disk.clone()), options);
            let opened: Result<Vec<_>, StoreError> = disks.iter().map(open).collect();
            match opened {
                Ok(stores) => all.push(Stores::new(stores.into_iter().map(|s| s.0).collect())),
                Err(StoreError::Full) => {
                    self.trace.count("start without room");
                    return self.later(TICK, Event::Start { sheep });
                }
                Err(error) => {
                    let what = format!("a store of sheep {sheep} cannot be opened: {error}");
                    return self.blame(what);
                }
            }
        }
        self.lives += 1;
        let serial = self.lives;
        let me = Me { node: NodeId(sheep as u16), incarnation: Incarnation(0) };
        self.sheep[sheep].life = Some(Life::new(serial, me, all));
        self.say(|| format!("sheep {sheep} starts life {serial}"));
        let join = self.join_command(sheep);
        self.propose(sheep, serial, join, Proposed::Join);
    }

    pub(super) fn options_of(&self, sheep: usize, shard: u16) -> Options {
        Options { node: uuid(sheep), shard, ..self.profile.store_options() }
    }

    pub(super) fn join_command(&self, sheep: usize) -> Command {
        Command::Join {
            uuid: uuid(sheep),
            zone: sheep as u32,
            weight: self.sheep[sheep].weight,
            shards: self.profile.shards,
            addresses: Addresses::default(),
        }
    }

    /// The life has a number; it serves from now on.
    pub(super) fn handle_joined(&mut self, sheep: usize, index: usize) {
        let state = self.log.state(index).clone();
        let now = self.now;
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        life.me.incarnation = Incarnation(index as u64);
        life.heard = now;
        (life.followed, life.fed) = (index, index);
        let me = life.me;
        let shard = |(number, stores)| {
            let mut joiner = Joiner::new(me, number);
            joiner.handle_state(state.clone());
            Shard::new(Gateway::new(me, state.clone()), joiner, stores, index, now)
        };
        life.shards = (0..).zip(std::mem::take(&mut life.stores)).map(shard).collect();
        let serial = life.serial;
        self.say(|| format!("sheep {sheep} has joined as of entry {index}"));
        for shard in 0..self.profile.shards {
            self.sweep_new(Place { node: me.node, shard });
        }
        let first = self.random.below(TICK);
        self.later(first, Event::Life { sheep, life: serial, what: Inside::Tick });
        self.feed(sheep);
    }

    /// The process is gone; its disks keep what they were told.
    pub(super) fn kill(&mut self, sheep: usize, why: &str) {
        self.say(|| format!("sheep {sheep} dies: {why}"));
        self.sheep[sheep].disks.iter().flatten().for_each(FakeDisk::restart);
        self.bury(sheep);
    }

    /// Power is gone: of what was not synced everything, something or nothing is left.
    pub(super) fn cut_power(&mut self, sheep: usize) {
        self.say(|| format!("sheep {sheep} loses power"));
        for disk in self.sheep[sheep].disks.iter().flatten() {
            disk.power_cycle(self.random.roll());
        }
        self.bury(sheep);
    }

    /// What follows from the end of a process.
    fn bury(&mut self, sheep: usize) {
        let Some(life) = self.sheep[sheep].life.take() else { return };
        let keeps_late = self.random.chance(500);
        self.close_connections(sheep, life.serial, keeps_late);
        let patience = self.random.between(self.profile.session_ns.0, self.profile.session_ns.1);
        self.later(patience, Event::SessionEnds { sheep, life: life.serial });
        self.ended.insert(life.serial, life.me);
        if self.is_healing {
            self.later(1_000_000, Event::Start { sheep });
        } else {
            let (low, high) = self.profile.restart_ns;
            let rest = self.random.between(low, high);
            self.later(rest, Event::Start { sheep });
        }
    }

    /// The others see their connections to it end, or not; what it sent may still arrive.
    fn close_connections(&mut self, sheep: usize, serial: u64, keeps_late: bool) {
        for id in self.network.ids() {
            let Some(connection) = self.network.get(id) else { continue };
            let (caller, server) = (connection.caller, connection.server);
            if server.life == serial && usize::from(server.place.node.0) == sheep {
                self.send(id, Message::Closed);
            } else if caller.life == serial && !keeps_late {
                self.network.remove(id);
            }
        }
    }

    /// The process stands still for a while.
    pub(super) fn pause(&mut self, sheep: usize, for_ns: u64) {
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        if life.stopped.is_some() {
            return;
        }
        life.stopped = Some(VecDeque::new());
        let serial = life.serial;
        self.say(|| format!("sheep {sheep} stands still for {} ms", for_ns / 1_000_000));
        self.later(for_ns, Event::Wake { sheep, life: serial });
        let patience = self.profile.pause_session_ns;
        self.later(patience, Event::SessionEnds { sheep, life: serial });
    }

    /// It goes on with all that has come meanwhile.
    pub(super) fn wake(&mut self, sheep: usize, serial: u64) {
        let Some(life) = self.life_mut(sheep, serial) else { return };
        let Some(stopped) = life.stopped.take() else { return };
        self.say(|| format!("sheep {sheep} goes on, with {} things to do", stopped.len()));
        for (after, what) in stopped.into_iter().enumerate() {
            self.later(after as u64, Event::Life { sheep, life: serial, what });
        }
    }

    /// The log's patience with a session has ended: if the process does not reach it, the log
    /// says that it is gone.
    pub(super) fn handle_session_end(&mut self, sheep: usize, serial: u64) {
        let ends = self.patience_ends(sheep, serial);
        if self.now < ends && self.life_mut(sheep, serial).is_some() {
            return self.later(ends - self.now, Event::SessionEnds { sheep, life: serial });
        }
        let off = self.sheep[sheep].is_off_log;
        let me = match self.life_mut(sheep, serial) {
            Some(life) if life.stopped.is_none() && !off => return,
            Some(life) => life.me,
            None => match self.ended.get(&serial) {
                Some(me) => *me,
                None => return,
            },
        };
        if self.log.is_out {
            self.later(TICK, Event::SessionEnds { sheep, life: serial });
            return;
        }
        self.ended.remove(&serial);
        self.append_will(serial, me);
    }

    /// The log says that a life has ended, and takes nothing more of it (W1).
    fn append_will(&mut self, serial: u64, me: Me) {
        self.log.buried.insert(serial);
        let will = if me.incarnation == Incarnation(0) {
            Command::Ended { uuid: uuid(usize::from(me.node.0)) }
        } else {
            Command::Gone { node: me.node, incarnation: me.incarnation }
        };
        self.append(&will);
    }

    /// Earlier lives of a sheep are in the log as ended before anything of this one is (W1).
    pub(super) fn bury_before(&mut self, sheep: usize, serial: u64) {
        let is_before = |(of, me): &(&u64, &Me)| **of < serial && usize::from(me.node.0) == sheep;
        let earlier: Vec<(u64, Me)> =
            self.ended.iter().filter(is_before).map(|(serial, me)| (*serial, *me)).collect();
        for (serial, me) in earlier {
            self.ended.remove(&serial);
            self.append_will(serial, me);
        }
    }

    pub(super) fn life_mut(&mut self, sheep: usize, serial: u64) -> Option<&mut Life> {
        self.sheep[sheep].life.as_mut().filter(|life| life.serial == serial)
    }

    /// A process that has joined and goes on.
    pub(super) fn serves(&self, sheep: usize) -> Option<u64> {
        let life = self.sheep[sheep].life.as_ref()?;
        (life.followed > 0).then_some(life.serial)
    }

    /// Every sheep serves and is to go on doing so.
    pub(super) fn all_serve(&self) -> bool {
        let members = &self.log.newest().members;
        let is_member = |me: Me| {
            let member = members.get(me.node);
            member.is_some_and(|member| member.up && member.incarnation == me.incarnation)
        };
        let stays = |life: &Life| life.leaving.is_none() && is_member(life.me);
        self.sheep.iter().all(|sheep| sheep.life.as_ref().is_some_and(stays))
    }

    /// Everybody has followed the log to its end.
    pub(super) fn all_follow(&self) -> bool {
        let end = self.log.len();
        let follows = |life: &Life| life.shards.iter().all(|shard| shard.applied == end);
        self.sheep.iter().all(|sheep| sheep.life.as_ref().is_some_and(follows))
    }

    pub(super) fn shard(&mut self, place: Place) -> Option<&mut Shard> {
        let life = self.sheep[usize::from(place.node.0)].life.as_mut()?;
        life.shards.get_mut(usize::from(place.shard))
    }
}

impl Life {
    fn new(serial: u64, me: Me, stores: Vec<Stores>) -> Self {
        Self {
            serial,
            me,
            followed: 0,
            fed: 0,
            last_entry: 0,
            last_mail: 0,
            shards: Vec::new(),
            stores,
            failed: BTreeSet::new(),
            waiting: BTreeMap::new(),
            stopped: None,
            heard: 0,
            hears: BTreeMap::new(),
            absences: Absences::default(),
            unused: BTreeMap::new(),
            fuse: None,
            leaving: None,
        }
    }
}

impl Shard {
    fn new(gateway: Gateway, joiner: Joiner, stores: Stores, applied: usize, now: u64) -> Self {
        Self {
            applied,
            gateway,
            joiner,
            stores,
            held: Vec::new(),
            local_replies: VecDeque::new(),
            links: BTreeMap::new(),
            incoming: BTreeMap::new(),
            door: Door::default(),
            swept: BTreeSet::new(),
            given_up: BTreeSet::new(),
            last_apply: now,
        }
    }
}
