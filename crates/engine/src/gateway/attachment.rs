//! One attachment: from the grant in the log to its last answer.
//!
//! ```text
//!  Barrier --all members listed--> Reconcile --map settled--> LoadMap --> Live --> Drained
//!  refresh_peers                   pump_reconcile             load_map    drain, finish_drain
//! ```
//! The groups of the data become ready one by one, some perhaps long after `Live` (`ready`).
//! Holds:
//!   A1 a grant may be told before the state that has it: until then the attachment waits;
//!   A2 what was told to a place is told again after its connection or its life has ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sheepdog_proto::peer::{RequestBody, Unstable};
use sheepdog_proto::{BLOCK_BYTES, Generation, LogIndex, Oid, Stamp, Vid, View};

use super::barrier::Peer;
use super::flight::{Flight, Mutation, Needs, Then};
use super::heal::HEAL;
use super::lock::RangeLocks;
use super::map::{PAGE_ENTRIES, VdiMap};
use super::piece::{Pending, Piece};
use super::read::{ReadFlight, ReadThen};
use super::ready::Ready;
use super::reconcile::Reconcile;
use super::sequence::Sequencer;
use super::{Action, Context, Place, request};
use crate::state::{Attachment as Owner, Group};
use crate::volume::{Operation, Refusal};

/// Map blocks fetched by one read while loading.
const LOAD_BLOCKS: u32 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Barrier,
    Reconcile,
    LoadMap { reads: u32 },
    Live,
    Drained,
}

#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) vid: Vid,
    pub(super) generation: Generation,
    pub(super) index: LogIndex,
    /// Size of the VDI's objects; known once the barrier is over.
    pub(super) shift: u8,
    pub(super) phase: Phase,
    /// No more operations will come.
    closing: bool,
    pub(super) sequencer: Sequencer,
    pub(super) peers: BTreeMap<Place, Peer>,
    /// The groups as of the last state, to see who came in sync.
    pub(super) groups: Arc<Vec<Group>>,
    /// Places of living members that have not listed what they hold.
    pub(super) unlisted: usize,
    /// What members listed before the barrier was over.
    pub(super) listed: Vec<(Place, Vec<Unstable>)>,
    pub(super) ready: Ready,
    pub(super) locks: RangeLocks,
    pub(super) map: VdiMap,
    pub(super) requests: BTreeMap<u64, Pending>,
    pub(super) pieces: BTreeMap<u64, Piece>,
    /// Pieces that wait for the watermark (W1).
    pub(super) delayed: VecDeque<u64>,
    /// Pieces whose turn has come.
    pub(super) runnable: VecDeque<u64>,
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) reads: BTreeMap<u64, ReadFlight>,
    pub(super) reconcile: Reconcile,
    /// Objects that members in sync have, as far as somebody who joins had to wait for that (AN4).
    pub(super) known: BTreeSet<u32>,
    /// Objects and first blocks of what is being healed.
    pub(super) healing: BTreeSet<(u32, u32)>,
    pub(super) next: u64,
    /// Places that may hold operations of this generation, and the watermark they were told.
    pub(super) told: BTreeMap<Place, Stamp>,
    backlog: VecDeque<(u64, Operation)>,
}

impl Attachment {
    pub(super) fn new(vid: Vid, owner: &Owner) -> Self {
        Self {
            vid,
            generation: owner.generation,
            index: owner.index,
            shift: 0,
            phase: Phase::Barrier,
            closing: false,
            sequencer: Sequencer::new(owner.generation),
            peers: BTreeMap::new(),
            groups: Arc::default(),
            unlisted: 0,
            listed: Vec::new(),
            ready: Ready::default(),
            locks: RangeLocks::default(),
            map: VdiMap::new(vid),
            requests: BTreeMap::new(),
            pieces: BTreeMap::new(),
            delayed: VecDeque::new(),
            runnable: VecDeque::new(),
            flights: BTreeMap::new(),
            reads: BTreeMap::new(),
            reconcile: Reconcile::default(),
            known: BTreeSet::new(),
            healing: BTreeSet::new(),
            next: 0,
            told: BTreeMap::new(),
            backlog: VecDeque::new(),
        }
    }

    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// False once the state has the grant and no longer gives the VDI to this generation (A1).
    pub(super) fn is_granted(&self, context: &Context) -> bool {
        let vdi = context.state.catalogue.get(self.vid);
        let owner = vdi.and_then(|vdi| vdi.attachment.as_ref());
        context.state.index < self.index
            || owner.is_some_and(|owner| {
                owner.node == context.me.node && owner.generation == self.generation
            })
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live) && !self.closing
    }

    /// The grant or its answers are still awaited: every entry of the log may be the one.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Barrier)
    }

    #[cfg(test)]
    pub(super) const fn is_drained(&self) -> bool {
        matches!(self.phase, Phase::Drained)
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
        if self.closing {
            context.answer(token, Err(Refusal::Fenced));
        } else if self.phase == Phase::Live {
            self.start(context, operation, token);
        } else {
            context.waits.attach += 1;
            self.backlog.push_back((token, operation));
        }
    }

    pub(super) const fn drain(&mut self) {
        self.closing = true;
    }

    /// The attachment is over: nothing of it may be answered with success any more.
    pub(super) fn abandon(&mut self, context: &mut Context) {
        let tokens = self.requests.keys().copied().chain(self.backlog.iter().map(|(t, _)| *t));
        for token in tokens.filter(|token| token & HEAL == 0).collect::<Vec<_>>() {
            context.answer(token, Err(Refusal::Fenced));
        }
        context.fence_held(self.vid);
        self.requests.clear();
        self.backlog.clear();
        let vid = self.vid;
        context.outstanding.retain(|_, outstanding| outstanding.vid != vid);
    }

    pub(super) fn handle_state(&mut self, context: &mut Context) {
        self.refresh_peers(context);
        self.list_joined(context);
        // Whoever has joined may have fetched what others had not been told yet.
        self.told = self.peers.keys().map(|place| (*place, Stamp::NONE)).collect();
        self.reconcile.forget_all_told();
        self.refresh_reconcile(context);
        self.refresh_flights(context);
        self.refresh_reads(context);
        self.refresh_ready(context);
    }

    pub(super) fn resend_to(&mut self, context: &mut Context, place: Place) {
        self.forget_told(place);
        self.resend_barrier(context, place);
        self.resend_compare(context, place);
        self.resend_flights(context, place);
        self.resend_reads(context, place);
    }

    pub(super) fn tick(&mut self, context: &mut Context) {
        self.retry_barriers(context);
        self.retry_refused(context);
        self.retry_reads(context);
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
            let Some(piece) = self.runnable.pop_front() else { break };
            self.run_piece(context, piece);
        }
        self.finish_drain(context);
    }

    fn advance_phase(&mut self, context: &mut Context) {
        if self.phase == Phase::Barrier {
            self.finish_barrier(context);
        }
        if !matches!(self.phase, Phase::Barrier | Phase::Drained) {
            self.pump_reconcile(context);
        }
        if self.phase == Phase::Reconcile && self.is_map_settled(context) {
            self.load_map(context);
        }
        if self.phase == (Phase::LoadMap { reads: 0 }) {
            self.phase = Phase::Live;
            self.reconcile.stir();
            context.actions.push(Action::Live(self.vid));
            for (token, operation) in std::mem::take(&mut self.backlog) {
                self.start(context, operation, token);
            }
        }
    }

    fn finish_barrier(&mut self, context: &mut Context) {
        let state = context.state.clone();
        let Some(vdi) = state.catalogue.get(self.vid) else { return };
        if state.index < self.index || !self.all_listed() {
            return; // A1
        }
        self.phase = Phase::Reconcile;
        self.shift = vdi.object_shift;
        let policy = state.policies.get(usize::from(vdi.policy.0));
        self.ready = Ready::new(policy.map_or(0, |policy| policy.groups.len()));
        for (place, list) in std::mem::take(&mut self.listed) {
            self.take_over(context, place, list);
        }
        self.refresh_ready(context);
    }

    fn is_map_settled(&self, context: &mut Context) -> bool {
        let oid = Oid::map(self.vid, 0);
        let state = context.state.clone();
        state.group_of(oid).is_some_and(|(pg, group)| {
            context.check_fit(pg, group).is_ok()
                && self.is_complete(context, pg, group)
                && self.reconcile.is_settled(oid)
        })
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
        self.start_flight(context, oid, (mutation, Needs::Nothing), Then::MapPage(page));
    }

    pub(super) fn finish_drain(&mut self, context: &mut Context) {
        if !self.closing || self.phase == Phase::Drained {
            return;
        }
        if self.pending() + context.lease.held(self.vid) > 0 {
            return;
        }
        self.phase = Phase::Drained;
        self.tell_watermark(context);
        context.actions.push(Action::Drained(self.vid, self.generation));
    }

    /// A mutation and what belongs to it is durable everywhere.
    pub(super) fn complete(&mut self, stamp: Stamp) {
        self.sequencer.complete(stamp);
        if !self.delayed.is_empty() && !self.sequencer.is_full() {
            self.runnable.append(&mut self.delayed); // W1
        }
    }

    /// Tells every place that was sent operations how far they are settled.
    fn tell_watermark(&mut self, context: &mut Context) {
        let stable = self.sequencer.stable();
        for (place, told) in &mut self.told {
            if *told < stable && self.peers.contains_key(place) {
                let body = RequestBody::Watermark;
                let message = request(self.vid, self.generation, View(0), stable, body);
                context.send_and_forget(*place, message);
                *told = stable;
            }
        }
    }

    /// What was told to this place may be lost, or forgotten by a crash (A2).
    pub(super) fn forget_told(&mut self, place: Place) {
        if let Some(told) = self.told.get_mut(&place) {
            *told = Stamp::NONE;
        }
        self.reconcile.forget_told(place);
    }
}
