//! Sweep: objects that nobody needs here give their space back.
//!
//! Way: when the state knows a deleted VDI, or a group that is complete elsewhere, which this shard
//!      has not swept yet, one task walks the store's list. Objects of the VDI are reset: a vid is
//!      never given again, so nothing can be written to them any more. Those of the group are
//!      dropped.
//! Holds:
//!   W1 only objects of VDIs that the log says are deleted are reset;
//!   W2 a copy is dropped only if, by the newest state of this shard, all who shall have one are up
//!      and in sync, and this sheep is none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use sheepdog_engine::state::Group;
use sheepdog_proto::{BLOCK_BYTES, Generation, Oid, PgId, Stamp, Vid, View};
use sheepdog_store::{Listing, Reply, Request};
use tokio::time::timeout;

use super::Shard;

const LIST_LIMIT: usize = 1000;
/// For a disk to say what is on it, when people ask.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

impl Shard {
    /// Starts a sweep if there is something new to sweep.
    pub(super) fn sweep_new(self: &Rc<Self>) {
        let state = self.state();
        let me = self.shared.me.node;
        let free = |group: &Group| group.can_do_without(me, &state.members);
        let free: BTreeSet<PgId> =
            state.groups().filter(|(_, group)| free(group)).map(|(pg, _)| pg).collect();
        let before = std::mem::replace(&mut *self.given_up.borrow_mut(), free.clone());
        let deleted: BTreeSet<Vid> = state
            .catalogue
            .iter_used()
            .filter(|vdi| vdi.deleted && !self.swept.borrow().contains(&vdi.vid))
            .map(|vdi| vdi.vid)
            .collect();
        if deleted.is_empty() && free.is_subset(&before) {
            return;
        }
        self.swept.borrow_mut().extend(&deleted);
        let shard = self.clone();
        tokio::task::spawn_local(async move { shard.sweep(deleted).await });
    }

    async fn sweep(self: Rc<Self>, deleted: BTreeSet<Vid>) {
        let newest = Stamp::new(Generation(Generation::MAX), Stamp::SEQUENCE_MAX);
        let view = View(self.state().index.0);
        self.take_back_free().await;
        let (mut swept, mut dropped) = (0_u64, 0);
        let mut after = None;
        loop {
            let Some(listing) = self.list(after).await else { return };
            let oids: Vec<Oid> =
                listing.objects.iter().map(|o| o.oid).filter(|oid| self.is_free(*oid)).collect();
            dropped += oids.len();
            if !oids.is_empty() {
                self.ask_store(Request::Drop { oids, before: View(u64::MAX) }).await; // W2
            }
            for object in listing.objects.iter().filter(|o| deleted.contains(&o.oid.vid())) {
                let reset = Request::Reset { oid: object.oid, stamp: newest, view }; // W1
                self.ask_store(reset).await;
                swept += 1;
            }
            after = listing.next;
            if after.is_none() {
                break;
            }
        }
        if swept > 0 {
            tracing::info!(objects = swept, "space of deleted VDIs given back");
        }
        if dropped > 0 {
            tracing::info!(objects = dropped, "copies dropped that are complete elsewhere");
        }
    }

    /// Nobody will say any more that these changes are everywhere.
    async fn take_back_free(self: &Rc<Self>) {
        let Some(Ok(Reply::Unstable(mut changes))) = self.ask_store(Request::UnstableAll).await
        else {
            return;
        };
        changes.retain(|change| self.is_free(change.oid));
        for changes in changes.chunks(LIST_LIMIT) {
            self.ask_store(Request::Undo { changes: changes.to_vec() }).await; // W2
        }
    }

    /// W2.
    fn is_free(&self, oid: Oid) -> bool {
        let state = self.state();
        let group = state.group_of(oid).map(|(_, group)| group);
        group.is_some_and(|group| group.can_do_without(self.shared.me.node, &state.members))
    }

    /// Bytes of objects on each disk, whatever the table says of them. One that does not answer is
    /// left out.
    pub(crate) async fn used_by_slot(self: &Rc<Self>) -> BTreeMap<u8, u64> {
        let mut used = BTreeMap::new();
        for link in self.stores.all() {
            let mut after = None;
            loop {
                let asked = link.ask(Request::List { after, limit: LIST_LIMIT });
                let Ok(Some(Ok(Reply::List(listing)))) = timeout(PATIENCE, asked).await else {
                    break;
                };
                let blocks = listing.objects.iter().map(|object| u64::from(object.blocks));
                *used.entry(link.slot).or_default() += blocks.sum::<u64>() * BLOCK_BYTES as u64;
                after = listing.next;
                if after.is_none() {
                    break;
                }
            }
        }
        used
    }

    /// A part of the list of this shard's objects.
    pub(crate) async fn list(self: &Rc<Self>, after: Option<Oid>) -> Option<Listing> {
        match self.ask_store(Request::List { after, limit: LIST_LIMIT }).await {
            Some(Ok(Reply::List(listing))) => Some(listing),
            _ => None,
        }
    }
}
