//! Sweep: objects that nobody needs here give their space back (as the daemon's `shard::sweep`).
//!
//! Holds:
//!   W1 only objects of VDIs that the log says are deleted are reset;
//!   W2 a copy is dropped only if, by the newest state of this shard, all who shall have one are up
//!      and in sync, and this sheep is none of them.

use std::collections::BTreeSet;
use std::rc::Rc;

use sheepdog_engine::gateway::Place;
use sheepdog_engine::state::Group;
use sheepdog_proto::{Generation, Oid, PgId, Stamp, Vid, View};
use sheepdog_store::{Reply, Request};

use super::show;
use super::store::{StoreResult, Then};
use super::world::World;

/// Few, so that a sweep takes several steps.
const LIST_LIMIT: usize = 3;

impl World {
    /// Starts a sweep if there is something new to sweep.
    pub(super) fn sweep_new(&mut self, place: Place) {
        let Some(shard) = self.shard(place) else { return };
        let (applied, swept) = (shard.applied, shard.swept.clone());
        let state = self.log.state(applied).clone();
        let free = |group: &Group| group.can_do_without(place.node, &state.members);
        let free: BTreeSet<PgId> =
            state.groups().filter(|(_, group)| free(group)).map(|(pg, _)| pg).collect();
        let Some(shard) = self.shard(place) else { return };
        let before = std::mem::replace(&mut shard.given_up, free.clone());
        let used = state.catalogue.iter_used();
        let new = used.filter(|vdi| vdi.deleted && !swept.contains(&vdi.vid)).map(|vdi| vdi.vid);
        let deleted: BTreeSet<Vid> = new.collect();
        if deleted.is_empty() && free.is_subset(&before) {
            return;
        }
        if let Some(shard) = self.shard(place) {
            shard.swept.extend(&deleted);
        }
        self.push_store(place, Request::UnstableAll, Then::Unneeded);
        let list = Request::List { after: None, limit: LIST_LIMIT };
        self.push_store(place, list, Then::Listed(Rc::new(deleted)));
    }

    /// Nobody will say any more that these changes are everywhere.
    pub(super) fn take_back_free(&mut self, place: Place, result: StoreResult) {
        let Ok(Reply::Unstable(mut changes)) = result else { return };
        changes.retain(|change| self.is_free(place, change.oid));
        if !changes.is_empty() {
            self.push_store(place, Request::Undo { changes }, Then::Nothing); // W2
        }
    }

    /// W2.
    fn is_free(&mut self, place: Place, oid: Oid) -> bool {
        let Some(state) = self.state_of(place) else { return false };
        let group = state.group_of(oid).map(|(_, group)| group);
        group.is_some_and(|group| group.can_do_without(place.node, &state.members))
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
        let oids = listing.objects.iter().map(|object| object.oid);
        let oids: Vec<Oid> = oids.filter(|oid| self.is_free(place, *oid)).collect();
        if !oids.is_empty() {
            self.trace.count("copies dropped that are complete elsewhere");
            self.say(|| format!("{} drops {oids:?}", show::place(place)));
            let drop = Request::Drop { oids, before: View(u64::MAX) }; // W2
            self.push_store(place, drop, Then::Nothing);
        }
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
