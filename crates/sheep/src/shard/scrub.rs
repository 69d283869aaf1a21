//! Scrub: this shard's copies are read and verified, and compared with those of another member.
//!
//! Way: object by object, window by window: the own store reads (which verifies every checksum),
//!      then stamps are compared with the next member in sync (`engine::scrub`). A bad block is
//!      healed by the VDI's owner, whoever that is; where nobody is, this sheep becomes it for a
//!      moment. A copy that has lost a change leaves its group and fetches what it lacks; one that
//!      lacks a whole object does not come across it, so whoever does tells it (`Look`).
//!      `watch_copies` goes over all objects again and again, at the pace of `--scrub`.
//! Holds:
//!   SR1 only copies that are in sync by this shard's state are looked at: the others serve nobody;
//!   SR2 nothing is written here: what heals is an ordinary write of the owner, or joining.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use sheepdog_engine::gateway::Place;
use sheepdog_engine::join::JOINER_ID;
use sheepdog_engine::scrub::{Difference, confirmed, differences, neighbour};
use sheepdog_proto::command::Command;
use sheepdog_proto::peer::{PeerError, Pulled, Reply, ReplyBody, Request, RequestBody};
use sheepdog_proto::{BLOCK_BYTES, Generation, ObjectKind, Oid, Stamp, View};
use sheepdog_store as store;
use sheepdog_store::{Corruption, StoreError, serve};
use tokio::sync::oneshot;

use super::Shard;
use super::mail::Mail;

/// Ids of these requests have this bit besides the one of joiners.
const SCRUB_ID: u64 = JOINER_ID | 1 << 62;
/// Map objects are 4 MiB, whatever the VDI's objects are.
pub(crate) const MAP_SHIFT: u8 = 22;
/// Blocks looked at together: 1 MiB.
const WINDOW_BLOCKS: u32 = 256;
/// Objects listed at once.
const LIST_LIMIT: usize = 100;
/// Between two looks at something that differs.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// How long another member may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an owner is asked to heal, who may change at the same moment; and when it is looked
/// whether it has, milliseconds.
const HEALED_TRIES: u32 = 8;
const HEALED_LOOKS: [u64; 4] = [10, 50, 200, 500];

/// What was looked at, and what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scrubbed {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// Blocks that could not be read, or did not match their checksums.
    pub(crate) bad: u64,
    /// Of these, blocks that are good again.
    pub(crate) healed: u64,
    /// Blocks of which another member has a newer change.
    pub(crate) behind: u64,
    /// Blocks that differ in another way.
    pub(crate) unequal: u64,
    /// Objects that could not be compared, for nobody else has them or answers.
    pub(crate) alone: u64,
}

impl Scrubbed {
    pub(crate) fn add(&mut self, other: &Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.bad += other.bad;
        self.healed += other.healed;
        self.behind += other.behind;
        self.unequal += other.unequal;
        self.alone += other.alone;
    }
}

impl Shard {
    /// Goes over all objects of this shard for ever, `rate` bytes a second; zero: never.
    pub(super) async fn watch_copies(self: Rc<Self>, rate: u64) {
        if rate == 0 {
            return;
        }
        loop {
            tokio::time::sleep(self.shared.scrub_rest).await;
            let mut sum = Scrubbed::default();
            let mut after = None;
            loop {
                let list = store::Request::List { after, limit: LIST_LIMIT };
                let Some(Ok(store::Reply::List(listing))) = self.ask_store(list).await else {
                    break;
                };
                for object in &listing.objects {
                    let found = self.scrub_object(object.oid, object.object_shift, rate).await;
                    self.metrics.note_scrubbed(&found);
                    sum.add(&found);
                }
                after = listing.next;
                if after.is_none() {
                    break;
                }
            }
            self.metrics.note_scrub_pass();
            tracing::info!(?sum, "all copies were read and compared");
        }
    }

    /// Reads, verifies and compares this member's copy of an object; `rate` bytes a second, zero:
    /// as fast as it goes. Nothing if the copy is not in sync (SR1).
    pub(crate) async fn scrub_object(self: &Rc<Self>, oid: Oid, shift: u8, rate: u64) -> Scrubbed {
        let mut found = Scrubbed::default();
        if !self.is_in_sync(oid) {
            return found;
        }
        let blocks = 1_u32 << shift.saturating_sub(12);
        let mut differing = Vec::new();
        let mut is_alone = false;
        for first in (0..blocks).step_by(WINDOW_BLOCKS as usize) {
            let window = first..blocks.min(first + WINDOW_BLOCKS);
            self.verify(oid, window.clone(), &mut found).await;
            match self.compare(oid, window.clone()).await {
                Some(differences) if differences.is_empty() => {}
                Some(differences) => differing.push((window.clone(), differences)),
                None => is_alone = true,
            }
            if let Some(pause) = (u64::from(window.end - window.start) * BLOCK_BYTES as u64)
                .saturating_mul(1_000_000)
                .checked_div(rate)
            {
                tokio::time::sleep(Duration::from_micros(pause)).await;
            }
        }
        found.objects = u64::from(found.bytes > 0 || found.bad > 0);
        found.alone = u64::from(is_alone && found.objects > 0);
        if !differing.is_empty() {
            tokio::time::sleep(SECOND_LOOK).await;
            for (window, before) in differing {
                let now = self.compare(oid, window).await.unwrap_or_default();
                self.judge(oid, &confirmed(&before, now), &mut found);
            }
        }
        found
    }

    /// SR1.
    fn is_in_sync(&self, oid: Oid) -> bool {
        let state = self.state();
        let me = self.shared.me.node;
        state.group_of(oid).is_some_and(|(pg, group)| {
            let here = state.members.get(me).is_some_and(|m| m.shard_of(pg) == self.index);
            here && group.in_sync.contains(&me)
        })
    }

    /// Reads a window; what is bad is looked at block by block, and healed.
    async fn verify(self: &Rc<Self>, oid: Oid, window: Range<u32>, found: &mut Scrubbed) {
        match self.read_blocks(oid, window.clone()).await {
            Some(Ok(data)) => found.bytes += data,
            Some(Err(StoreError::Corrupt(Corruption::Block { .. }) | StoreError::Io { .. })) => {
                for block in window {
                    match self.read_blocks(oid, block..block + 1).await {
                        Some(Ok(data)) => found.bytes += data,
                        Some(Err(_)) => self.heal_bad(oid, block, found).await,
                        None => return,
                    }
                }
            }
            Some(Err(StoreError::Corrupt(why))) => {
                tracing::warn!(%oid, %why, "metadata of a copy is bad; it is fetched anew");
                found.bad += 1;
                self.step_joiner(|joiner| joiner.note_rot(oid));
            }
            Some(Err(_)) | None => {}
        }
    }

    /// Bytes of data in some blocks, each verified.
    async fn read_blocks(
        self: &Rc<Self>,
        oid: Oid,
        blocks: Range<u32>,
    ) -> Option<Result<u64, StoreError>> {
        let (first_block, count) = (blocks.start, blocks.end - blocks.start);
        match self.ask_store(store::Request::Read { oid, first_block, count }).await? {
            Ok(store::Reply::Read(read)) => {
                let is_data = |b: &&store::Block| matches!(b.state, store::BlockState::Data { .. });
                Some(Ok((read.blocks.iter().filter(is_data).count() * BLOCK_BYTES) as u64))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }

    async fn heal_bad(self: &Rc<Self>, oid: Oid, block: u32, found: &mut Scrubbed) {
        tracing::warn!(%oid, block, "a copy of a block is bad");
        found.bad += 1;
        if oid.kind() != ObjectKind::Data {
            // Its owner keeps it in memory, and nobody reads it; joining fetches it.
            return self.step_joiner(|joiner| joiner.note_rot(oid));
        }
        for _ in 0..HEALED_TRIES {
            self.ask_owner_to_heal(oid, block..block + 1).await;
            for pause in HEALED_LOOKS {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if matches!(self.read_blocks(oid, block..block + 1).await, Some(Ok(_))) {
                    tracing::info!(%oid, block, "the block is good again");
                    found.healed += 1;
                    return;
                }
            }
        }
    }

    /// SR2.
    async fn ask_owner_to_heal(self: &Rc<Self>, oid: Oid, blocks: Range<u32>) {
        let vid = oid.vid();
        let state = self.state();
        let Some(vdi) = state.catalogue.get(vid) else { return };
        let owner = vdi.attachment.as_ref().filter(|owner| owner.node != self.shared.me.node);
        let Some(owner) = owner else {
            let (sender, receiver) = oneshot::channel();
            let call = move |shard: Rc<Self>| {
                tokio::task::spawn_local(async move {
                    shard.heal_as_owner(oid, blocks).await;
                    let _ = sender.send(());
                });
            };
            self.shared.mail(self.shared.shard_of(vid), Mail::Call(Box::new(call)));
            let _ = receiver.await;
            return;
        };
        let Some(member) = state.members.get(owner.node) else { return };
        let shard = (vid.get() % u32::from(member.shards)) as u16;
        let (first_block, count) = (blocks.start, blocks.end - blocks.start);
        let body = RequestBody::Heal { oid, first_block, count };
        self.ask_peer(Place { node: owner.node, shard }, body, vdi.generation).await;
    }

    /// On the shard that serves the VDI's attachment.
    async fn heal_as_owner(self: Rc<Self>, oid: Oid, blocks: Range<u32>) {
        let vid = oid.vid();
        if self.attach(vid).await.is_err() {
            return; // Somebody else has taken it meanwhile.
        }
        self.step(|gateway| gateway.heal(oid, blocks));
        if self.shared.openers.holder(vid).is_none() {
            self.detach(vid).await;
        }
    }

    /// What differs between this copy and the next one; `None` if there is none, or no answer.
    async fn compare(self: &Rc<Self>, oid: Oid, window: Range<u32>) -> Option<Vec<Difference>> {
        let state = self.state();
        let (pg, group) = state.group_of(oid)?;
        let place = Place::of(neighbour(&state, group, self.shared.me.node)?, pg);
        let (first_block, count, index) = (window.start, window.end - window.start, state.index.0);
        let request = serve::pull_request(oid, first_block, count, false);
        let Ok(ReplyBody::Pulled(ours)) = self.pull(oid, request).await else { return None };
        let body = RequestBody::Pull { index, oid, first_block, count, with_data: false };
        let theirs = self.ask_peer(place, body, Generation(0)).await?;
        (theirs.blocks.len() == ours.blocks.len()).then(|| differences(first_block, &ours, &theirs))
    }

    /// Another member misses something in this copy.
    pub(super) fn look_at(self: &Rc<Self>, oid: Oid) {
        let state = self.state();
        let Some(vdi) = state.catalogue.get(oid.vid()) else { return };
        let shift = if oid.kind() == ObjectKind::Map { MAP_SHIFT } else { vdi.object_shift };
        if self.scrubbing.borrow_mut().looked_at.insert(oid) {
            let shard = self.clone();
            tokio::task::spawn_local(async move {
                let found = shard.scrub_object(oid, shift, 0).await;
                shard.metrics.note_scrubbed(&found);
                shard.scrubbing.borrow_mut().looked_at.remove(&oid);
            });
        }
    }

    /// Differences that have lasted.
    fn judge(self: &Rc<Self>, oid: Oid, differences: &[Difference], found: &mut Scrubbed) {
        let Some(first) = differences.first() else { return };
        tracing::error!(%oid, count = differences.len(), ?first, "copies differ");
        let behind = differences.iter().filter(|difference| difference.is_behind()).count() as u64;
        found.behind += behind;
        found.unequal += differences.len() as u64 - behind;
        let state = self.state();
        let Some((pg, group)) = state.group_of(oid) else { return };
        if behind < differences.len() as u64
            && let Some(other) = neighbour(&state, group, self.shared.me.node)
        {
            let (place, body) = (Place::of(other, pg), RequestBody::Look { oid });
            let shard = self.clone();
            let look = async move { shard.ask_peer(place, body, Generation(0)).await };
            tokio::task::spawn_local(look);
        }
        let (node, incarnation) = (self.shared.me.node, self.shared.me.incarnation);
        if behind > 0 && group.can_demote(node) {
            // It joins anew, and what is newer elsewhere is fetched.
            let command = Command::Demote { node, incarnation, groups: vec![pg] };
            tokio::task::spawn_local(super::propose(self.shared.clone(), command));
        }
    }

    /// Asks another member. `None` if it refuses, or does not answer in time.
    async fn ask_peer(
        self: &Rc<Self>,
        place: Place,
        body: RequestBody,
        generation: Generation,
    ) -> Option<Pulled> {
        let vid = body.oid()?.vid();
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut asked = self.scrubbing.borrow_mut();
            asked.last += 1;
            let id = SCRUB_ID | asked.last;
            asked.waiting.insert(id, sender);
            id
        };
        let request = Request { id, vid, generation, view: View(0), stable: Stamp::NONE, body };
        self.send(place, request);
        let answer = tokio::time::timeout(PATIENCE, receiver).await;
        self.scrubbing.borrow_mut().waiting.remove(&id);
        match answer {
            Ok(Ok(Ok(ReplyBody::Pulled(pulled)))) => Some(pulled),
            _ => None,
        }
    }

    /// Another sheep has answered; false if it was not asked by the scrub.
    pub(super) fn take_scrub_reply(&self, reply: &mut Option<Reply>) -> bool {
        let is_mine = reply.as_ref().is_some_and(|reply| reply.id & SCRUB_ID == SCRUB_ID);
        if is_mine && let Some(Reply { id, result }) = reply.take() {
            let waiting = self.scrubbing.borrow_mut().waiting.remove(&id);
            if let Some(waiting) = waiting {
                let _ = waiting.send(result);
            }
        }
        is_mine
    }
}

/// Who waits for an answer of another sheep.
#[derive(Default)]
pub(super) struct Scrubbing {
    last: u64,
    /// Objects that are looked at because another member asked for it.
    looked_at: BTreeSet<Oid>,
    waiting: std::collections::BTreeMap<u64, oneshot::Sender<Result<ReplyBody, PeerError>>>,
}
