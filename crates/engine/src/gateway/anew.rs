//! Anew: an object that the map names and that no member has.
//!
//! Why: data and map entry of a first write become durable side by side. If the owner ends between,
//!      the next one finds an entry without an object. Changed as it stands, the object would begin
//!      without a reset (BASE), and a member that returns with a copy of an earlier life of it
//!      could not tell that copy from this one.
//! Way: a member in sync refuses to change what it does not have; when all have refused, a reset
//!      begins the object, and what is under way for it follows under newer stamps.
//! Holds:
//!   AN1 an object begins anew only if all members in sync, under the view in force, say that it
//!       does not exist: what one of them has may have been acknowledged;
//!   AN2 whatever is under way for the object gets a stamp newer than the reset's: what is older
//!       would be ignored, and acknowledged;
//!   AN3 it begins once: not while a change that makes it is under way;
//!   AN4 whoever joins is sent a change of an object when a member in sync is known to have that:
//!       otherwise it would make the object by itself, or change what it has of an earlier life.

use super::attachment::Attachment;
use super::flight::{Flight, Mutation, Needs, Then};
use super::{Context, Place};

impl Attachment {
    /// Another member has refused the flight because it does not have the object.
    pub(super) fn begin_anew(&mut self, context: &mut Context, id: u64) {
        let Some(flight) = self.flights.get(&id) else { return };
        let oid = flight.oid;
        if !is_missing(context, flight) {
            return; // AN1
        }
        let of_it = |flight: &&Flight| flight.oid == oid;
        if self.flights.values().filter(of_it).any(|flight| flight.needs == Needs::Nothing) {
            return; // AN3
        }
        let reset = self.sequencer.start();
        self.launch(context, Flight::new(oid, Mutation::Reset, reset, Then::Begin));
        let is_older = |flight: &Flight| flight.oid == oid && flight.stamp < reset;
        let older: Vec<u64> =
            self.flights.iter().filter(|(_, f)| is_older(f)).map(|(id, _)| *id).collect();
        for id in older {
            let Some(mut flight) = self.flights.remove(&id) else { continue };
            for sent in std::mem::take(&mut flight.pending).into_values() {
                context.outstanding.remove(&sent);
            }
            flight.former.extend([flight.stamp, reset]);
            flight.stamp = self.sequencer.start(); // AN2
            flight.needs = Needs::Nothing;
            self.launch(context, flight);
        }
    }
}

/// AN1.
fn is_missing(context: &Context, flight: &Flight) -> bool {
    let state = &context.state;
    let Some((pg, group)) = state.group_of(flight.oid) else { return false };
    let in_sync: Vec<Place> = context.readers(pg, group);
    flight.view == Some(group.view)
        && !group.has_lost(&state.members)
        && in_sync.iter().all(|place| flight.missing.contains(place))
}
