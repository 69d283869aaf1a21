//! The first Sheepdog's client protocol, for QEMU's old driver and tgt.
//!
//! Why: existing VMs reach their disks without being changed.
//! Way: [`Shard::serve`] reads frames (`frame`), understands them (`plan`), and either answers from
//!      the cluster state, starts a control request (`vdi`), or puts the request on the queue of
//!      its VDI (`queue`), which submits it to the door. Finished replies gather in the
//!      connection's outbox (`connection`) and leave in one vectored write.
//! Holds:
//!   L1 requests of one VDI are submitted in the order in which they were read from sockets;
//!   L2 a write is read from a socket and admitted only while its peer is still there, so that
//!      what a closed connection left unread never runs after a newer request of that client
//!      (STREAM-TAKEOVER);
//!   L3 no task is made per request, and nothing is allocated by a length that is not legal;
//!   L4 a connection holds at most `IN_FLIGHT_BYTES_MAX` of requests and replies, or one.
//! Not here: bytes of the protocol (proto::legacy), attachments (engine), listening (sheep).

mod code;
mod connection;
mod frame;
mod inode;
mod lookup;
mod plan;
mod queue;
mod session;
mod socket;
mod vdi;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Instant;

use sheepdog_proto::Vid;

use crate::door::{Door, Socket};
use connection::Connection;
use queue::Queue;

/// What the legacy connections of one shard share. One for each shard, on its thread.
pub struct Shard<D> {
    door: D,
    queues: RefCell<BTreeMap<Vid, Rc<Queue<D>>>>,
    connections: RefCell<BTreeMap<u64, Weak<Connection>>>,
}

impl<D: Door> Shard<D> {
    /// For the shard of `door`.
    pub fn new(door: D) -> Rc<Self> {
        let (queues, connections) = (RefCell::default(), RefCell::default());
        Rc::new(Self { door, queues, connections })
    }

    /// Serves one client connection until it ends or is handed over to another shard. `unread` are
    /// bytes already received, `number` is the connection's in [`crate::opener::Openers`]; it is
    /// disconnected there when the client is gone. Must run inside a tokio `LocalSet`.
    pub async fn serve(self: Rc<Self>, socket: Socket, unread: Vec<u8>, number: u64) {
        session::serve(self, socket, unread, number).await;
    }

    /// The queue of `vid`, made if there is none.
    fn queue(&self, vid: Vid) -> Rc<Queue<D>> {
        let mut queues = self.queues.borrow_mut();
        queues.entry(vid).or_insert_with(|| Queue::new(self.door.clone(), vid)).clone()
    }

    /// A connection has ended: forgets it, and queues that nobody uses any more.
    fn forget(&self, number: u64) {
        self.connections.borrow_mut().remove(&number);
        self.queues.borrow_mut().retain(|_, queue| !Queue::is_unused(queue));
    }

    /// Tells the openers of every client of this shard that has closed without our having read so
    /// far: a VM that was killed and started again must not find its own old lock.
    fn disconnect_closed(&self) {
        for (number, connection) in self.connections.borrow().iter() {
            if connection.upgrade().is_some_and(|connection| connection.is_peer_closed()) {
                self.door.openers().disconnect(*number, Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests;
