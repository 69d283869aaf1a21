//! One attachment: from the grant in the log to its last answer.
//!
//! ```text
//!  Barrier --all members listed--> Reconcile --all settled--> LoadMap --> Live --> Draining
//!  ask_barriers, barrier.rs        reconcile.rs               here        drain
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sheepdog_proto::peer::RequestBody;
use sheepdog_proto::{BLOCK_BYTES, Generation, LogIndex, Oid, Stamp, Vid};

use super::barrier::Peer;
use super::flight::{Flight, Mutation, Then};
use super::lock::RangeLocks;
use super::map::{PAGE_ENTRIES, VdiMap};
use super::piece::{Pending, Piece};
use super::read::{ReadFlight, ReadThen};
use super::reconcile::Reconcile;
use super::sequence::Sequencer;
use super::{Action, Context, Place, Purpose, request};
use crate::state::Attachment as Owner;
use crate::volume::{Operation, Refusal};

/// Map blocks fetched by one read while loading.
const LOAD_BLOCKS: u32 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Barrier,
    Reconcile,
    LoadMap { reads: u32 },
    Live,
    Draining,
    Drained,
}

#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) vid: Vid,
    pub(super) generation: Generation,
    pub(super) index: LogIndex,
    pub(super) shift: u8,
    pub(super) phase: Phase,
    pub(super) sequencer: Sequencer,
    pub(super) peers: BTreeMap<Place, Peer>,
    pub(super) locks: RangeLocks,
    pub(super) map: VdiMap,
    pub(super) requests: BTreeMap<u64, Pending>,
    pub(super) pieces: BTreeMap<u64, Piece>,
    pub(super) ready: VecDeque<u64>,
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) reads: BTreeMap<u64, ReadFlight>,
    pub(super) reconcile: Reconcile,
    pub(super) next: u64,
    /// Places that hold unstable operations of this generation, and what they were last told.
    pub(super) told: BTreeMap<Place, Stamp>,
    backlog: VecDeque<(u64, Operation)>,
}

impl Attachment {
    pub(super) fn new(vid: Vid, owner: &Owner, shift: u8) -> Self {
        Self {
            vid,
            generation: owner.generation,
            index: owner.index,
            shift,
            phase: Phase::Barrier,
            sequencer: Sequencer::new(owner.generation),
            peers: BTreeMap::new(),
            locks: RangeLocks::default(),
            map: VdiMap::new(vid),
            requests: BTreeMap::new(),
            pieces: BTreeMap::new(),
            ready: VecDeque::new(),
            flights: BTreeMap::new(),
            reads: BTreeMap::new(),
            reconcile: Reconcile::default(),
            next: 0,
            told: BTreeMap::new(),
            backlog: VecDeque::new(),
        }
    }

    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    pub(super) fn pending(&self) -> usize {
        self.requests.len() + self.backlog.len()
    }

    pub(super) const fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) const fn object_bytes(&self) -> u64 {
        1 << self.shift
    }

    pub(super) fn submit(&mut self, context: &mut Context, operation: Operation, token: u64) {
        match self.phase {
            Phase::Live => self.start(context, operation, token),
            Phase::Draining | Phase::Drained => context.answer(token, Err(Refusal::Fenced)),
            _ => {
                context.waits.attach += 1;
                self.backlog.push_back((token, operation));
            }
        }
    }

    pub(super) fn drain(&mut self, _context: &mut Context) {
        if self.is_live() {
            self.phase = Phase::Draining;
        }
    }

    /// The attachment is over: nothing of it may be answered with success any more.
    pub(super) fn abandon(&mut self, context: &mut Context) {
        let tokens = self.requests.keys().copied().chain(self.backlog.iter().map(|(t, _)| *t));
        for token in tokens.collect::<Vec<_>>() {
            context.answer(token, Err(Refusal::Fenced));
        }
        self.requests.clear();
        self.backlog.clear();
        let vid = self.vid;
        context.outstanding.retain(|_, outstanding| outstanding.vid != vid);
    }

    pub(super) fn handle_state(&mut self, context: &mut Context) {
        self.refresh_peers(context);
        self.refresh_reconcile(context);
        self.refresh_flights(context);
        self.refresh_reads(context);
    }

    pub(super) fn resend_to(&mut self, context: &mut Context, place: Place) {
        self.resend_barrier(context, place);
        self.resend_compare(context, place);
        self.resend_flights(context, place);
        self.resend_reads(context, place);
    }

    pub(super) fn tick(&mut self, context: &mut Context) {
        self.retry_refused(context);
        self.tell_settled(context);
        self.tell_watermark(context);
    }

    /// Runs everything that can go on now.
    pub(super) fn pump(&mut self, context: &mut Context) {
        loop {
            self.advance_phase(context);
            while let Some((page, bytes)) = self.map.start_write() {
                self.write_map_page(context, page, bytes);
            }
            let Some(piece) = self.ready.pop_front() else { break };
            self.run_piece(context, piece);
        }
        self.finish_drain(context);
    }

    fn advance_phase(&mut self, context: &mut Context) {
        if self.phase == Phase::Barrier && self.all_listed(context) {
            self.phase = Phase::Reconcile;
        }
        if !matches!(self.phase, Phase::Barrier) {
            self.pump_reconcile(context);
        }
        if self.phase == Phase::Reconcile && self.reconcile.is_idle() && self.all_settled(context) {
            self.load_map(context);
        }
        if self.phase == (Phase::LoadMap { reads: 0 }) {
            self.phase = Phase::Live;
            context.actions.push(Action::Live(self.vid));
            for (token, operation) in std::mem::take(&mut self.backlog) {
                self.start(context, operation, token);
            }
        }
    }

    fn load_map(&mut self, context: &mut Context) {
        let objects = context.state.catalogue.get(self.vid).map_or(0, |vdi| vdi.object_count());
        let blocks = (objects as u32).div_ceil(PAGE_ENTRIES);
        let mut reads = 0;
        for first in (0..blocks).step_by(LOAD_BLOCKS as usize) {
            let count = LOAD_BLOCKS.min(blocks - first);
            let oid = Oid::map(self.vid, 0);
            self.start_read(context, oid, first, count, ReadThen::LoadMap { first });
            reads += 1;
        }
        self.phase = Phase::LoadMap { reads };
    }

    /// Blocks of the map have been read.
    pub(super) fn handle_map_loaded(&mut self, first: u32, bytes: &[u8]) {
        let (pages, _) = bytes.as_chunks::<BLOCK_BYTES>();
        for (page, number) in pages.iter().zip(first..) {
            self.map.load(number, page);
        }
        if let Phase::LoadMap { reads } = &mut self.phase {
            *reads -= 1;
        }
    }

    fn write_map_page(&mut self, context: &mut Context, page: u32, data: sheepdog_proto::Payload) {
        let oid = Oid::map(self.vid, 0);
        let mutation = Mutation::write(oid, page, data);
        self.start_flight(context, oid, mutation, Then::MapPage(page));
    }

    fn finish_drain(&mut self, context: &mut Context) {
        let quiet = self.requests.is_empty() && self.flights.is_empty() && self.map.is_quiet();
        if self.phase == Phase::Draining && quiet {
            self.phase = Phase::Drained;
            self.tell_watermark(context);
            context.actions.push(Action::Drained(self.vid, self.generation));
        }
    }

    /// Tells every place that holds unstable operations how far they are settled.
    fn tell_watermark(&mut self, context: &mut Context) {
        let stable = self.sequencer.stable();
        let behind: Vec<Place> =
            self.told.iter().filter(|(_, told)| **told < stable).map(|(p, _)| *p).collect();
        for place in behind {
            let view = sheepdog_proto::View(0);
            let message = request(self.vid, self.generation, view, stable, RequestBody::Watermark);
            let id = context.send(place, Purpose::Settle, message);
            context.outstanding.remove(&id);
            self.told.insert(place, stable);
        }
        if self.sequencer.is_quiet() {
            self.told.clear();
        }
    }

    /// Places of the write set that may serve.
    pub(super) fn settled(&self, context: &Context, places: &[Place]) -> BTreeSet<Place> {
        let up = |place: &Place| {
            let life = context.state.members.get(place.node).map(|m| m.incarnation);
            self.peers.get(place).is_some_and(|peer| peer.is_settled() && Some(peer.life) == life)
        };
        places.iter().copied().filter(up).collect()
    }
}
