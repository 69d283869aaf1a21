//! Flights: one mutation of one object on its way to the whole write set.
//!
//! Holds:
//!   ALL-ACK  a flight lands when every member of the write set of the group's *current* view has
//!            acknowledged it under that view; when the view changes it starts again, with the
//!            same stamp, to all members of the new one;
//!   F1       a flight never gives up: it waits for members, for the log, for room.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::peer::{PeerError, Reply, ReplyBody, RequestBody};
use sheepdog_proto::{BLOCK_BYTES, Oid, Payload, Stamp, View, block_checksum};

use super::attachment::Attachment;
use super::{Context, Place, Purpose, Unfit, request};

/// Most objects remembered to exist.
const KNOWN_MAX: usize = 1 << 16;

/// What happens when a flight has landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// A piece of a client's operation goes on.
    Piece(u64),
    /// A page of the map is durable.
    MapPage(u32),
    /// An object is being settled.
    Reconcile(Oid),
    /// An object begins anew (`anew`).
    Begin,
}

/// Change of an object, its stamp still to be given.
#[derive(Clone, Debug)]
pub(super) enum Mutation {
    Write { first: u32, data: Payload, checksums: Vec<u32> },
    Hole { first: u32, count: u32 },
    Reset,
}

/// What a change takes for granted about its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: it makes the object, or begins it anew.
    Nothing,
    /// That it exists on members in sync (`anew`).
    Object,
}

impl Mutation {
    /// Whole blocks; their checksums are made here, once (CRC-E2E).
    pub(super) fn write(oid: Oid, first: u32, data: Payload) -> Self {
        let (blocks, _) = data.as_chunks::<BLOCK_BYTES>();
        let sum = |(block, number): (&[u8; BLOCK_BYTES], u32)| block_checksum(oid, number, block);
        let checksums = blocks.iter().zip(first..).map(sum).collect();
        Self::Write { first, data, checksums }
    }

    fn body(&self, oid: Oid, object_shift: u8, stamp: Stamp, needs: Needs) -> RequestBody {
        let must_exist = needs == Needs::Object;
        match self {
            Self::Write { first, data, checksums } => RequestBody::Write {
                oid,
                object_shift,
                first_block: *first,
                stamp,
                must_exist,
                checksums: checksums.clone(),
                data: data.clone(),
            },
            Self::Hole { first, count } => RequestBody::Hole {
                oid,
                object_shift,
                first_block: *first,
                count: *count,
                stamp,
                must_exist,
            },
            Self::Reset => RequestBody::Reset { oid, stamp },
        }
    }
}

/// One mutation under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) oid: Oid,
    pub(super) mutation: Mutation,
    pub(super) needs: Needs,
    pub(super) stamp: Stamp,
    /// Stamps that are complete with it: those it had before, and of the reset before it (`anew`).
    pub(super) former: Vec<Stamp>,
    pub(super) then: Then,
    /// The view it was sent under; `None` while it waits.
    pub(super) view: Option<View>,
    /// Who has not acknowledged, and under which request.
    pub(super) pending: BTreeMap<Place, u64>,
    /// Who joins, and is told when a member in sync has the object (AN4).
    later: Vec<Place>,
    /// Who refused it for the moment.
    refused: Vec<Place>,
    /// Who is in sync and does not have the object.
    pub(super) missing: BTreeSet<Place>,
}

impl Flight {
    pub(super) const fn new(oid: Oid, mutation: Mutation, stamp: Stamp, then: Then) -> Self {
        Self {
            oid,
            mutation,
            needs: Needs::Nothing,
            stamp,
            former: Vec::new(),
            then,
            view: None,
            pending: BTreeMap::new(),
            later: Vec::new(),
            refused: Vec::new(),
            missing: BTreeSet::new(),
        }
    }
}

impl Attachment {
    /// Starts a mutation under a fresh stamp.
    pub(super) fn start_flight(
        &mut self,
        context: &mut Context,
        oid: Oid,
        (mutation, needs): (Mutation, Needs),
        then: Then,
    ) {
        let stamp = self.sequencer.start();
        self.launch(context, Flight { needs, ..Flight::new(oid, mutation, stamp, then) });
    }

    /// Starts a flight whose stamp is given.
    pub(super) fn launch(&mut self, context: &mut Context, flight: Flight) {
        let id = self.fresh();
        self.flights.insert(id, flight);
        if let Err(why) = self.send_flight(context, id) {
            context.count(why);
        }
    }

    /// Sends a flight to the whole write set, if the group is fit for it.
    fn send_flight(&mut self, context: &mut Context, id: u64) -> Result<(), Unfit> {
        let Some(flight) = self.flights.get(&id) else { return Ok(()) };
        let Some(set) = writable(context, flight.oid)? else { return Ok(()) };
        let WriteSet { view, in_sync, joiners } = set;
        let waits = flight.needs == Needs::Object && !self.known.contains(&flight.oid.index());
        let (now, later) =
            if waits { (in_sync, joiners) } else { ([in_sync, joiners].concat(), Vec::new()) };
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.view = Some(view);
            flight.later = later;
            flight.refused.clear();
            flight.missing.clear();
        }
        now.into_iter().for_each(|place| self.send_flight_to(context, id, place));
        Ok(())
    }

    fn send_flight_to(&mut self, context: &mut Context, id: u64, place: Place) {
        let Some(flight) = self.flights.get(&id) else { return };
        let Some(view) = flight.view else { return };
        self.told.entry(place).or_default();
        let shift = self.object_shift(flight.oid);
        let body = flight.mutation.body(flight.oid, shift, flight.stamp, flight.needs);
        let message = request(self.vid, self.generation, view, self.sequencer.stable(), body);
        let sent = context.send(place, Purpose::Flight(id), message);
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.pending.insert(place, sent);
        }
    }

    /// A member in sync has changed the object, so all have it (AN4).
    fn note_known(&mut self, index: u32) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear(); // the next changes wait once more
        }
        self.known.insert(index);
    }

    /// Size shift of an object: map objects are 4 MiB whatever the VDI's objects are.
    fn object_shift(&self, oid: Oid) -> u8 {
        if oid.kind() == sheepdog_proto::ObjectKind::Map { 22 } else { self.shift }
    }

    pub(super) fn handle_flight_reply(
        &mut self,
        context: &mut Context,
        id: u64,
        place: Place,
        reply: &Reply,
    ) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        if flight.pending.get(&place) != Some(&reply.id) {
            return;
        }
        match &reply.result {
            Ok(ReplyBody::Done) => {
                flight.pending.remove(&place);
                let later = std::mem::take(&mut flight.later);
                if !later.is_empty() {
                    let index = flight.oid.index();
                    self.note_known(index);
                    later.into_iter().for_each(|place| self.send_flight_to(context, id, place));
                } else if flight.pending.is_empty() {
                    self.land(context, id);
                }
            }
            Err(PeerError::Full) => {
                context.waits.no_space += 1;
                flight.refused.push(place);
            }
            Err(PeerError::Missing) => {
                flight.refused.push(place);
                flight.missing.insert(place);
                self.begin_anew(context, id);
            }
            // A stale view or generation is answered by the log; the rest is tried again.
            Ok(_) | Err(_) => flight.refused.push(place),
        }
    }

    fn land(&mut self, context: &mut Context, id: u64) {
        let Some(flight) = self.flights.remove(&id) else { return };
        let mut stamps = flight.former;
        stamps.push(flight.stamp);
        match flight.then {
            Then::Piece(piece) => self.handle_landed(context, piece, stamps),
            Then::Begin => {} // complete with what follows it
            Then::MapPage(page) => {
                stamps.iter().for_each(|stamp| self.complete(*stamp));
                for piece in self.map.finish_write(page) {
                    self.handle_map_durable(context, piece);
                }
            }
            Then::Reconcile(oid) => {
                stamps.iter().for_each(|stamp| self.complete(*stamp));
                self.handle_repaired(oid);
            }
        }
    }

    /// After a state change: a flight whose group has another view starts again (ALL-ACK).
    pub(super) fn refresh_flights(&mut self, context: &mut Context) {
        let state = context.state.clone();
        let stale = |flight: &Flight| {
            let view = state.group_of(flight.oid).map(|(_, group)| group.view);
            flight.view != view
        };
        let ids: Vec<u64> =
            self.flights.iter().filter(|(_, flight)| stale(flight)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(flight) = self.flights.get_mut(&id) {
                flight.view = None;
                for (_, sent) in std::mem::take(&mut flight.pending) {
                    context.outstanding.remove(&sent);
                }
            }
            let _ = self.send_flight(context, id); // it waited before, and is counted already
        }
    }

    pub(super) fn resend_flights(&mut self, context: &mut Context, place: Place) {
        let ids: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.pending.contains_key(&place))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.resend_flight(context, id, place);
        }
    }

    fn resend_flight(&mut self, context: &mut Context, id: u64, place: Place) {
        let sent = self.flights.get(&id).and_then(|flight| flight.pending.get(&place));
        let Some(sent) = sent else { return };
        context.outstanding.remove(sent);
        self.send_flight_to(context, id, place);
    }

    /// Tries again what a member refused for the moment.
    pub(super) fn retry_refused(&mut self, context: &mut Context) {
        let refused: Vec<(u64, Vec<Place>)> = self
            .flights
            .iter_mut()
            .filter(|(_, flight)| !flight.refused.is_empty())
            .map(|(id, flight)| (*id, std::mem::take(&mut flight.refused)))
            .collect();
        for (id, places) in refused {
            for place in places {
                self.resend_flight(context, id, place);
            }
        }
    }
}

/// The write set of an object.
struct WriteSet {
    view: View,
    in_sync: Vec<Place>,
    joiners: Vec<Place>,
}

/// Who must have a change of an object, if it may be written now.
fn writable(context: &mut Context, oid: Oid) -> Result<Option<WriteSet>, Unfit> {
    let state = context.state.clone();
    let Some((pg, group)) = state.group_of(oid) else { return Ok(None) };
    context.check_fit(pg, group)?;
    let (in_sync, joiners) = (context.readers(pg, group), context.joiners(pg, group));
    Ok(Some(WriteSet { view: group.view, in_sync, joiners }))
}
