//! A gateway's shard keeps a connection to each shard that it sends to (as the daemon's
//! `peer::outgoing` and `peer::incoming`).
//!
//! Holds:
//!   G1 after every (re)connect the gateway is told, and sends again what was not answered; what
//!      was sent before is part of that, so it is dropped.

use sheepdog_engine::gateway::Place;
use sheepdog_engine::join::JOINER_ID;
use sheepdog_proto::peer::{Reply, Request};

use super::event::{Event, Inside, Message};
use super::network::{End, way};
use super::shard::ReplyTo;
use super::show;
use super::world::World;

/// A connection that is refused is tried again after this, one that is not answered after that.
const REFUSED_NS: u64 = 50_000_000;
const SILENT_NS: u64 = 2_000_000_000;

/// The connection to one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Connecting,
    Up(u64),
}

impl World {
    pub(super) fn push_link(&mut self, from: Place, to: Place, request: Request) {
        let Some(shard) = self.shard(from) else { return };
        match shard.links.get(&to) {
            Some(Link::Up(connection)) => {
                let connection = *connection;
                self.send(connection, Message::Request(request));
            }
            Some(Link::Connecting) => {} // G1
            None => self.begin_connect(from, to, 1_000),
        }
    }

    /// Puts a message on its way.
    pub(super) fn send(&mut self, connection: u64, message: Message) {
        let delay = self.random.delay(self.profile.net_ns);
        let at = self.network.arrival(connection, way(&message), self.now, delay);
        if let Some(at) = at {
            self.queue.push(at, Event::Arrives { connection, message });
        }
    }

    fn begin_connect(&mut self, from: Place, to: Place, after: u64) {
        let sheep = usize::from(from.node.0);
        let delay = after + self.random.delay(self.profile.net_ns);
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        let serial = life.serial;
        let Some(shard) = life.shards.get_mut(usize::from(from.shard)) else { return };
        shard.links.insert(to, Link::Connecting);
        let what = Inside::Connect { shard: from.shard, place: to };
        self.later(delay, Event::Life { sheep, life: serial, what });
    }

    /// The caller tries; both ends learn of it in the same moment.
    pub(super) fn connect(&mut self, from: Place, to: Place) {
        let Some(state) = self.state_of(from) else { return };
        if !state.members.get(to.node).is_some_and(|member| member.up) {
            if let Some(shard) = self.shard(from) {
                shard.links.remove(&to); // G1: the next request makes a new one
            }
            return;
        }
        let (caller, server) = (usize::from(from.node.0), usize::from(to.node.0));
        let is_blocked =
            self.network.is_blocked(caller, server) || self.network.is_blocked(server, caller);
        let life = self.sheep[server].life.as_ref();
        let is_silent = is_blocked || life.is_some_and(|life| life.stopped.is_some());
        let Some(serial) = self.serves(server).filter(|_| !is_silent) else {
            self.begin_connect(from, to, if is_silent { SILENT_NS } else { REFUSED_NS });
            return;
        };
        let Some(own) = self.sheep[caller].life.as_ref().map(|life| life.serial) else { return };
        let (caller, server) = (End { place: from, life: own }, End { place: to, life: serial });
        let connection = self.network.connect(caller, server);
        let Some(shard) = self.shard(to) else { return };
        if let Some(old) = shard.incoming.insert(from, connection) {
            self.network.remove(old); // STREAM-TAKEOVER
            self.trace.count("connection taken over");
        }
        let Some(shard) = self.shard(from) else { return };
        shard.links.insert(to, Link::Up(connection));
        self.say(|| format!("{} is connected to {}", show::place(from), show::place(to)));
        self.is_sending_again = true;
        if let Some(shard) = self.shard(from) {
            shard.joiner.handle_reconnect(to);
        }
        self.step(from, |gateway| gateway.handle_reconnect(to)); // G1
        self.is_sending_again = false;
    }

    /// Something comes out of a connection: at whose process?
    pub(super) fn handle_arrival(&mut self, connection: u64, message: Message) {
        let Some(message) = self.network.pass(connection, message) else { return };
        let Some(known) = self.network.get(connection) else { return };
        let end = if way(&message) == 0 { known.server } else { known.caller };
        let sheep = usize::from(end.place.node.0);
        self.handle_inside(sheep, end.life, Inside::Arrived { connection, message });
    }

    /// The process reads it.
    pub(super) fn take_arrived(&mut self, connection: u64, message: Message) {
        let Some(known) = self.network.get(connection) else { return };
        let (caller, server) = (known.caller.place, known.server.place);
        match message {
            Message::Request(request) => {
                let Some(shard) = self.shard(server) else { return };
                if shard.incoming.get(&caller) == Some(&connection) {
                    self.take_request(server, ReplyTo::Peer(connection), request); // N2
                    self.run(server);
                }
            }
            Message::Reply(reply) => {
                if self.uses(caller, server, connection) {
                    self.say(|| {
                        let (to, from) = (show::place(caller), show::place(server));
                        format!("{to} <- {from} {}", show::reply(&reply))
                    });
                    self.take_reply(caller, server, reply); // N2
                }
            }
            Message::Closed => {
                self.network.remove(connection);
                if self.uses(caller, server, connection) {
                    self.begin_connect(caller, server, 1_000);
                }
            }
        }
    }

    fn take_reply(&mut self, caller: Place, server: Place, reply: Reply) {
        self.tell_lease(caller);
        let Some(shard) = self.shard(caller) else { return };
        if reply.id & JOINER_ID == 0 {
            shard.gateway.handle_reply(server, reply);
        } else {
            shard.joiner.handle_reply(server, reply);
        }
        self.run(caller);
    }

    fn uses(&mut self, caller: Place, server: Place, connection: u64) -> bool {
        self.shard(caller)
            .is_some_and(|shard| shard.links.get(&server) == Some(&Link::Up(connection)))
    }

    /// A connection breaks; what is under way is lost, or its requests arrive late.
    pub(super) fn cut(&mut self, connection: u64) {
        let Some(known) = self.network.get(connection) else { return };
        let (caller, server) = (known.caller.place, known.server.place);
        if !self.random.chance(500) {
            self.network.remove(connection);
        }
        if self.uses(caller, server, connection) {
            let line = || format!("{} loses {}", show::place(caller), show::place(server));
            self.say(line);
            let delay = self.random.between(1_000, 30_000_000);
            self.begin_connect(caller, server, delay);
        }
    }
}
