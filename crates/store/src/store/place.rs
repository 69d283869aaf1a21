//! Placing: large writes go to their unit first, and to the log only by name.
//!
//! Why: they are written once instead of twice.
//! Way: `start_placing` writes the data; one sync serves all that were under way when the first
//!      of them ended, for it costs as much as a large write; then `join` looks whether the write
//!      is still what was planned and notes its record, or sends it the way of small ones.
//! Holds:
//!   PL1 data goes only where nothing is: into a unit that nobody refers to (redirect), or over
//!       blocks that hold nothing in the committed state and in none that is planned, in a unit
//!       that no checkpoint is writing into (OLD-UNTIL-COMMITTED);
//!   PL2 a record names data that was synced (REDIRECT-BEFORE-COMMIT);
//!   PL3 two writes are never under way to the same place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use sheepdog_proto::{BLOCK_BYTES, Oid, Stamp};

use super::plan::{Span, Written};
use super::work::Work;
use super::{NO_VIEW, Store};
use crate::contents::pages::PageKey;
use crate::disk::Operation;
use crate::error::StoreError;
use crate::shape::{PAGE_BLOCKS, Shape, UNIT_BLOCKS, cut_at_units, runs};
use crate::wal::record::Record;

/// Where a large write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A whole unit replaces the one that is there, or fills one that is not.
    NewUnit,
    /// Into the unit that the blocks have.
    Fill(u32),
    /// Part of a unit that the object does not have yet.
    FillNew,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Placing {
    job: u64,
    span: Span,
    written: Written,
    blocks: Range<u32>,
    unit: u32,
}

/// All that are under way.
#[derive(Debug, Default)]
pub(super) struct Placings {
    all: BTreeMap<u64, Placing>,
    /// Being written.
    writing: BTreeSet<u64>,
    /// Written, but not synced.
    written: Vec<u64>,
    /// The newest that the next sync waits for.
    sync_after: u64,
    /// Being synced, and syncs that are under way.
    syncing: Vec<u64>,
    syncs: u32,
}

impl Placing {
    fn log_bytes_max(&self) -> u64 {
        super::hold::log_bytes_max_of((self.blocks.end - self.blocks.start).into(), true)
    }
}

impl Placings {
    /// The newest one; zero if there is none.
    pub(super) fn last(&self) -> u64 {
        self.all.last_key_value().map_or(0, |(id, _)| *id)
    }

    /// Whether one up to `id` is under way.
    pub(super) fn has_up_to(&self, id: u64) -> bool {
        self.all.first_key_value().is_some_and(|(first, _)| *first <= id)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Bytes that they take in the log if all of them must go there instead.
    pub(super) fn log_bytes(&self) -> u64 {
        self.all.values().map(|placing| placing.log_bytes_max()).sum()
    }

    /// Whether something waits for a sync that need not wait for others any more.
    fn may_sync(&self) -> bool {
        let is_first = self.writing.first().is_none_or(|id| *id > self.sync_after);
        self.syncs == 0 && !self.written.is_empty() && is_first
    }

    /// The unit that another write is filling for the same place.
    fn unit_for(&self, oid: Oid, block: u32) -> Option<u32> {
        let mut same = self.all.values().filter(|placing| {
            placing.span.oid == oid && placing.blocks.start / UNIT_BLOCKS == block / UNIT_BLOCKS
        });
        let first = same.next()?;
        let is_whole = first.blocks.end - first.blocks.start == UNIT_BLOCKS;
        (!is_whole).then_some(first.unit)
    }

    fn overlaps(&self, oid: Oid, blocks: &Range<u32>) -> bool {
        self.newest_over(oid, blocks, u64::MAX).is_some()
    }

    /// The newest one up to `last` that writes some of these blocks.
    pub(super) fn newest_over(&self, oid: Oid, blocks: &Range<u32>, last: u64) -> Option<u64> {
        let mut older = self.all.range(..=last).rev();
        let newest = older.find(|(_, placing)| {
            placing.span.oid == oid
                && placing.blocks.start < blocks.end
                && blocks.start < placing.blocks.end
        });
        newest.map(|(id, _)| *id)
    }

    /// Size of an object into which one writes that no reset before it has made superfluous.
    pub(super) fn shape(&self, oid: Oid, base: Stamp) -> Option<Shape> {
        let mut same = self.all.values().filter(|placing| placing.span.oid == oid);
        same.find(|placing| placing.span.stamp >= base).map(|placing| placing.span.shape)
    }

    /// Bytes that they may take from the file system.
    pub(super) fn bytes(&self) -> u64 {
        let blocks = self.all.values().map(|placing| placing.blocks.end - placing.blocks.start);
        blocks.map(u64::from).sum::<u64>() * BLOCK_BYTES as u64
    }
}

impl Store {
    /// Where a part of a unit can be filled in place, if it can (PL1, PL3).
    pub(super) fn fill_target(&self, oid: Oid, blocks: &Range<u32>) -> Option<Target> {
        let holds_nothing = |block: u32| {
            !self.contents.entry(oid, block).is_data()
                && !self.pending.entry(&self.contents, oid, block).is_data()
        };
        if !blocks.clone().all(holds_nothing)
            || self.placings.overlaps(oid, blocks)
            || self.pending.may_free_unit(oid, blocks.start)
        {
            return None;
        }
        let unit = self.pending.unit(&self.contents, oid, blocks.start);
        match unit.or_else(|| self.placings.unit_for(oid, blocks.start)) {
            Some(unit) if self.checkpointer.writes_into(unit) => None,
            Some(unit) => Some(Target::Fill(unit)),
            None => Some(Target::FillNew),
        }
    }

    /// Begins to put a part of a write in place. False where a slab is needed that cannot be
    /// made.
    pub(super) fn start_placing(
        &mut self,
        job: u64,
        span: &Span,
        written: &Written,
        blocks: Range<u32>,
        target: Target,
    ) -> bool {
        let (unit, is_new) = match target {
            Target::Fill(unit) => (unit, false),
            Target::NewUnit | Target::FillNew => (self.contents.units.take().0, true),
        };
        let Ok((file, offset)) = self.files.place(&mut self.disk, unit, blocks.start) else {
            if is_new {
                self.contents.units.give_back(unit);
            }
            return false;
        };
        let (_, data) = written.part(&blocks);
        self.statistics.data_bytes += data.len() as u64;
        let parts = vec![data];
        let operation = Operation::Write { file, offset, parts, durable: false, direct: true };
        let id = self.next_id();
        self.contents.units.begin_write(unit);
        for key in page_keys(span.oid, &blocks) {
            self.contents.pages.retain(key);
        }
        if let Some(job) = self.jobs.get_mut(&job) {
            job.parts += 1;
        }
        let (span, written) = (*span, written.clone());
        let placing = Placing { job, span, written, blocks, unit };
        self.placings.all.insert(id, placing);
        self.placings.writing.insert(id);
        self.begin(Work::Place(id), operation);
        true
    }

    /// The data are written.
    pub(super) fn take_placed(&mut self, id: u64) {
        let placings = &mut self.placings;
        placings.writing.remove(&id);
        if placings.written.is_empty() {
            placings.sync_after = placings.writing.last().copied().unwrap_or_default();
        }
        placings.written.push(id);
    }

    /// One sync for everything that was written since the last began (PL2).
    pub(super) fn sync_placings(&mut self) {
        if !self.placings.may_sync() {
            return;
        }
        let written = std::mem::take(&mut self.placings.written);
        let mut files = BTreeSet::new();
        for id in &written {
            let Some(placing) = self.placings.all.get(id) else { continue };
            match self.files.place(&mut self.disk, placing.unit, 0) {
                Ok((file, _)) => files.insert(file),
                Err(_) => return, // The disk has failed.
            };
        }
        self.placings.syncing = written;
        self.placings.syncs = files.len() as u32;
        for file in files {
            self.begin(Work::SyncPlacings, Operation::Sync { file });
        }
    }

    pub(super) fn take_synced_placings(&mut self) {
        self.placings.syncs -= 1;
        if self.placings.syncs == 0 {
            for id in std::mem::take(&mut self.placings.syncing) {
                self.join(id);
            }
        }
    }

    /// The data are durable: the write goes to the log by name if it is still what was planned.
    fn join(&mut self, id: u64) {
        let Some(placing) = self.placings.all.remove(&id) else { return };
        self.contents.units.end_write(placing.unit);
        let part = Span {
            first_block: placing.blocks.start,
            count: placing.blocks.end - placing.blocks.start,
            ..placing.span
        };
        let newer = self.newer_blocks(&part);
        if let Some(refusal) = self.check_shape(&part).err().filter(|_| !newer.is_empty()) {
            self.refuse_placing(placing, refusal.into());
            return;
        }
        if newer.len() as u32 == part.count && self.has_place(&placing) {
            let (checksums, data) = placing.written.part(&placing.blocks);
            let Span { oid, shape, first_block, stamp, view, .. } = part;
            let unit = placing.unit;
            let record = Record::Placed { oid, shape, first_block, stamp, view, checksums, unit };
            self.note_placed(record, data, placing.job);
        } else {
            self.log_instead(&placing, newer);
        }
        self.let_go_of_pages(&placing);
        self.end_part(placing.job, 0, None);
    }

    /// Whether the place is still the right one (PL1).
    fn has_place(&self, placing: &Placing) -> bool {
        let oid = placing.span.oid;
        if placing.blocks.end - placing.blocks.start == UNIT_BLOCKS {
            return true;
        }
        // What is about to empty the unit would take it away.
        if self.pending.may_free_unit(oid, placing.blocks.start) {
            return false;
        }
        let have = self.pending.unit(&self.contents, oid, placing.blocks.start);
        let is_same = match have {
            Some(unit) => unit == placing.unit,
            None => !self.contents.units.is_leaving(placing.unit),
        };
        let holds_nothing = |block: u32| {
            !self.contents.entry(oid, block).is_data()
                && !self.pending.entry(&self.contents, oid, block).is_data()
        };
        is_same && placing.blocks.clone().all(holds_nothing)
    }

    /// Somebody was faster: what is still newer goes the way of small writes.
    fn log_instead(&mut self, placing: &Placing, newer: Vec<u32>) {
        self.give_back_unit(placing);
        if let Some(job) = self.jobs.get_mut(&placing.job) {
            job.blocks =
                job.blocks + newer.len() as u32 - (placing.blocks.end - placing.blocks.start);
        }
        if newer.is_empty() {
            self.note_duplicate(placing.job, placing.span.oid, NO_VIEW.max(placing.span.view));
        }
        for run in runs(newer) {
            for blocks in cut_at_units(run) {
                self.log_write(placing.job, &placing.span, &placing.written, blocks);
            }
        }
    }

    /// The unit is free again, unless it is the object's, was, or will be: others may have
    /// filled it meanwhile.
    fn give_back_unit(&mut self, placing: &Placing) {
        let Placing { unit, .. } = *placing;
        let (oid, block) = (placing.span.oid, placing.blocks.start);
        let is_used = self.pending.names_unit(oid, block, unit)
            || self.contents.unit_for(oid, block) == Some(unit)
            || self.contents.units.is_leaving(unit)
            || self.placings.all.values().any(|other| other.unit == unit);
        if !is_used {
            self.contents.units.give_back(unit);
        }
    }

    /// There was no space for the data.
    pub(super) fn take_unplaced(&mut self, id: u64) {
        let Some(placing) = self.placings.all.remove(&id) else { return };
        self.placings.writing.remove(&id);
        self.room.forget();
        self.contents.units.end_write(placing.unit);
        self.refuse_placing(placing, StoreError::Full);
    }

    /// Nothing refers to the data.
    fn refuse_placing(&mut self, placing: Placing, error: StoreError) {
        self.give_back_unit(&placing);
        self.let_go_of_pages(&placing);
        self.end_part(placing.job, 0, Some(error));
    }

    fn let_go_of_pages(&mut self, placing: &Placing) {
        for key in page_keys(placing.span.oid, &placing.blocks) {
            self.contents.pages.release(key);
        }
    }
}

fn page_keys(oid: Oid, blocks: &Range<u32>) -> impl Iterator<Item = PageKey> + use<> {
    let pages = blocks.start / PAGE_BLOCKS..blocks.end.div_ceil(PAGE_BLOCKS);
    pages.map(move |page| PageKey { oid, page })
}
