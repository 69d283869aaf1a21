//! The world: everything there is, and the next thing that happens to it.

use std::collections::BTreeMap;

use sheepdog_engine::gateway::{Gateway, Me, Place};
use sheepdog_proto::command::Command;
use sheepdog_proto::peer::{Request, RequestBody};
use sheepdog_proto::{Incarnation, NodeId, Vid};
use sheepdog_store::FakeDisk;

use super::check::fence::Fence;
use super::client::Client;
use super::control::Proposal;
use super::event::{Event, Inside};
use super::life::{Sheep, TICK};
use super::log::Log;
use super::network::Network;
use super::profile::Profile;
use super::queue::Queue;
use super::random::Random;
use super::trace::Trace;

/// Points on the ring that a sheep has at first.
const WEIGHT: u32 = 16;

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) queue: Queue,
    pub(super) random: Random,
    pub(super) profile: Profile,
    pub(super) log: Log,
    pub(super) sheep: Vec<Sheep>,
    pub(super) network: Network,
    pub(super) clients: Vec<Client>,
    pub(super) proposals: BTreeMap<u64, Proposal>,
    pub(super) proposed: u64,
    pub(super) lives: u64,
    /// Lives of which the log has not been told that they have ended.
    pub(super) ended: BTreeMap<u64, Me>,
    pub(super) fence: Fence,
    pub(super) trace: Trace,
    /// Nothing breaks any more.
    pub(super) is_healing: bool,
    /// What follows is sent because a connection was made anew.
    pub(super) is_sending_again: bool,
    /// The first property that was found violated.
    trouble: Option<String>,
}

impl World {
    /// All sheep have joined an empty cluster, which is formatted.
    pub(super) fn new(seed: u64, trace: Trace) -> Self {
        let mut random = Random::new(seed);
        let profile = Profile::new(seed, &mut random);
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            random,
            log: Log::new(),
            sheep: Vec::new(),
            network: Network::default(),
            clients: Vec::new(),
            proposals: BTreeMap::new(),
            proposed: 0,
            lives: 0,
            ended: BTreeMap::new(),
            fence: Fence::default(),
            trace,
            is_healing: false,
            is_sending_again: false,
            trouble: None,
            profile,
        };
        world.say(|| format!("seed {seed}: {:?}", world.profile));
        let early = world.profile.sheep - world.profile.late;
        for sheep in 0..world.profile.sheep {
            world.add_sheep(sheep, sheep >= early);
        }
        world.format();
        for client in 0..world.profile.clients {
            world.add_client(client);
        }
        world
    }

    fn add_sheep(&mut self, sheep: usize, is_late: bool) {
        let of_shard = || (0..self.profile.disks).map(|_| FakeDisk::new()).collect();
        let disks: Vec<Vec<_>> = (0..self.profile.shards).map(|_| of_shard()).collect();
        disks.iter().flatten().for_each(|disk| disk.shuffle(self.random.roll()));
        let disk_ns = self.profile.disk_ns;
        let weight = if is_late { 0 } else { WEIGHT };
        self.sheep.push(Sheep { disks, life: None, is_off_log: false, disk_ns, weight });
        // The node's number is its place in the order of the first joins.
        let join = self.join_command(sheep);
        let index = self.append(&join);
        if !is_late {
            return self.start(sheep);
        }
        let (node, incarnation) = (NodeId(sheep as u16), Incarnation(index as u64));
        self.append(&Command::Gone { node, incarnation });
        self.sheep[sheep].weight = WEIGHT;
        let delay = self.random.below(self.profile.danger_ns);
        self.later(delay, Event::Start { sheep });
    }

    fn format(&mut self) {
        let command = Command::Format {
            cluster: 7,
            time_ns: 0,
            partition_bits: self.profile.partition_bits,
            object_shift: 20,
            copies: self.profile.copies,
        };
        self.append(&command);
        assert!(self.log.outcome(self.log.len()).is_ok(), "an empty cluster can be formatted");
    }

    /// Schedules an event.
    pub(super) fn later(&mut self, delay: u64, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    pub(super) fn say(&self, line: impl FnOnce() -> String) {
        self.trace.say(self.now, line);
    }

    /// A property is violated; the run ends.
    pub(super) fn blame(&mut self, what: String) {
        self.say(|| format!("WRONG: {what}"));
        self.trouble.get_or_insert(what);
    }

    /// Lets things happen until `end` or until something is wrong.
    pub(super) fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some((at, event)) = self.queue.pop_before(end) {
            self.now = at;
            let [kind, what, whom] = event.code();
            self.trace.note([at, kind, what, whom]);
            self.trace.count("events");
            self.happen(event);
            if let Some(trouble) = &self.trouble {
                return Err(trouble.clone());
            }
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Life { sheep, life, what } => self.handle_inside(sheep, life, what),
            Event::Arrives { connection, message } => self.handle_arrival(connection, message),
            Event::Append { proposal } => self.handle_append(proposal),
            Event::Start { sheep } => self.start(sheep),
            Event::SessionEnds { sheep, life } => self.handle_session_end(sheep, life),
            Event::Wake { sheep, life } => self.wake(sheep, life),
            Event::Client { client } => self.handle_client(client),
            Event::Told { caller, what } => self.handle_told(caller, what),
            Event::Fault => self.handle_fault(),
            Event::Mend { what } => self.mend(&what),
            Event::Inspect => self.inspect(),
        }
    }

    /// Something happens to a process, if it is there still, and when it goes on.
    pub(super) fn handle_inside(&mut self, sheep: usize, serial: u64, what: Inside) {
        let Some(life) = self.life_mut(sheep, serial) else { return };
        if let Some(stopped) = &mut life.stopped {
            stopped.push_back(what);
            return;
        }
        let place = |shard| Place { node: NodeId(sheep as u16), shard };
        match what {
            Inside::Joined { index } => self.handle_joined(sheep, index),
            Inside::Tick => self.tick(sheep, serial),
            Inside::Follow { index } => self.follow(sheep, index),
            Inside::Apply { shard, index } => self.apply(place(shard), index),
            Inside::Turn { shard } => {
                if let Some(shard) = self.shard(place(shard)) {
                    shard.stores.has_turn = false;
                }
                self.turn_stores(place(shard));
            }
            Inside::Arrived { connection, message } => self.take_arrived(connection, message),
            Inside::MailRequest { from, to, request } => {
                self.take_request(place(to), super::shard::ReplyTo::Shard(from), request);
                self.run(place(to));
            }
            Inside::MailReply { from, to, reply } => {
                self.step(place(to), |gateway| gateway.handle_reply(place(from), reply));
            }
            Inside::Appended { proposal, index } => self.handle_appended(sheep, proposal, index),
            Inside::Retry { proposal } => self.retry(proposal),
            Inside::Connect { shard, place: to } => self.connect(place(shard), to),
            Inside::Attach { caller, vid } => self.attach(self.door(sheep, vid), caller, vid),
            Inside::Detach { caller, vid } => {
                self.detach(self.door(sheep, vid), Some(caller), vid);
            }
            Inside::Impatient { shard, vid } => self.handle_impatience(place(shard), vid),
            Inside::Submit { caller, number, vid, operation } => {
                self.submit(self.door(sheep, vid), (caller, number), vid, operation);
            }
            Inside::DiskFailed { slot } => self.handle_disk_failure(sheep, slot),
            Inside::Demote => self.demote(sheep),
            Inside::Leave => self.leave(sheep),
            Inside::Die { why } => self.kill(sheep, why),
        }
    }

    /// The shard that serves a VDI.
    pub(super) fn door(&self, sheep: usize, vid: Vid) -> Place {
        let shard = (vid.get() % u32::from(self.profile.shards)) as u16;
        Place { node: NodeId(sheep as u16), shard }
    }

    /// Another component of a shard has its tick here, too.
    fn tick(&mut self, sheep: usize, serial: u64) {
        self.later(TICK, Event::Life { sheep, life: serial, what: Inside::Tick });
        self.beat(sheep);
        self.tell_absences(sheep);
        self.release_idle(sheep, serial);
        for shard in 0..self.profile.shards {
            let place = Place { node: NodeId(sheep as u16), shard };
            self.step(place, Gateway::tick);
            self.tick_joiner(place);
            if let Some(shard) = self.shard(place) {
                shard.stores.tick();
                self.turn_stores(place);
            }
        }
    }

    fn inspect(&mut self) {
        self.trace.count("looks at what a power cut would leave");
        if let Err(what) = self.check_power_cut() {
            self.blame(what);
        }
        if !self.is_healing {
            let pause = self.random.between(200_000_000, self.profile.danger_ns);
            self.later(pause, Event::Inspect);
        }
    }

    /// Counts what seeds shall reach.
    pub(super) fn note_sent(&mut self, from: Place, request: &Request) {
        if self.is_sending_again && request.body != RequestBody::Watermark {
            self.trace.count("request sent again after a reconnect");
        }
        let is_mutation = matches!(
            request.body,
            RequestBody::Write { .. } | RequestBody::Hole { .. } | RequestBody::Reset { .. }
        );
        let name = match &request.body {
            RequestBody::Barrier { .. } => "sent: barrier",
            RequestBody::Settle { .. } => "sent: settle",
            RequestBody::Watermark => "sent: watermark of an idle attachment",
            RequestBody::Ping => "sent: ping",
            RequestBody::Heal { .. } => "sent: heal",
            RequestBody::Look { .. } => "sent: look",
            RequestBody::Read { .. } => "sent: read",
            RequestBody::Reset { .. } => "sent: reset",
            RequestBody::Hole { .. } => "sent: hole",
            RequestBody::Write { .. } => "sent: write",
            RequestBody::List { .. } => "sent: list for a joiner",
            RequestBody::Pull { with_data: false, .. } => "sent: stamps for a joiner",
            RequestBody::Pull { with_data: true, .. } => "sent: blocks for a joiner",
        };
        self.trace.count(name);
        let vid = request.vid;
        if is_mutation && self.shard(from).is_some_and(|shard| !shard.gateway.is_live(vid)) {
            self.trace.count("copies that differed, repaired before serving");
        }
    }
}
