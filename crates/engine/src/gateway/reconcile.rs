//! Reconcile: copies that a dead gateway left different become equal before anyone looks.
//!
//! Way: every member lists the operations that may not be everywhere (`barrier`); for each object
//!      named, resets are rolled forward, then the named blocks are read from the whole write set
//!      and the newest copy is written to all.
//! Holds:
//!   RECONCILE-FIRST  an attachment serves nothing before this has ended; a member that returns
//!                    later serves nothing before its own list was settled;
//!   N1               an object is compared only with every member of its in-sync set listed: a
//!                    lost one must first be taken out by the log (`Act`);
//!   N2               the newest copy is written with the stamp it already has: a stamp belongs to
//!                    one content only, so a newer write that runs at the same time always wins,
//!                    and doing it twice does no harm;
//!   N3               the lists are cleared (`Settle`) only when the map entries of objects that
//!                    came to light are durable too.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::peer::{
    BlockMeta, BlockState, PeerError, Reply, ReplyBody, RequestBody, Unstable, UnstableKind,
};
use sheepdog_proto::{BLOCK_BYTES, ObjectKind, Oid, Payload, Stamp, View};

use super::attachment::{Attachment, Phase};
use super::flight::{Mutation, Then};
use super::read::verified;
use super::{Context, Place, Purpose, request};

/// Most blocks compared by one round of reads.
const RUN_BLOCKS: u32 = 256;
/// Most objects under repair at once.
const JOBS_MAX: usize = 16;

#[derive(Debug, Default)]
struct Found {
    reset: Stamp,
    blocks: BTreeSet<u32>,
}

/// What one member holds of a run.
type Copy = (Place, Vec<BlockMeta>, Payload);

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
    runs: Vec<(u32, u32)>,
    step: Step,
    /// Some member has data, so the object exists.
    exists: bool,
}

/// The reconciliation of one attachment.
#[derive(Debug, Default)]
pub(super) struct Reconcile {
    found: BTreeMap<Oid, Found>,
    jobs: BTreeMap<Oid, Job>,
    gate: bool,
    /// Objects that exist and whose map entry must be there.
    exist: BTreeSet<u32>,
    /// Objects whose lists can be cleared.
    settled: Vec<Oid>,
}

impl Reconcile {
    pub(super) fn is_idle(&self) -> bool {
        self.found.is_empty() && self.jobs.is_empty()
    }

    pub(super) const fn gates_reads(&self) -> bool {
        self.gate
    }
}

impl Attachment {
    /// Takes over what a member listed. Operations of this generation are flights of ours.
    pub(super) fn note_unstable(&mut self, list: Vec<Unstable>) {
        let blocks_max = (1_u32 << self.shift.max(22)) / BLOCK_BYTES as u32;
        let old = |entry: &Unstable| entry.stamp.generation() < self.generation;
        for entry in list.into_iter().filter(|e| old(e) && e.oid.vid() == self.vid) {
            let found = self.reconcile.found.entry(entry.oid).or_default();
            match entry.kind {
                UnstableKind::Reset => found.reset = found.reset.max(entry.stamp),
                UnstableKind::Blocks => {
                    let end = entry.first_block.saturating_add(entry.count).min(blocks_max);
                    found.blocks.extend(entry.first_block..end);
                }
            }
        }
        self.reconcile.gate |= self.phase == Phase::Live && !self.reconcile.is_idle();
    }

    /// Goes on with every object that can go on.
    pub(super) fn pump_reconcile(&mut self, context: &mut Context) {
        self.open_jobs();
        let waiting: Vec<Oid> = self
            .reconcile
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job.step, Step::Wait | Step::Flying { left: 0 }))
            .map(|(oid, _)| *oid)
            .collect();
        for oid in waiting {
            self.advance_job(context, oid);
        }
        if self.reconcile.is_idle() {
            self.end_reconcile(context);
        }
    }

    fn open_jobs(&mut self) {
        let reconcile = &mut self.reconcile;
        while reconcile.jobs.len() < JOBS_MAX {
            let free = |(oid, _): &(&Oid, &Found)| !reconcile.jobs.contains_key(oid);
            let Some(oid) = reconcile.found.iter().find(free).map(|(oid, _)| *oid) else { return };
            let Some(found) = reconcile.found.remove(&oid) else { return };
            let runs = runs(&found.blocks);
            let job = Job { reset: found.reset, runs, step: Step::Wait, exists: false };
            reconcile.jobs.insert(oid, job);
        }
    }

    fn advance_job(&mut self, context: &mut Context, oid: Oid) {
        let Some(job) = self.reconcile.jobs.get(&oid) else { return };
        let (reset, run) = (job.reset, job.runs.last().copied());
        if reset == Stamp::NONE && run.is_none() {
            self.close_job(oid);
            return;
        }
        let Some((view, places)) = self.writable(context, oid, true) else { return }; // N1
        if reset > Stamp::NONE {
            if let Some(job) = self.reconcile.jobs.get_mut(&oid) {
                job.reset = Stamp::NONE;
                job.step = Step::Flying { left: 1 };
            }
            self.launch(context, oid, Mutation::Reset, reset, Then::Reconcile(oid));
        } else if let Some((first, count)) = run {
            let mut asked = BTreeMap::new();
            for place in places {
                asked.insert(place, self.ask_copy(context, oid, view, place, first, count));
            }
            if let Some(job) = self.reconcile.jobs.get_mut(&oid) {
                job.step = Step::Comparing { view, asked, got: Vec::new() };
            }
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
                (place, blocks, data)
            }
            // The log will tell; the object is compared anew after the next state change.
            Err(PeerError::StaleView(_) | PeerError::StaleGeneration | PeerError::NotInSync) => {
                return;
            }
            _ if count > 1 => {
                // One bad block must not hide its neighbours: look at each alone.
                job.runs.pop();
                job.runs.extend((first..first + count).map(|block| (block, 1)));
                let asked = std::mem::take(asked);
                job.step = Step::Wait;
                asked.values().for_each(|id| {
                    context.outstanding.remove(id);
                });
                return;
            }
            _ => {
                let none = BlockMeta { stamp: Stamp::NONE, checksum: 0, state: BlockState::Absent };
                (place, vec![none], Payload::empty())
            }
        };
        asked.remove(&place);
        got.push(copy);
        if asked.is_empty() {
            self.repair_run(context, oid);
        }
    }

    /// Every member has shown its copy of the run: the newest block goes to all where they differ.
    fn repair_run(&mut self, context: &mut Context, oid: Oid) {
        let Some(job) = self.reconcile.jobs.get_mut(&oid) else { return };
        let Some((first, count)) = job.runs.pop() else { return };
        let Step::Comparing { got, .. } = std::mem::replace(&mut job.step, Step::Wait) else {
            return;
        };
        job.exists |= got.iter().flat_map(|copy| &copy.1).any(|b| b.state != BlockState::Absent);
        let repairs: Vec<(Mutation, Stamp)> =
            (0..count).filter_map(|position| repair(oid, first, position as usize, &got)).collect();
        job.step = Step::Flying { left: repairs.len() };
        for (mutation, stamp) in repairs {
            self.launch(context, oid, mutation, stamp, Then::Reconcile(oid)); // N2
        }
    }

    /// A flight of a repair has landed.
    pub(super) fn handle_repaired(&mut self, oid: Oid) {
        if let Some(Job { step: Step::Flying { left }, .. }) = self.reconcile.jobs.get_mut(&oid) {
            *left = left.saturating_sub(1);
        }
    }

    fn close_job(&mut self, oid: Oid) {
        let Some(job) = self.reconcile.jobs.remove(&oid) else { return };
        if job.exists && oid.kind() == ObjectKind::Data {
            self.reconcile.exist.insert(oid.index());
        }
        self.reconcile.settled.push(oid);
    }

    fn end_reconcile(&mut self, context: &mut Context) {
        if self.any_listed() {
            self.settle_listed();
            self.reconcile.gate = false;
            self.send_waiting_flights(context);
            self.send_waiting_reads(context);
        }
        if self.phase == Phase::Live {
            for index in std::mem::take(&mut self.reconcile.exist) {
                if !self.map.has(index) {
                    self.map.change(index, true, None);
                }
            }
        }
    }

    /// Clears the lists of what is settled, once the map is durable (N3).
    pub(super) fn tell_settled(&mut self, context: &mut Context) {
        let done = self.phase == Phase::Live
            && self.map.is_quiet()
            && self.reconcile.exist.is_empty()
            && !self.reconcile.settled.is_empty();
        if !done {
            return;
        }
        let mut lists: BTreeMap<Place, Vec<Oid>> = BTreeMap::new();
        for oid in std::mem::take(&mut self.reconcile.settled) {
            let Some((pg, group)) = context.state.group_of(oid) else { continue };
            for place in context.write_set(pg, group) {
                lists.entry(place).or_default().push(oid);
            }
        }
        for (place, oids) in lists {
            let body = RequestBody::Settle { oids };
            let stable = self.sequencer.stable();
            let message = request(self.vid, self.generation, View(0), stable, body);
            context.send(place, Purpose::Settle, message);
        }
    }

    /// After a state change: a comparison under a view that has passed begins again.
    pub(super) fn refresh_reconcile(&mut self, context: &mut Context) {
        let state = context.state.clone();
        for (oid, job) in &mut self.reconcile.jobs {
            let now = state.group_of(*oid).map(|(_, group)| group.view);
            if let Step::Comparing { view, asked, .. } = &job.step
                && Some(*view) != now
            {
                asked.values().for_each(|id| {
                    context.outstanding.remove(id);
                });
                job.step = Step::Wait;
            }
        }
    }

    pub(super) fn resend_compare(&mut self, context: &mut Context, place: Place) {
        for job in self.reconcile.jobs.values_mut() {
            if let Step::Comparing { asked, .. } = &job.step
                && asked.contains_key(&place)
            {
                asked.values().for_each(|id| {
                    context.outstanding.remove(id);
                });
                job.step = Step::Wait;
            }
        }
    }
}

/// The newest copy of one block, if the copies differ.
fn repair(oid: Oid, first: u32, position: usize, got: &[Copy]) -> Option<(Mutation, Stamp)> {
    let metas = || got.iter().filter_map(|(_, blocks, _)| blocks.get(position));
    let newest = metas().map(|meta| meta.stamp).max()?;
    if metas().all(|meta| meta.stamp == newest) {
        return None;
    }
    let (_, blocks, data) =
        got.iter().find(|(_, blocks, _)| blocks.get(position).map(|b| b.stamp) == Some(newest))?;
    let number = first + position as u32;
    let mutation = match blocks.get(position)?.state {
        BlockState::Absent => return None,
        BlockState::Hole => Mutation::Hole { first: number, count: 1 },
        BlockState::Data => {
            let before =
                blocks.iter().take(position).filter(|b| b.state == BlockState::Data).count();
            let at = before * BLOCK_BYTES;
            Mutation::write(oid, number, data.slice(at..at + BLOCK_BYTES))
        }
    };
    Some((mutation, newest))
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
