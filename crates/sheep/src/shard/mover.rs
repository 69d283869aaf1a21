//! The mover: copies this shard's part of a bucket to another disk while clients change it.
//!
//! Way: the control thread orders one bucket at a time; `BucketCopy` (store) says what to ask which
//!      store; when all is copied the control thread is told, and changes go on to both disks until
//!      it says where the bucket is. Then the copies that are left are forgotten.
//! Holds:
//!   MV1 what the copy asks of a store is asked in the same call as `step`, before anything that
//!       clients ask later;
//!   MV2 a bucket is forgotten only on a disk that neither holds it nor is about to, when nobody
//!       waits for an answer of that disk from before;
//!   MV3 at most one chunk (1 MiB) of a shard is on its way at a time, and as long as that takes
//!       the mover pauses;
//!   MV4 while a bucket is copied the disk that holds it answers alone, so that a new disk which
//!       is full or fails holds up nobody; before the shard says that it has copied its part,
//!       nothing that was answered so is missing, and later answers need both.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sheepdog_proto::Oid;
use sheepdog_store::copy::{BucketCopy, Side, Step};
use sheepdog_store::{Reply, Request, StoreError, bucket_of};
use tokio::sync::oneshot;

use super::Shard;
use super::disk::MoveOrder;
use super::store_link::{StoreLink, StoreResult, Then};
use super::stores::Stores;
use crate::shared::DiskEvent;

/// The longest pause after a chunk.
const PAUSE_MAX: Duration = Duration::from_millis(50);
const LIST_LIMIT: usize = 1000;

/// The bucket that moves.
pub(super) struct Moving {
    order: MoveOrder,
    copy: BucketCopy,
    /// Changes go to both disks.
    is_double: bool,
    /// They are answered when both have them; before, when the one has that holds the bucket.
    needs_both: bool,
    /// The new disk lacks a change that was answered.
    is_broken: bool,
}

/// Where a request goes besides.
#[derive(Clone, Copy)]
pub(super) struct Other {
    pub(super) slot: u8,
    pub(super) id: u64,
    pub(super) is_needed: bool,
}

impl Moving {
    /// The slot of the disk to which a request must go besides.
    pub(super) fn other(&mut self, oid: Oid, request: &Request) -> Option<Other> {
        if !self.is_double || bucket_of(oid) != self.order.bucket {
            return None;
        }
        if matches!(request, Request::Reset { .. }) {
            self.copy.note_reset(oid);
        }
        let is_read = matches!(request, Request::Read { .. } | Request::Stamps { .. });
        let MoveOrder { id, to: slot, .. } = self.order;
        (!is_read).then_some(Other { slot, id, is_needed: self.needs_both })
    }
}

impl Moving {
    /// Objects go on all disks: what was read of them before must not be written behind it.
    pub(super) fn note(&mut self, request: &Request) {
        match request {
            Request::Drop { oids, .. } => oids.iter().for_each(|oid| self.copy.note_reset(*oid)),
            Request::Undo { changes } => {
                changes.iter().for_each(|change| self.copy.note_reset(change.oid));
            }
            _ => {}
        }
    }
}

impl Stores {
    fn begin_move(&self, order: MoveOrder) {
        let copy = BucketCopy::new(order.bucket);
        *self.moving.borrow_mut() =
            Some(Moving { order, copy, is_double: false, needs_both: false, is_broken: false });
    }

    /// Lets a move take a step, unless it has ended.
    fn with_move<T>(&self, id: u64, step: impl FnOnce(&mut Moving) -> T) -> Option<T> {
        let mut moving = self.moving.borrow_mut();
        moving.as_mut().filter(|moving| moving.order.id == id).map(step)
    }

    /// A move has ended, and the bucket is where it was.
    pub(super) fn stay(&self, id: u64) {
        self.moving.borrow_mut().take_if(|moving| moving.order.id == id);
    }

    /// The new disk refused a change that need not wait for it (MV4).
    pub(super) fn note_broken(&self, id: u64) {
        self.with_move(id, |moving| moving.is_broken = true);
    }

    /// Whether a disk holds a bucket, or is about to.
    fn uses(&self, slot: u8, bucket: u8) -> bool {
        let moving = self.moving.borrow();
        let order = moving.as_ref().map(|moving| moving.order);
        self.slot_of_bucket(bucket) == slot
            || order.is_some_and(|order| order.bucket == bucket && order.to == slot)
    }
}

impl Shard {
    pub(super) async fn move_bucket(self: Rc<Self>, order: MoveOrder) {
        let MoveOrder { id, from, to, .. } = order;
        self.stores.begin_move(order);
        let (Some(source), Some(target)) = (self.stores.link(from), self.stores.link(to)) else {
            return;
        };
        target.wait_older().await; // MV2
        loop {
            let Some(step) = self.stores.with_move(id, |moving| moving.copy.step()) else { return };
            if self.stores.with_move(id, |moving| moving.is_broken) == Some(true) {
                let why = "it refused a change; there may be no room".to_owned();
                self.shared.tell_disks(DiskEvent::Hindered { id, slot: to, why });
                return;
            }
            let started = Instant::now();
            let (side, requests) = match step {
                Step::Ask(side, requests) => (side, requests),
                Step::Double => {
                    self.stores.with_move(id, |moving| moving.is_double = true);
                    continue;
                }
                Step::Done => {
                    if self
                        .stores
                        .with_move(id, |moving| std::mem::replace(&mut moving.needs_both, true))
                        == Some(false)
                    {
                        target.wait_older().await; // MV4
                        continue;
                    }
                    self.shared.tell_disks(DiskEvent::Copied { id, shard: self.index });
                    return;
                }
            };
            let link = if side == Side::Source { &source } else { &target };
            let replies = ask_all(link, requests).await; // MV1
            match self.stores.with_move(id, |moving| moving.copy.take(replies)) {
                None => return,
                Some(Ok(0)) => {}
                Some(Ok(_)) => tokio::time::sleep(started.elapsed().min(PAUSE_MAX)).await, // MV3
                Some(Err(error)) if error.is_fatal() => return, // That disk has failed.
                Some(Err(error)) => {
                    let why = hindrance(side, &error);
                    self.shared.tell_disks(DiskEvent::Hindered { id, slot: link.slot, why });
                    return; // It is begun anew.
                }
            }
        }
    }

    /// The table says where the bucket is that moved: here the move ends.
    pub(super) fn end_move(self: &Rc<Self>) {
        let mut moving = self.stores.moving.borrow_mut();
        let is_over = |moving: &mut Moving| {
            self.stores.slot_of_bucket(moving.order.bucket) != moving.order.from
        };
        if let Some(ended) = moving.take_if(is_over) {
            let MoveOrder { bucket, from, .. } = ended.order;
            tokio::task::spawn_local(self.clone().forget(from, bucket));
        }
    }

    async fn forget(self: Rc<Self>, slot: u8, bucket: u8) {
        let Some(link) = self.stores.link(slot) else { return };
        link.wait_older().await;
        if !self.stores.uses(slot, bucket) && !self.stores.lacks(bucket) {
            let forgotten = link.ask(Request::Forget { bucket }).await; // MV2
            if let Some(Err(error)) = forgotten {
                tracing::warn!(%error, slot, bucket, "old copies stay until the next start");
            }
        }
    }

    /// Forgets what moves left behind that ended with an earlier life.
    pub(super) async fn clear_leftovers(self: Rc<Self>) {
        for link in self.stores.all() {
            for bucket in buckets_on(&link).await {
                if !self.stores.uses(link.slot, bucket) {
                    self.clone().forget(link.slot, bucket).await;
                }
            }
        }
    }
}

/// Asks everything at once.
async fn ask_all(link: &StoreLink, requests: Vec<Request>) -> Vec<StoreResult> {
    let mut answers = Vec::new();
    for request in requests {
        let (sender, receiver) = oneshot::channel();
        link.push(request, Then::Tell(sender));
        answers.push(receiver);
    }
    let mut replies = Vec::new();
    for answer in answers {
        // Only a link that was closed answers nothing; nothing moves to or from one.
        replies.push(answer.await.unwrap_or(Err(StoreError::Full)));
    }
    replies
}

fn hindrance(side: Side, error: &StoreError) -> String {
    match (side, error) {
        (Side::Target, StoreError::Full) => "there is no room for its buckets".to_owned(),
        (Side::Source, error) => format!("it cannot be read: {error}"),
        (Side::Target, error) => error.to_string(),
    }
}

/// Buckets of objects that a store has.
async fn buckets_on(link: &StoreLink) -> BTreeSet<u8> {
    let (mut buckets, mut after) = (BTreeSet::new(), None);
    while let Some(Ok(Reply::List(listing))) =
        link.ask(Request::List { after, limit: LIST_LIMIT }).await
    {
        buckets.extend(listing.objects.iter().map(|object| bucket_of(object.oid)));
        buckets.extend(listing.rotten.iter().map(|(oid, _)| bucket_of(*oid)));
        after = listing.next;
        if after.is_none() {
            break;
        }
    }
    buckets
}

#[cfg(test)]
#[path = "mover/tests.rs"]
mod tests;
