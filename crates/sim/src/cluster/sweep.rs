//! Sweep: objects of deleted VDIs give their space back (as the daemon's `shard::sweep`).
//!
//! Holds: W1 only objects of VDIs that the log says are deleted are touched.

use std::collections::BTreeSet;
use std::rc::Rc;

use sheepdog_engine::gateway::Place;
use sheepdog_proto::{Generation, Stamp, Vid, View};
use sheepdog_store::{Reply, Request};

use super::store::{StoreResult, Then};
use super::world::World;

/// Few, so that a sweep takes several steps.
const LIST_LIMIT: usize = 3;

impl World {
    /// Starts a sweep if there is something new to sweep.
    pub(super) fn sweep_deleted(&mut self, place: Place) {
        let Some(shard) = self.shard(place) else { return };
        let (applied, swept) = (shard.applied, shard.swept.clone());
        let state = self.log.state(applied);
        let used = state.catalogue.iter_used();
        let new = used.filter(|vdi| vdi.deleted && !swept.contains(&vdi.vid)).map(|vdi| vdi.vid);
        let deleted: BTreeSet<Vid> = new.collect();
        if deleted.is_empty() {
            return;
        }
        if let Some(shard) = self.shard(place) {
            shard.swept.extend(&deleted);
        }
        let list = Request::List { after: None, limit: LIST_LIMIT };
        self.push_store(place, list, Then::Listed(Rc::new(deleted)));
    }

    pub(super) fn sweep_on(
        &mut self,
        place: Place,
        deleted: &Rc<BTreeSet<Vid>>,
        result: StoreResult,
    ) {
        let Ok(Reply::List(listing)) = result else { return };
        let newest = Stamp::new(Generation(Generation::MAX), Stamp::SEQUENCE_MAX);
        let applied = self.shard(place).map_or(0, |shard| shard.applied);
        let view = View(applied as u64);
        for object in listing.objects.iter().filter(|o| deleted.contains(&o.oid.vid())) {
            let reset = Request::Reset { oid: object.oid, stamp: newest, view }; // W1
            self.trace.count("objects swept");
            self.push_store(place, reset, Then::Nothing);
        }
        if listing.next.is_some() {
            let list = Request::List { after: listing.next, limit: LIST_LIMIT };
            self.push_store(place, list, Then::Listed(deleted.clone()));
        }
    }
}
