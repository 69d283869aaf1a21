//! A shard's end of its store: who waits for which answer.
//!
//! Way: `push` queues a request and asks for a turn; turns come as events, with the disk's delay
//!      between them, and deliver replies (as the daemon's `shard::store_link`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use sheepdog_engine::gateway::Place;
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::Vid;
use sheepdog_proto::peer::Reply as PeerReply;
use sheepdog_store::serve::peer_result;
use sheepdog_store::{Reply, Request, Store, StoreError};

use super::event::{Event, Inside};
use super::join::{ListJob, PullJob};
use super::shard::ReplyTo;
use super::world::World;

pub(super) type StoreResult = Result<Reply, StoreError>;

/// What happens with a store's answer. Another component of a shard has its own variant.
#[derive(Debug)]
pub(super) enum Then {
    /// It goes to a gateway.
    Reply {
        reply_to: ReplyTo,
        id: u64,
    },
    /// It goes to a gateway, as far as the member took a group's changes when it was asked.
    ReplyList {
        reply_to: ReplyTo,
        id: u64,
        state: Arc<ClusterState>,
    },
    /// The shard's joiner asked.
    Join(u64),
    /// A joiner of another sheep did: the two answers to a pull, or a list.
    PullBlocks(Box<PullJob>),
    PullUnstable(Box<PullJob>),
    List(Box<ListJob>),
    /// A part of the list of objects, for the sweep.
    Listed(Rc<BTreeSet<Vid>>),
    /// Nobody waits.
    Nothing,
}

#[derive(Debug)]
pub(super) struct StoreLink {
    store: Store,
    waiting: BTreeMap<u64, Then>,
    last_token: u64,
}

impl StoreLink {
    pub(super) const fn new(store: Store) -> Self {
        Self { store, waiting: BTreeMap::new(), last_token: 0 }
    }

    fn push(&mut self, request: Request, then: Then) {
        self.last_token += 1;
        self.waiting.insert(self.last_token, then);
        self.store.submit(self.last_token, request);
    }

    fn turn(&mut self) -> Vec<(Then, StoreResult)> {
        self.store.turn(false);
        let waiting = &mut self.waiting;
        let pair = |(token, reply)| Some((waiting.remove(&token)?, reply));
        self.store.take_replies().into_iter().filter_map(pair).collect()
    }

    pub(super) fn tick(&mut self) {
        self.store.tick();
    }

    /// For checks when nothing is under way.
    pub(super) const fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }
}

impl World {
    /// Queues a request behind all earlier ones.
    pub(super) fn push_store(&mut self, place: Place, request: Request, then: Then) {
        if let Some(shard) = self.shard(place) {
            shard.store.push(request, then);
        }
        self.want_turn(place, (100, 5_000));
    }

    fn want_turn(&mut self, place: Place, within: (u64, u64)) {
        let sheep = usize::from(place.node.0);
        let delay = self.random.between(within.0, within.1);
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        let serial = life.serial;
        let Some(shard) = life.shards.get_mut(usize::from(place.shard)) else { return };
        if !std::mem::replace(&mut shard.has_turn, true) {
            let what = Inside::Turn { shard: place.shard };
            self.later(delay, Event::Life { sheep, life: serial, what });
        }
    }

    /// The store goes on as far as its disk does.
    pub(super) fn turn_store(&mut self, place: Place) {
        let sheep = usize::from(place.node.0);
        let Some(shard) = self.shard(place) else { return };
        shard.has_turn = false;
        let replies = shard.store.turn();
        let is_busy = shard.store.store.is_busy();
        let failure = shard.store.store.failure().cloned();
        for (then, result) in replies {
            self.take_store_reply(place, then, result);
        }
        self.run(place);
        if let Some(failure) = failure {
            self.note_store_failure(place, &failure);
        } else if is_busy {
            let delay = self.sheep[sheep].disk_ns;
            self.want_turn(place, delay);
        }
    }

    fn take_store_reply(&mut self, place: Place, then: Then, result: StoreResult) {
        match then {
            Then::Reply { reply_to, id } => {
                if let Err(error) = &result {
                    self.say(|| format!("store {}: {error}", super::show::place(place)));
                }
                self.reply(place, reply_to, PeerReply { id, result: peer_result(result) });
            }
            Then::ReplyList { reply_to, id, state } => {
                self.reply_list(place, (reply_to, id), &state, result);
            }
            Then::Join(token) => self.note_joining(place, token, result),
            Then::PullBlocks(pull) => self.take_pull_blocks(place, *pull, result),
            Then::PullUnstable(pull) => self.take_pull_unstable(place, *pull, result),
            Then::List(job) => self.take_list(place, job, result),
            Then::Listed(deleted) => self.sweep_on(place, &deleted, result),
            Then::Nothing => {}
        }
    }

    /// The sheep's only disk is of no use: it ends.
    fn note_store_failure(&mut self, place: Place, why: &StoreError) {
        let sheep = usize::from(place.node.0);
        self.say(|| format!("store {} has failed: {why}", super::show::place(place)));
        let delay = self.random.between(1_000, 3_000_000);
        let Some(life) = self.sheep[sheep].life.as_ref() else { return };
        let what = Inside::Die { why: "its disk has failed" };
        self.later(delay, Event::Life { sheep, life: life.serial, what });
    }
}
