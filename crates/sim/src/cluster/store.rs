//! A shard's stores, one on each disk: who waits for which answer, and which store is asked.
//!
//! Way: `push` queues a request and asks for a turn; turns come as events, with the disk's delay
//!      between them, and deliver replies (as the daemon's `shard::stores` and `store_link`).
//!      What names an object goes to the store of its bucket, everything else to all that work,
//!      and their answers are made one.
//! Holds:
//!   D2 as long as a sheep is in sync, by its own state, with a group whose disk is of no use, it
//!      answers no barrier of that class.
//! Not here: other disks for the buckets of one that failed; a group that the sheep has left has
//!      no copy here until its process ends.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use sheepdog_engine::gateway::Place;
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::peer::Reply as PeerReply;
use sheepdog_proto::{Oid, Vid};
use sheepdog_store::serve::peer_result;
use sheepdog_store::{Listing, Reply, Request, Store, StoreError, bucket_of};

use super::event::{Event, Inside};
use super::join::{ListJob, PullJob};
use super::shard::ReplyTo;
use super::show;
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
    /// The unstable list, of which the sweep takes back what nobody needs.
    Unneeded,
    /// Nobody waits.
    Nothing,
    /// It is one of several that make one answer.
    Part(Rc<RefCell<Merge>>),
}

/// An answer that is made of several.
#[derive(Debug)]
pub(super) struct Merge {
    then: Option<Then>,
    left: usize,
    parts: Vec<StoreResult>,
}

#[derive(Debug)]
struct Link {
    store: Store,
    waiting: BTreeMap<u64, Then>,
}

#[derive(Debug)]
pub(super) struct Stores {
    /// By slot of the disk.
    links: Vec<Link>,
    /// Slots of disks that are of no use any more.
    failed: BTreeSet<usize>,
    last_token: u64,
    pub(super) has_turn: bool,
}

/// What a turn of all stores of a shard brought.
struct Turned {
    replies: Vec<(Then, StoreResult)>,
    /// Slots of disks that have failed just now.
    failures: Vec<(usize, StoreError)>,
}

/// The slot of the disk that has an object.
pub(super) fn slot_of(oid: Oid, slots: usize) -> usize {
    usize::from(bucket_of(oid)) % slots
}

impl Stores {
    pub(super) fn new(stores: Vec<Store>) -> Self {
        let link = |store| Link { store, waiting: BTreeMap::new() };
        let links = stores.into_iter().map(link).collect();
        Self { links, failed: BTreeSet::new(), last_token: 0, has_turn: false }
    }

    fn push(&mut self, request: Request, then: Then) {
        if let Some(oid) = request.oid() {
            let slot = slot_of(oid, self.links.len());
            self.push_to(slot, request, then);
            return;
        }
        let working = (0..self.links.len()).filter(|slot| !self.failed.contains(slot));
        let working: Vec<usize> = working.collect();
        if let [only] = working[..] {
            self.push_to(only, request, then);
            return;
        }
        let (left, parts) = (working.len(), Vec::new());
        let merge = Rc::new(RefCell::new(Merge { then: Some(then), left, parts }));
        for slot in working {
            self.push_to(slot, request.clone(), Then::Part(merge.clone()));
        }
    }

    fn push_to(&mut self, slot: usize, request: Request, then: Then) {
        self.last_token += 1;
        let link = &mut self.links[slot];
        link.waiting.insert(self.last_token, then);
        link.store.submit(self.last_token, request); // answered with the failure after one
    }

    /// All go on as far as they can.
    fn turn(&mut self) -> Turned {
        let (mut replies, mut failures) = (Vec::new(), Vec::new());
        for (slot, Link { store, waiting }) in self.links.iter_mut().enumerate() {
            store.turn(false);
            let pair = |(token, reply)| Some((waiting.remove(&token)?, reply));
            replies.extend(store.take_replies().into_iter().filter_map(pair));
            if let Some(failure) = store.failure()
                && self.failed.insert(slot)
            {
                failures.push((slot, failure.clone()));
            }
        }
        Turned { replies, failures }
    }

    fn is_busy(&self) -> bool {
        let works = |(slot, _): &(usize, &Link)| !self.failed.contains(slot);
        self.links.iter().enumerate().filter(works).any(|(_, link)| link.store.is_busy())
    }

    pub(super) fn tick(&mut self) {
        self.links.iter_mut().for_each(|link| link.store.tick());
    }

    /// Nothing is asked of this disk any more.
    pub(super) fn give_up(&mut self, slot: usize) {
        self.failed.insert(slot);
    }

    /// A disk is of no use any more.
    pub(super) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// For what is done to all while nothing is under way.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Store> {
        self.links.iter_mut().map(|link| &mut link.store)
    }
}

impl World {
    /// Queues a request behind all earlier ones.
    pub(super) fn push_store(&mut self, place: Place, request: Request, then: Then) {
        if let Some(shard) = self.shard(place) {
            shard.stores.push(request, then);
        }
        self.want_turn(place, (100, 5_000));
    }

    /// D2.
    pub(super) fn cannot_list(&mut self, place: Place, vid: Vid) -> bool {
        if self.shard(place).is_none_or(|shard| shard.stores.failed.is_empty()) {
            return false;
        }
        let Some(state) = self.state_of(place) else { return true };
        let Some(vdi) = state.catalogue.get_used(vid) else { return false };
        let policy = state.policies.get(usize::from(vdi.policy.0));
        // Each group has a part in every disk.
        policy.is_some_and(|p| p.groups.iter().any(|group| group.takes(place.node)))
    }

    fn want_turn(&mut self, place: Place, within: (u64, u64)) {
        let sheep = usize::from(place.node.0);
        let delay = self.random.between(within.0, within.1);
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        let serial = life.serial;
        let Some(shard) = life.shards.get_mut(usize::from(place.shard)) else { return };
        if !std::mem::replace(&mut shard.stores.has_turn, true) {
            let what = Inside::Turn { shard: place.shard };
            self.later(delay, Event::Life { sheep, life: serial, what });
        }
    }

    /// The stores go on as far as their disks do.
    pub(super) fn turn_stores(&mut self, place: Place) {
        let sheep = usize::from(place.node.0);
        let Some(shard) = self.shard(place) else { return };
        let Turned { replies, failures } = shard.stores.turn();
        let is_busy = shard.stores.is_busy();
        for (slot, failure) in failures {
            self.say(|| format!("disk {slot} of {} has failed: {failure}", show::place(place)));
            self.note_disk_failure(sheep, slot);
        }
        for (then, result) in replies {
            self.take_store_reply(place, then, result);
        }
        self.run(place);
        if is_busy {
            let delay = self.sheep[sheep].disk_ns;
            self.want_turn(place, delay);
        }
    }

    fn take_store_reply(&mut self, place: Place, then: Then, result: StoreResult) {
        match then {
            Then::Reply { reply_to, id } => {
                if let Err(error) = &result {
                    self.say(|| format!("store {}: {error}", show::place(place)));
                    if *error == StoreError::Full {
                        self.trace.count("request that found no room");
                    }
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
            Then::Unneeded => self.take_back_free(place, result),
            Then::Nothing => {}
            Then::Part(merge) => {
                let whole = merge.borrow_mut().take(result);
                if let Some((then, result)) = whole {
                    self.take_store_reply(place, then, result);
                }
            }
        }
    }
}

impl Merge {
    /// Takes a part. When it is the last one: the whole, and for whom.
    fn take(&mut self, part: StoreResult) -> Option<(Then, StoreResult)> {
        self.parts.push(part);
        self.left -= 1;
        if self.left > 0 {
            return None;
        }
        Some((self.then.take()?, whole(std::mem::take(&mut self.parts))))
    }
}

/// Makes one answer of several; an error of one is the error of all.
fn whole(parts: Vec<StoreResult>) -> StoreResult {
    let (mut unstable, mut listings) = (BTreeSet::new(), Vec::new());
    let mut last = Reply::Done { blocks: 0 };
    for part in parts {
        match part? {
            Reply::Unstable(list) => {
                unstable.extend(list);
                last = Reply::Unstable(Vec::new());
            }
            Reply::List(listing) => {
                listings.push(listing);
                last = Reply::List(Listing::default());
            }
            other => last = other,
        }
    }
    Ok(match last {
        Reply::Unstable(_) => Reply::Unstable(unstable.into_iter().collect()),
        Reply::List(_) => Reply::List(one_listing(listings)),
        other => other,
    })
}

/// Objects of all in order, up to where the first of them has not looked further.
fn one_listing(listings: Vec<Listing>) -> Listing {
    let next = listings.iter().filter_map(|listing| listing.next).min();
    let is_in = |oid: Oid| next.is_none_or(|next| oid <= next);
    let mut one = Listing { next, ..Listing::default() };
    for listing in listings {
        one.objects.extend(listing.objects.into_iter().filter(|object| is_in(object.oid)));
        one.rotten.extend(listing.rotten.into_iter().filter(|(oid, _)| is_in(*oid)));
    }
    one.objects.sort_unstable_by_key(|object| object.oid);
    one
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
