//! Connections between shards: first in, first out, and mortal.
//!
//! Way: `link` sends; what arrives is an event of its own, so that connections do not wait for
//!      each other. A way that is blocked keeps what comes, as a network that lost packets which
//!      are sent again; a connection that breaks loses it, or delivers it late.
//! Holds:
//!   N1 what goes one way through one connection arrives in order;
//!   N2 a request arrives only while the connection is the newest of its caller at the receiver
//!      (STREAM-TAKEOVER), a reply only while it is the one that the caller uses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sheepdog_engine::gateway::Place;

use super::event::Message;

/// One end of a connection: a shard of one life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) place: Place,
    pub(super) life: u64,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) caller: End,
    pub(super) server: End,
    /// When the last of each direction arrives: to the server, to the caller.
    last: [u64; 2],
    /// What waits because its way is blocked.
    stuck: [VecDeque<Message>; 2],
}

#[derive(Debug, Default)]
pub(super) struct Network {
    connections: BTreeMap<u64, Connection>,
    blocked: BTreeSet<(usize, usize)>,
    made: u64,
}

/// Which way a message goes: 0 to the server, 1 to the caller.
pub(super) const fn way(message: &Message) -> usize {
    match message {
        Message::Request(_) => 0,
        Message::Reply(_) | Message::Closed => 1,
    }
}

impl Network {
    pub(super) fn connect(&mut self, caller: End, server: End) -> u64 {
        self.made += 1;
        let stuck = [VecDeque::new(), VecDeque::new()];
        let connection = Connection { caller, server, last: [0; 2], stuck };
        self.connections.insert(self.made, connection);
        self.made
    }

    pub(super) fn get(&self, id: u64) -> Option<&Connection> {
        self.connections.get(&id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Connection> {
        self.connections.remove(&id)
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }

    /// When something that is sent now, with this delay, arrives (N1).
    pub(super) fn arrival(&mut self, id: u64, way: usize, now: u64, delay: u64) -> Option<u64> {
        let connection = self.connections.get_mut(&id)?;
        let at = (now + delay).max(connection.last[way] + 1);
        connection.last[way] = at;
        Some(at)
    }

    /// Keeps a message whose way is blocked; gives back one that may pass.
    pub(super) fn pass(&mut self, id: u64, message: Message) -> Option<Message> {
        let way = way(&message);
        let connection = self.connections.get_mut(&id)?;
        let (from, to) = ends(connection, way);
        if connection.stuck[way].is_empty() && !self.blocked.contains(&(from, to)) {
            return Some(message);
        }
        connection.stuck[way].push_back(message);
        None
    }

    pub(super) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains(&(from, to))
    }

    pub(super) fn block(&mut self, from: usize, to: usize) {
        if from != to {
            self.blocked.insert((from, to));
        }
    }

    /// Opens a way; what waited for it comes back, in order.
    pub(super) fn open(&mut self, from: usize, to: usize) -> Vec<(u64, Message)> {
        self.blocked.remove(&(from, to));
        let mut freed = Vec::new();
        for (id, connection) in &mut self.connections {
            for way in 0..2 {
                if ends(connection, way) == (from, to) {
                    let stuck = std::mem::take(&mut connection.stuck[way]);
                    freed.extend(stuck.into_iter().map(|message| (*id, message)));
                }
            }
        }
        freed
    }

    pub(super) fn blocked(&self) -> Vec<(usize, usize)> {
        self.blocked.iter().copied().collect()
    }
}

fn ends(connection: &Connection, way: usize) -> (usize, usize) {
    let caller = usize::from(connection.caller.place.node.0);
    let server = usize::from(connection.server.place.node.0);
    if way == 0 { (caller, server) } else { (server, caller) }
}

#[cfg(test)]
#[path = "network/tests.rs"]
mod tests;
