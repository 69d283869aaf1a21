//! Sweep: objects of deleted VDIs give their space back.
//!
//! Way: when the state knows a deleted VDI that this shard has not swept yet, one task walks the
//!      store's list and resets every object of such a VDI. A vid is never given again, so nothing
//!      can be written to these objects any more.
//! Holds: W1 only objects of VDIs that the log says are deleted are touched.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use sheepdog_proto::{BLOCK_BYTES, Generation, Oid, Stamp, Vid, View};
use sheepdog_store::{Listing, Reply, Request};

use super::Shard;

const LIST_LIMIT: usize = 1000;

impl Shard {
    /// Starts a sweep if there is something new to sweep.
    pub(super) fn sweep_deleted(self: &Rc<Self>) {
        let state = self.state();
        let deleted: BTreeSet<Vid> = state
            .catalogue
            .iter_used()
            .filter(|vdi| vdi.deleted && !self.swept.borrow().contains(&vdi.vid))
            .map(|vdi| vdi.vid)
            .collect();
        if deleted.is_empty() {
            return;
        }
        self.swept.borrow_mut().extend(&deleted);
        let shard = self.clone();
        tokio::task::spawn_local(async move { shard.sweep(deleted).await });
    }

    async fn sweep(self: Rc<Self>, deleted: BTreeSet<Vid>) {
        let newest = Stamp::new(Generation(Generation::MAX), Stamp::SEQUENCE_MAX);
        let view = View(self.state().index.0);
        let mut swept = 0_u64;
        let mut after = None;
        loop {
            let Some(listing) = self.list(after).await else { return };
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
    }

    /// Bytes of objects on each disk, whatever the table says of them.
    pub(crate) async fn used_by_slot(self: &Rc<Self>) -> BTreeMap<u8, u64> {
        let mut used = BTreeMap::new();
        for link in self.stores.all() {
            let mut after = None;
            loop {
                let asked = link.ask(Request::List { after, limit: LIST_LIMIT }).await;
                let Some(Ok(Reply::List(listing))) = asked else { break };
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
