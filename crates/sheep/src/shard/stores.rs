//! The stores of a shard: one on each disk, and which of them a request is for.
//!
//! Way: what names an object goes to the disk of its bucket; what is about a VDI or about all
//!      objects goes to all, and their answers are made one ([`Merge`]).
//! Holds:
//!   SS1 what is pushed to several stores is pushed to all of them at once, so that a barrier's
//!       list comes after every operation that was admitted before it (D1);
//!   SS2 of what a store says of an object only that counts which has the object's bucket, by
//!       the table that was in force when it was asked: leftovers are not seen.
//! Not here: what is on which disk (`crate::disks`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use sheepdog_proto::Oid;
use sheepdog_proto::peer::Reply as PeerReply;
use sheepdog_store::serve::peer_result;
use sheepdog_store::{BUCKETS, Listing, Reply, Request, Store, StoreError, bucket_of};
use tokio::sync::oneshot;

use super::Shard;
use super::mover::Moving;
use super::store_link::{StoreLink, StoreResult, Then, failure};

/// After so long the log says once more that a disk is full.
const FULL_SAID_AGAIN: Duration = Duration::from_secs(60);

/// The slot that holds each bucket.
pub(crate) type Buckets = [u8; BUCKETS];

/// All stores of a shard.
pub(crate) struct Stores {
    links: RefCell<BTreeMap<u8, Rc<StoreLink>>>,
    on: RefCell<Rc<Buckets>>,
    pub(super) moving: RefCell<Option<Moving>>,
    /// When the log last said that a disk is full: waiting writes ask ten times a second.
    full_said: Cell<Option<Instant>>,
}

/// An answer that is made of several.
pub(crate) struct Merge {
    then: RefCell<Option<Then>>,
    /// SS2.
    on: Rc<Buckets>,
    left: Cell<usize>,
    parts: RefCell<Vec<(u8, StoreResult)>>,
}

impl Stores {
    pub(super) fn new(stores: BTreeMap<u8, Store>, buckets: Buckets) -> Self {
        let link = |(slot, store)| (slot, Rc::new(StoreLink::new(slot, store)));
        let links = stores.into_iter().map(link).collect();
        Self {
            links: RefCell::new(links),
            on: RefCell::new(Rc::new(buckets)),
            moving: RefCell::default(),
            full_said: Cell::default(),
        }
    }

    /// Whether the log shall say something about this error now.
    fn is_news(&self, error: &StoreError) -> bool {
        if *error != StoreError::Full {
            return !error.is_fatal(); // Those are said where the disk is given up.
        }
        let is_news = self.full_said.get().is_none_or(|said| said.elapsed() > FULL_SAID_AGAIN);
        if is_news {
            self.full_said.set(Some(Instant::now()));
        }
        is_news
    }

    /// Every store, failed ones too.
    pub(super) fn all(&self) -> Vec<Rc<StoreLink>> {
        self.links.borrow().values().cloned().collect()
    }

    pub(crate) fn link(&self, slot: u8) -> Option<Rc<StoreLink>> {
        self.links.borrow().get(&slot).cloned()
    }

    pub(super) fn insert(&self, slot: u8, store: Store) -> Rc<StoreLink> {
        let link = Rc::new(StoreLink::new(slot, store));
        self.links.borrow_mut().insert(slot, link.clone());
        link
    }

    /// Nothing is sent to this store any more.
    pub(super) fn remove(&self, slot: u8) -> Option<Rc<StoreLink>> {
        self.links.borrow_mut().remove(&slot)
    }

    /// The slot that has an object.
    pub(crate) fn slot_of(&self, oid: Oid) -> u8 {
        self.on.borrow()[usize::from(bucket_of(oid))]
    }

    /// Whether the disk of a bucket is of no use.
    pub(crate) fn lacks(&self, bucket: u8) -> bool {
        let slot = self.on.borrow()[usize::from(bucket)];
        self.links.borrow().get(&slot).is_none_or(|link| link.has_failed())
    }

    /// Whether the disk of any bucket may be of no use.
    pub(crate) fn has_failures(&self) -> bool {
        self.on
            .borrow()
            .iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .any(|slot| self.links.borrow().get(slot).is_none_or(|link| link.has_failed()))
    }

    /// A bucket is on its way to another disk.
    pub(super) fn is_moving(&self) -> bool {
        self.moving.borrow().is_some()
    }

    /// The slot of the disk that holds a bucket.
    pub(super) fn slot_of_bucket(&self, bucket: u8) -> u8 {
        self.on.borrow()[usize::from(bucket)]
    }

    /// Queues a request behind all earlier ones. An answer that no store can give comes back.
    #[must_use]
    pub(crate) fn push(&self, request: Request, then: Then) -> Option<(Then, StoreResult)> {
        let Some(oid) = request.oid() else {
            if let Some(moving) = self.moving.borrow_mut().as_mut() {
                moving.note(&request);
            }
            let links = self.all();
            return self.push_to(
                links.into_iter().filter(|link| !link.has_failed()),
                request,
                then,
            );
        };
        let other =
            self.moving.borrow_mut().as_mut().and_then(|moving| moving.other(oid, &request));
        let own = self.link(self.slot_of(oid));
        match (own, other) {
            (Some(own), None) => own.push(request, then),
            // MV4
            (Some(own), Some(other)) => match (self.link(other.slot), other.is_needed) {
                (Some(new), true) => return self.push_to([own, new].into_iter(), request, then),
                (Some(new), false) => {
                    own.push(request.clone(), then);
                    // What the new disk does not have yet exists all the same.
                    let request = match request {
                        Request::Existing(inner) => *inner,
                        other => other,
                    };
                    new.push(request, Then::Doubled { id: other.id });
                }
                (None, _) => return Some((then, Err(failure("its new disk is not there")))),
            },
            (None, _) => return Some((then, Err(failure("its disk is not there")))),
        }
        None
    }

    fn push_to(
        &self,
        links: impl Iterator<Item = Rc<StoreLink>>,
        request: Request,
        then: Then,
    ) -> Option<(Then, StoreResult)> {
        let links: Vec<_> = links.collect();
        if links.is_empty() {
            return Some((then, Err(failure("no disk is left"))));
        }
        if matches!(then, Then::Nothing) {
            links.iter().for_each(|link| link.push(request.clone(), Then::Nothing));
            return None;
        }
        let merge = Rc::new(Merge {
            then: RefCell::new(Some(then)),
            on: self.on.borrow().clone(),
            left: Cell::new(links.len()),
            parts: RefCell::default(),
        });
        for link in links {
            let part = Then::Part(Part { merge: merge.clone(), slot: link.slot });
            link.push(request.clone(), part); // SS1
        }
        None
    }

    /// Another table is in force.
    pub(super) fn set_buckets(&self, buckets: Buckets) {
        *self.on.borrow_mut() = Rc::new(buckets);
    }
}

/// One store's part of an answer.
pub(crate) struct Part {
    merge: Rc<Merge>,
    slot: u8,
}

impl Part {
    /// Takes the part. When it is the last one: the whole, and for whom.
    fn take(self, result: StoreResult) -> Option<(Then, StoreResult)> {
        let merge = self.merge;
        merge.parts.borrow_mut().push((self.slot, result));
        merge.left.set(merge.left.get() - 1);
        if merge.left.get() > 0 {
            return None;
        }
        let then = merge.then.borrow_mut().take()?;
        let parts = std::mem::take(&mut *merge.parts.borrow_mut());
        Some((then, whole(&merge.on, parts)))
    }
}

/// Makes one answer of those of several stores. An error of one is the error of all: a failure
/// first, for it tells who is to blame.
fn whole(on: &Buckets, parts: Vec<(u8, StoreResult)>) -> StoreResult {
    let fatal = |(_, part): &(u8, StoreResult)| part.as_ref().is_err_and(StoreError::is_fatal);
    if let Some(at) = parts.iter().position(fatal) {
        return parts.into_iter().nth(at).map_or(Ok(Reply::Done { blocks: 0 }), |(_, part)| part);
    }
    let is_on = |slot: u8, oid: Oid| on[usize::from(bucket_of(oid))] == slot; // SS2
    let mut unstable = BTreeSet::new();
    let mut listings = Vec::new();
    let mut blocks = 0;
    let mut last = None;
    for (slot, part) in parts {
        match part? {
            Reply::Done { blocks: changed } => blocks = changed.max(blocks),
            Reply::Unstable(list) => {
                unstable.extend(list.into_iter().filter(|change| is_on(slot, change.oid)));
                last = Some(Reply::Unstable(Vec::new()));
            }
            Reply::List(mut listing) => {
                listing.objects.retain(|object| is_on(slot, object.oid));
                listing.rotten.retain(|(oid, _)| is_on(slot, *oid));
                listings.push(listing);
                last = Some(Reply::List(Listing::default()));
            }
            other => last = Some(other),
        }
    }
    Ok(match last {
        None => Reply::Done { blocks },
        Some(Reply::Unstable(_)) => Reply::Unstable(unstable.into_iter().collect()),
        Some(Reply::List(_)) => Reply::List(one_listing(listings)),
        Some(other) => other,
    })
}

/// Objects of all stores in order, up to where the first of them has not looked further.
fn one_listing(listings: Vec<Listing>) -> Listing {
    let next = listings.iter().filter_map(|listing| listing.next).min();
    let is_in = |oid: Oid| next.is_none_or(|next| oid <= next);
    let mut one = Listing { next, ..Listing::default() };
    for listing in listings {
        one.objects.extend(listing.objects.into_iter().filter(|object| is_in(object.oid)));
        one.rotten.extend(listing.rotten.into_iter().filter(|(oid, _)| is_in(*oid)));
    }
    one.objects.sort_unstable_by_key(|object| object.oid);
    one.rotten.sort_unstable_by_key(|(oid, _)| *oid);
    one
}

impl Shard {
    /// Queues a request for the disk that it is about, or for all.
    pub(crate) fn push_store(self: &Rc<Self>, request: Request, then: Then) {
        if let Some((then, result)) = self.stores.push(request, then) {
            self.take_store_reply(then, result);
        }
    }

    /// Queues a request and waits for its answer.
    pub(crate) async fn ask_store(self: &Rc<Self>, request: Request) -> Option<StoreResult> {
        let (sender, receiver) = oneshot::channel();
        self.push_store(request, Then::Tell(sender));
        receiver.await.ok()
    }

    /// An answer for whoever waits for it.
    pub(super) fn take_store_reply(self: &Rc<Self>, then: Then, result: StoreResult) {
        if let Then::Part(part) = then {
            if let Some((then, result)) = part.take(result) {
                self.take_store_reply(then, result);
            }
            return;
        }
        if let Err(error) = &result
            && self.stores.is_news(error)
        {
            tracing::warn!(%error, "store");
        }
        match then {
            Then::Reply { reply_to, id, bytes, started, changed } => {
                self.note_replica(bytes, started, result.is_ok());
                if let (Err(StoreError::Corrupt(_)), Some(oid)) = (&result, changed) {
                    self.joiner.borrow_mut().note_rot(oid);
                }
                self.reply(&reply_to, PeerReply { id, result: peer_result(result) });
            }
            Then::ReplyList { reply_to, id, state } => {
                self.reply_list((&reply_to, id), &state, result);
            }
            Then::Join(token) => self.note_joining(token, result),
            Then::Tell(waiting) => {
                let _ = waiting.send(result);
            }
            Then::Doubled { id } if result.is_err() => self.stores.note_broken(id),
            Then::Doubled { .. } | Then::Part(_) | Then::Nothing => {}
        }
    }
}

#[cfg(test)]
#[path = "stores/tests.rs"]
mod tests;
