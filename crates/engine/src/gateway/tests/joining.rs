//! Joiners of a herd: what they ask of their own store, and what an in-sync member lists for them.

use sheepdog_proto::peer::{Listing, PeerError, ReplyBody};
use sheepdog_proto::{Generation, Oid, Partition, PgId, PolicyId};

use super::super::Place;
use super::herd::{Herd, Job};
use super::memory::Memory;
use super::show::{name, show};
use crate::join::{Action, Local};

/// Objects in one part of a list: small, so that lists come in parts.
const LIST_LIMIT: usize = 2;

impl Herd {
    /// Carries out what a joiner wants.
    pub(super) fn pump_joiner(&mut self, place: Place, serial: u64) {
        let Some(unit) = self.unit(place) else { return };
        for action in unit.joiner.take_actions() {
            match action {
                Action::Send(to, request) => {
                    self.say(|| format!("  {} => {}: {}", name(place), name(to), show(&request)));
                    let alive = self.life(to.node).is_some();
                    self.links.send(place, serial, to, alive, request);
                }
                Action::Propose(command) => {
                    self.say(|| format!("  {} proposes {command:?}", name(place)));
                    self.proposals.push_back(command);
                }
                Action::Local(token, local) => {
                    if let Some(unit) = self.unit(place) {
                        unit.queue.push_back(Job::Local(token, local));
                    }
                }
            }
        }
    }

    fn store(&mut self, place: Place) -> &mut Memory {
        &mut self.sheep[usize::from(place.node.0)].stores[usize::from(place.shard)]
    }

    pub(super) fn execute_local(&mut self, place: Place, token: u64, local: &Local) {
        let full = self.weakness.full;
        let result = if self.has_broken_disk(place.node) {
            Err(PeerError::NotInSync)
        } else if matches!(local, Local::Change { .. }) && self.random.chance(full) {
            Err(PeerError::Full)
        } else {
            Ok(self.ask_store(place, local))
        };
        self.say(|| format!("{} has asked itself {local:?}: {result:?}", name(place)));
        if let Some(unit) = self.unit(place) {
            unit.joiner.handle_local(token, result);
        }
        self.pump(place);
    }

    fn ask_store(&mut self, place: Place, local: &Local) -> ReplyBody {
        let store = self.store(place);
        match local {
            Local::Unstable => return ReplyBody::Unstable(store.list_all()),
            Local::List(after) => return ReplyBody::Listing(store.objects(*after, LIST_LIMIT + 1)),
            Local::Stamps { oid, first_block, count } => {
                return store.stamps(*oid, *first_block, *count);
            }
            Local::Undo(changes) => store.undo(changes),
            Local::Drop(oids, before) => {
                oids.iter().for_each(|oid| store.drop_before(*oid, *before));
            }
            Local::Raise(oid, view) => store.raise(*oid, *view),
            Local::Change { body, is_settled } => {
                let before = store.list_all();
                let vid =
                    body.oid().map_or_else(|| unreachable!("a change has an object"), Oid::vid);
                let done = store.carry_out(vid, Generation(0), body);
                assert!(done.is_ok(), "a change is always possible");
                if *is_settled {
                    store.settle_since(&before);
                }
            }
        }
        ReplyBody::Done
    }

    /// What an in-sync member says of groups.
    pub(super) fn list_groups(
        &mut self,
        place: Place,
        policy: PolicyId,
        after: Option<Oid>,
        partitions: &[Partition],
    ) -> ReplyBody {
        let applied = self.unit(place).map_or(0, |unit| unit.applied);
        let state = self.states[applied].clone();
        let is_wanted = |oid: Oid| {
            let pg = |partition: &Partition| PgId { policy, partition: *partition };
            state.group_of(oid).is_some_and(|(of, _)| partitions.iter().any(|p| pg(p) == of))
        };
        let store = self.store(place);
        let mut listing: Listing = store.objects(after, LIST_LIMIT);
        listing.objects.retain(|object| is_wanted(object.oid));
        if after.is_none() {
            listing.unstable = store.list_all();
            listing.unstable.retain(|change| is_wanted(change.oid));
        }
        ReplyBody::Listing(listing)
    }
}
