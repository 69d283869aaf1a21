//! Reconcile: copies that a dead gateway left different become equal before anyone looks.
//!
//! Way: every member lists the operations that may not be everywhere (`barrier`); for each object
//!      named, resets are rolled forward, then the named blocks are read from all in-sync members
//!      and the newest copy is written to the whole write set. The map comes first, it decides
//!      about the rest.
//! Holds:
//!   N1  an object is settled only with every member of its in-sync set alive and listed: a lost
//!       one must first be taken out by the log (`Act`); what a member lists of groups of which
//!       it takes no changes any more counts for nothing;
//!   N2  the newest copy is written under a fresh stamp, even where all are equal: the choice is
//!       final whatever turns up on a copy that could not be read, joiners get it too, and the
//!       object counts as changed for a member that is away and may lack it; a reset keeps its
//!       own, for writes that came after it must stay;
//!   N3  an object that is not in the map was never acknowledged (MAP-WITH-DATA) and has been
//!       answered as absent: what came to light of it is reset;
//!   N4  no operation of a client is under way in a group that is not ready, so nothing runs
//!       beside a repair of the same object; the map is settled before it is loaded, and from
//!       then on only written by its owner.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::peer::{
    BlockMeta, BlockState, PeerError, Reply, ReplyBody, RequestBody, Unstable, UnstableKind,
};
use sheepdog_proto::{BLOCK_BYTES, ObjectKind, Oid, Payload, PgId, Stamp, View};

use super::attachment::{Attachment, Phase};
use super::flight::{Flight, Mutation, Needs, Then};
use super::read::verified;
use super::{Context, Place, Purpose, request};
use crate::state::{ClusterState, OBJECT_SHIFTS};

/// Most blocks compared by one round of reads.
const RUN_BLOCKS: u32 = 256;
/// Most objects under repair at once.
const JOBS_MAX: usize = 16;
/// How often a block that nobody can read is asked for again.
const FAILURES_MAX: u32 = 3;
/// Blocks of the largest object.
const BLOCKS_PER_OBJECT: u32 = (1 << *OBJECT_SHIFTS.end()) / BLOCK_BYTES as u32;

#[derive(Debug, Default)]
struct Found {
    reset: Stamp,
    blocks: BTreeSet<u32>,
}

/// What one member holds of a run; `None` if that cannot be read.
type Copy = Option<(Vec<BlockMeta>, Payload)>;

#[derive(Debug)]
enum Step {
    /// Until the group is fit.
    Wait,
    /// Until the flights have landed.
    Flying { left: usize },
    /// Until every member has answered.
    Comparing { view: View, asked: BTreeMap<Place, u64>, got: Vec<Copy> },
}

#[derive(Debug)]
struct Job {
    reset: Stamp,
    /// The object was reset here, so it may exist on some members only.
    was_reset: bool,
    runs: Vec<(u32, u32)>,
    step: Step,
    /// How often no member could read the current run.
    failures: u32,
}

/// The reconciliation of one attachment.
#[derive(Debug, Default)]
pub(super) struct Reconcile {
    found: BTreeMap<Oid, Found>,
    jobs: BTreeMap<Oid, Job>,
    /// Objects whose lists can be cleared, and how often that set has grown.
    settled: BTreeSet<Oid>,
    version: u64,
    /// Something has changed that may let an object go on.
    stirred: bool,
    /// Which version each place was told.
    told: BTreeMap<Place, u64>,
}

impl Reconcile {
    /// Groups of objects to be settled, some perhaps twice.
    pub(super) fn unsettled<'a>(
        &'a self,
        state: &'a ClusterState,
    ) -> impl Iterator<Item = PgId> + 'a {
        let oids = self.found.keys().chain(self.jobs.keys());
        oids.filter_map(|oid| state.group_of(*oid)).map(|(pg, _)| pg)
    }

    /// Looks at every object again.
    pub(super) const fn stir(&mut self) {
        self.stirred = true;
    }

    pub(super) fn is_settled(&self, oid: Oid) -> bool {
        !self.found.contains_key(&oid) && !self.jobs.contains_key(&oid)
    }

    /// A place may have lost what it was told, or may list it again.
    pub(super) fn forget_told(&mut self, place: Place) {
        self.told.remove(&place);
    }

    pub(super) fn forget_all_told(&mut self) {
        self.told.clear();
    }

    fn settle(&mut self, oid: Oid) {
        self.settled.insert(oid);
        self.version += 1;
    }
}

impl Attachment {
    /// Takes over what a member listed. Operations of this generation are flights of ours.
    pub(super) fn note_unstable(
        &mut self,
        context: &mut Context,
        place: Place,
        list: Vec<Unstable>,
    ) {
        match self.phase {
            Phase::Barrier => self.listed.push((place, list)),
            Phase::Drained => {}
            _ => {
                self.take_over(context, place, list);
                self.refresh_ready(context);
            }
        }
    }

    /// Sorts out what must be settled (N1).
    pub(super) fn take_over(&mut self, context: &Context, place: Place, list: Vec<Unstable>) {
        self.reconcile.stir();
        let old = |entry: &Unstable| entry.stamp.generation() < self.generation;
        for entry in list.into_iter().filter(|e| old(e) && e.oid.vid() == self.vid) {
            let Some((pg, group)) = context.state.group_of(entry.oid) else { continue };
            if !group.takes(place.node) {
                continue;
            }
            let loaded = !matches!(self.phase, Phase::Barrier | Phase::Reconcile);
            if self.ready.has(pg) || loaded && entry.oid.kind() == ObjectKind::Map {
                self.reconcile.settle(entry.oid); // G1, N4
                continue;
            }
            let found = self.reconcile.found.entry(entry.oid).or_default();
            match entry.kind {
                UnstableKind::Reset => found.reset = found.reset.max(entry.stamp),
                UnstableKind::Blocks => {
                    let end = entry.first_block.saturating_add(entry.count).min(BLOCKS_PER_OBJECT);
                    found.blocks.extend(entry.first_block..end);
                }
            }
        }
    }

    /// Goes on with every object that can go on.
    pub(super) fn pump_reconcile(&mut self, context: &mut Context) {
        while std::mem::take(&mut self.reconcile.stirred) {
            self.open_jobs(context);
            let waits = |job: &Job| matches!(job.step, Step::Wait | Step::Flying { left: 0 });
            let jobs = self.reconcile.jobs.iter();
            let waiting: Vec<Oid> =
                jobs.filter(|(_, job)| waits(job)).map(|(oid, _)| *oid).collect();
            for oid in waiting {
                self.advance_job(context, oid);
            }
        }
    }

    /// Begins with objects whose group is fit, so that none keeps the place of another.
    fn open_jobs(&mut self, context: &mut Context) {
        let with_data = self.phase == Phase::Live;
        let found: Vec<Oid> = self.reconcile.found.keys().copied().collect();
        for oid in found {
            if self.reconcile.jobs.len() >= JOBS_MAX {
                return;
            }
            let known = with_data || oid.kind() == ObjectKind::Map; // N3
            if known && !self.reconcile.jobs.contains_key(&oid) && self.is_fit(context, oid) {
                let Some(found) = self.reconcile.found.remove(&oid) else { continue };
                let (reset, runs) = (found.reset, runs(&found.blocks));
                let was_reset = reset > Stamp::NONE;
                let job = Job { reset, was_reset, runs, step: Step::Wait, failures: 0 };
                self.reconcile.jobs.insert(oid, job);
            }
        }
    }

    /// Everyone in sync is alive and has listed what it holds (N1).
    fn is_fit(&self, context: &mut Context, oid: Oid) -> bool {
        let state = context.state.clone();
        state.group_of(oid).is_some_and(|(pg, group)| {
            context.check_fit(pg, group).is_ok() && self.is_complete(context, pg, group)
        })
    }

    fn advance_job(&mut self, context: &mut Context, oid: Oid) {
        let Some(job) = self.reconcile.jobs.get(&oid) else { return };
        let (reset, run) = (job.reset, job.runs.last().copied());
        if reset == Stamp::NONE && run.is_none() {
            self.close_job(context, oid);
            return;
        }
        if !self.is_fit(context, oid) {
            return;
        }
        let absent = oid.kind() == ObjectKind::Data && !self.map.has(oid.index());
        assert!(!absent || self.phase == Phase::Live, "N3: only a loaded map can miss an object");
        if absent || reset > Stamp::NONE {
            if let Some(job) = self.reconcile.jobs.get_mut(&oid) {
                job.reset = Stamp::NONE;
                job.step = Step::Flying { left: 1 };
                job.runs.retain(|_| !absent);
            }
            let stamp = if absent { self.sequencer.start() } else { reset }; // N2, N3
            let then = Then::Reconcile(oid);
            self.launch(context, Flight::new(oid, Mutation::Reset, stamp, then));
        } else if let Some((first, count)) = run {
            self.compare(context, oid, first, count);
        }
    }

    fn compare(&mut self, context: &mut Context, oid: Oid, first: u32, count: u32) {
        let state = context.state.clone();
        let Some((pg, group)) = state.group_of(oid) else { return };
        let (view, places) = (group.view, context.readers(pg, group));
        let mut asked = BTreeMap::new();
        for place in places {
            asked.insert(place, self.ask_copy(context, oid, view, place, first, count));
        }
        if let Some(job) = self.reconcile.jobs.get_mut(&oid) {
            job.step = Step::Comparing { view, asked, got: Vec::new() };
        }
    }

    fn ask_copy(
        &self,
        context: &mut Context,
        oid: Oid,
        view: View,
        place: Place,
        first_block: u32,
        count: u32,
    ) -> u64 {
        let body = RequestBody::Read { oid, first_block, count };
        let message = request(self.vid, self.generation, view, self.sequencer.stable(), body);
        context.send(place, Purpose::Compare(oid), message)
    }

    pub(super) fn handle_compare_reply(
        &mut self,
        context: &mut Context,
        oid: Oid,
        place: Place,
        reply: Reply,
    ) {
        let Some(job) = self.reconcile.jobs.get_mut(&oid) else { return };
        let Some((first, count)) = job.runs.last().copied() else { return };
        let Step::Comparing { asked, got, .. } = &mut job.step else { return };
        if asked.get(&place) != Some(&reply.id) {
            return;
        }
        let copy = match reply.result {
            Ok(ReplyBody::Blocks { blocks, data })
                if blocks.len() == count as usize && verified(oid, first, &blocks, &data) =>
            {
                Some((blocks, data))
            }
            // The log will tell; the object is compared anew after the next state change.
            Err(PeerError::StaleView(_) | PeerError::StaleGeneration | PeerError::NotInSync) => {
                return;
            }
            _ if count > 1 => {
                // One bad block must not hide its neighbours: look at each alone.
                job.runs.pop();
                job.runs.extend((first..first + count).map(|block| (block, 1)));
                job.compare_again(context);
                self.reconcile.stir();
                return;
            }
            _ => None,
        };
        asked.remove(&place);
        got.push(copy);
        if asked.is_empty() {
            self.repair_run(context, oid);
        }
    }

    /// Every member has shown its copy of the run: the newest blocks go to all.
    fn repair_run(&mut self, context: &mut Context, oid: Oid) {
        let state = context.state.clone();
        let has_joiners =
            state.group_of(oid).is_some_and(|(_, group)| state.joiners(group).next().is_some());
        let Some(job) = self.reconcile.jobs.get_mut(&oid) else { return };
        let Some((first, count)) = job.runs.last().copied() else { return };
        let Step::Comparing { got, .. } = std::mem::replace(&mut job.step, Step::Wait) else {
            return;
        };
        if got.len() > 1 && got.iter().all(Option::is_none) && job.failures < FAILURES_MAX {
            // Nothing to choose from; what one of them could read later would be a surprise.
            job.failures += 1;
            self.reconcile.stir();
            return;
        }
        job.failures = 0;
        job.runs.pop();
        let others = Others { has_joiners, may_lack_object: job.was_reset };
        let repairs: Vec<(Mutation, Needs)> =
            (0..count).filter_map(|at| repair(oid, first, at as usize, &got, others)).collect();
        job.step = Step::Flying { left: repairs.len() };
        self.reconcile.stir();
        for repair in repairs {
            self.start_flight(context, oid, repair, Then::Reconcile(oid)); // N2
        }
    }

    /// A flight of a repair has landed.
    pub(super) fn handle_repaired(&mut self, oid: Oid) {
        if let Some(Job { step: Step::Flying { left }, .. }) = self.reconcile.jobs.get_mut(&oid) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.reconcile.stir();
            }
        }
    }

    fn close_job(&mut self, context: &Context, oid: Oid) {
        self.reconcile.jobs.remove(&oid);
        self.reconcile.settle(oid);
        self.reconcile.stir();
        self.refresh_group(context, oid);
    }

    /// Tells every place which objects are settled, if it has not been told.
    pub(super) fn tell_settled(&mut self, context: &mut Context) {
        let version = self.reconcile.version;
        if version == 0 {
            return;
        }
        let told = |place: &Place| self.reconcile.told.get(place) == Some(&version);
        let behind: BTreeSet<Place> = self.peers.keys().filter(|p| !told(p)).copied().collect();
        if behind.is_empty() {
            return;
        }
        let mut lists: BTreeMap<Place, Vec<Oid>> = BTreeMap::new();
        for oid in &self.reconcile.settled {
            let Some((pg, group)) = context.state.group_of(*oid) else { continue };
            for place in context.write_set(pg, group) {
                if behind.contains(&place) {
                    lists.entry(place).or_default().push(*oid);
                }
            }
        }
        for (place, oids) in lists {
            let (body, stable) = (RequestBody::Settle { oids }, self.sequencer.stable());
            let message = request(self.vid, self.generation, View(0), stable, body);
            context.send_and_forget(place, message);
        }
        self.reconcile.told.extend(behind.into_iter().map(|place| (place, version)));
    }

    /// After a state change: a comparison under a view that has passed begins again.
    pub(super) fn refresh_reconcile(&mut self, context: &mut Context) {
        let state = context.state.clone();
        self.reconcile.stir();
        for (oid, job) in &mut self.reconcile.jobs {
            let now = state.group_of(*oid).map(|(_, group)| group.view);
            if matches!(&job.step, Step::Comparing { view, .. } if Some(*view) != now) {
                job.compare_again(context);
            }
        }
    }

    pub(super) fn resend_compare(&mut self, context: &mut Context, place: Place) {
        self.reconcile.stir();
        for job in self.reconcile.jobs.values_mut() {
            if matches!(&job.step, Step::Comparing { asked, .. } if asked.contains_key(&place)) {
                job.compare_again(context);
            }
        }
    }
}

impl Job {
    fn compare_again(&mut self, context: &mut Context) {
        if let Step::Comparing { asked, .. } = std::mem::replace(&mut self.step, Step::Wait) {
            for id in asked.values() {
                context.outstanding.remove(id);
            }
        }
    }
}

/// What a repair must know of the members besides their copies of the block.
#[derive(Clone, Copy, Debug)]
struct Others {
    has_joiners: bool,
    /// Some may have the object, others not.
    may_lack_object: bool,
}

/// What makes one block equal everywhere (N2). Where all in-sync members have none nothing need be
/// done, unless a joiner may have one.
fn repair(
    oid: Oid,
    first: u32,
    position: usize,
    got: &[Copy],
    others: Others,
) -> Option<(Mutation, Needs)> {
    let readable = || got.iter().flatten();
    let metas = || readable().filter_map(|(blocks, _)| blocks.get(position));
    let newest = metas().map(|meta| meta.stamp).max()?;
    let absent = metas().all(|meta| meta.state == BlockState::Absent);
    let is_sure = absent && got.iter().all(Option::is_some);
    if is_sure && !others.has_joiners {
        return None;
    }
    let is_newest = |blocks: &[BlockMeta]| blocks.get(position).map(|b| b.stamp) == Some(newest);
    let (blocks, data) = readable().find(|(blocks, _)| is_newest(blocks))?;
    let number = first + position as u32;
    if blocks.get(position)?.state != BlockState::Data {
        // If nobody has the block, perhaps nobody has the object.
        let is_strict = is_sure && !others.may_lack_object;
        let needs = if is_strict { Needs::Object } else { Needs::Nothing };
        return Some((Mutation::Hole { first: number, count: 1 }, needs));
    }
    let before = blocks.iter().take(position).filter(|b| b.state == BlockState::Data).count();
    let at = before * BLOCK_BYTES;
    Some((Mutation::write(oid, number, data.slice(at..at + BLOCK_BYTES)), Needs::Nothing))
}

/// Neighbouring blocks together, at most [`RUN_BLOCKS`] each.
fn runs(blocks: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for block in blocks {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == *block && *count < RUN_BLOCKS => *count += 1,
            _ => runs.push((*block, 1)),
        }
    }
    runs
}

#[cfg(test)]
#[path = "reconcile/tests.rs"]
mod tests;
