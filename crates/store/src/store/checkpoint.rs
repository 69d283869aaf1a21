//! Checkpoints: everything before a segment is put in place, so that the log before it can go.
//!
//! Way: a batch that begins a segment begins a checkpoint (`begin_checkpoint`, when the batch is
//!      durable and before it is applied). Then, beside everything else: blocks of the overlay
//!      are written to their units in the order of places, metadata and index pages to their
//!      other copies; all files are synced; the checkpoint file, the root, is written; what
//!      left use before the segment becomes free.
//! Holds:
//!   CK1 the root is written after everything that it names was synced, and the log before it is
//!       given back after the root is durable (CKPT-BEFORE-RECYCLE);
//!   CK2 of a block only a committed content is written in place, and never into a unit into
//!       which a large write is under way;
//!   CK3 where there is no space, the write is tried again later: the log has everything.

use std::collections::{BTreeSet, VecDeque};

use sheepdog_proto::{BLOCK_BYTES, Payload};

use super::Store;
use super::work::Work;
use crate::contents::snapshot::{Image, Place, Placing};
use crate::disk::{FileId, Operation};
use crate::format::checkpoint::Checkpoint;
use crate::format::page::copy_offset;
use crate::shape::{UNIT_BLOCKS, UNIT_BYTES, runs};

/// Writes under way at once.
const DEPTH: usize = 32;
/// Blocks that are written together, at most.
const RUN_BLOCKS_MAX: usize = 256;
/// Units that left use and wait for a checkpoint, before one begins for them: 256 MiB.
const LEAVING_MAX: usize = 1024;

/// Ticks after which a checkpoint begins when there is space to give back, and when there is
/// anything to put in place.
const TICKS_FOR_SPACE: u32 = 20;
const TICKS_FOR_CHANGES: u32 = 600;

/// One operation of a checkpoint; it can be begun again.
#[derive(Debug)]
pub(super) enum Step {
    Write { file: FileId, offset: u64, parts: Vec<Payload>, kind: Kind },
    Punch { file: FileId, offset: u64, len: u64 },
    Sync(FileId),
    Root,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Blocks,
    Page(Place),
}

/// What the checkpointer keeps.
#[derive(Debug, Default)]
pub(super) struct Checkpointer {
    /// Somebody asked for one.
    pub(super) is_wanted: bool,
    running: Option<Running>,
    /// Version of each index page.
    versions: Vec<u32>,
    /// Which copy of each is valid.
    copies: Vec<u8>,
    /// Which of the two files is written next.
    next_file: usize,
    /// Since the last one ended.
    ticks: u32,
}

#[derive(Debug)]
struct Running {
    segment: u32,
    blocks: VecDeque<Placing>,
    punches: VecDeque<(u32, u32, u32)>,
    /// Units into which it writes, or wrote.
    units: BTreeSet<u32>,
    /// Blocks that are in place now.
    placed: Vec<Placing>,
    slabs: BTreeSet<FileId>,
    under_way: usize,
    blocked: Vec<Step>,
    /// A slab could not be made.
    needs_slab: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Write,
    Sync,
    Root,
}

impl Checkpointer {
    pub(super) fn new(versions: Vec<u32>, copies: Vec<u8>, next_file: usize) -> Self {
        Self { versions, copies, next_file, ..Self::default() }
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it waits for space (CK3).
    pub(super) fn is_blocked(&self) -> bool {
        let is_waiting = |r: &Running| r.needs_slab || !r.blocked.is_empty();
        self.running.as_ref().is_some_and(|r| is_waiting(r) && r.under_way == 0)
    }

    /// Whether the running one writes into a unit.
    pub(super) fn writes_into(&self, unit: u32) -> bool {
        self.running.as_ref().is_some_and(|running| running.units.contains(&unit))
    }
}

impl Store {
    /// Whether the next batch should begin a checkpoint.
    pub(super) fn wants_checkpoint(&self) -> bool {
        let many_segments = self.wal.superfluous() * 2 >= self.options.segments_max as usize;
        !self.checkpointer.is_running()
            && (self.checkpointer.is_wanted
                || self.contents.dirty_bytes() > self.options.dirty_bytes_max / 2
                || many_segments
                || self.contents.units.leaving() > LEAVING_MAX)
    }

    /// A checkpoint that nothing else asks for.
    pub(super) fn checkpoint_in_time(&mut self) {
        let has_space = self.has_space_to_give_back();
        let after = if has_space { TICKS_FOR_SPACE } else { TICKS_FOR_CHANGES };
        self.checkpointer.ticks = self.checkpointer.ticks.saturating_add(1);
        let is_time = self.checkpointer.ticks >= after && !self.checkpointer.is_running();
        self.checkpointer.is_wanted |= is_time && (has_space || self.contents.dirty_bytes() > 0);
    }

    /// Whether a checkpoint would give space back.
    pub(super) fn has_space_to_give_back(&self) -> bool {
        self.contents.units.leaving() > 0 || !self.contents.punchable.is_empty()
    }

    /// Everything that is applied now goes into the checkpoint of this segment.
    pub(super) fn begin_checkpoint(&mut self, segment: u32) {
        let pending = &self.pending;
        let planned = |oid, block| pending.partial_unit(oid, block);
        let copies = &mut self.checkpointer.copies;
        let blocks = self.contents.begin_snapshot(segment, copies, planned);
        self.checkpointer.versions.resize(self.checkpointer.copies.len(), 0);
        for number in self.contents.snapshot_index() {
            self.checkpointer.versions[number as usize] = segment;
        }
        let punches = self.take_punches();
        let mut units: BTreeSet<u32> = blocks.iter().map(|block| block.unit).collect();
        units.extend(punches.iter().map(|(unit, _, _)| *unit));
        self.checkpointer.running = Some(Running {
            segment,
            blocks: blocks.into(),
            punches,
            units,
            placed: Vec::new(),
            slabs: BTreeSet::new(),
            under_way: 0,
            blocked: Vec::new(),
            needs_slab: false,
            phase: Phase::Write,
        });
    }

    /// Runs of blocks whose space goes back: unit, first block, count. Not those of units into
    /// which something is being written, or was and is not committed; what was written again is
    /// not among them since then.
    fn take_punches(&mut self) -> VecDeque<(u32, u32, u32)> {
        let all = std::mem::take(&mut self.contents.punchable);
        let named: BTreeSet<u32> = self.pending.named_units().collect();
        let is_used = |unit: u32| self.contents.units.is_busy(unit) || named.contains(&unit);
        let (busy, free): (BTreeSet<_>, BTreeSet<_>) =
            all.into_iter().partition(|(unit, _)| is_used(*unit));
        self.contents.punchable = busy;
        let mut punches = VecDeque::new();
        for run in runs_of_units(free.into_iter()) {
            punches.push_back(run);
        }
        punches
    }

    /// Goes on with the running checkpoint.
    pub(super) fn drive_checkpoint(&mut self) {
        while self.may_begin_step() {
            if !self.begin_next_write() {
                break;
            }
        }
        let Some(running) = &self.checkpointer.running else { return };
        let is_done = running.under_way == 0 && running.blocked.is_empty();
        let has_more = !running.blocks.is_empty() || !running.punches.is_empty();
        if is_done && !has_more && running.phase == Phase::Write {
            self.begin_syncs();
        }
    }

    fn may_begin_step(&self) -> bool {
        let running = self.checkpointer.running.as_ref();
        running.is_some_and(|r| r.phase == Phase::Write && r.under_way < DEPTH)
    }

    /// False if there is nothing to begin now.
    fn begin_next_write(&mut self) -> bool {
        if let Some(step) = self.next_blocks().or_else(|| self.next_punch()) {
            self.begin_step(step);
            return true;
        }
        let Some(image) = self.contents.next_image() else { return false };
        let step = self.page_step(&image);
        self.begin_step(step);
        true
    }

    /// The next run of blocks (CK2).
    fn next_blocks(&mut self) -> Option<Step> {
        let running = self.checkpointer.running.as_mut().filter(|running| !running.needs_slab)?;
        let mut passed_over = 0;
        let first = loop {
            let block = running.blocks.pop_front()?;
            let recent = self.contents.overlay.get(block.oid, block.block);
            if recent.is_none_or(|recent| recent.stamp != block.stamp) {
                continue; // A newer one came, and is in the log behind the checkpoint.
            }
            if !self.contents.units.is_busy(block.unit) {
                break block;
            }
            running.blocks.push_back(block);
            passed_over += 1;
            if passed_over > running.blocks.len() {
                return None;
            }
        };
        let Ok((file, offset)) = self.files.place(&mut self.disk, first.unit, first.place) else {
            running.blocks.push_front(first); // CK3
            running.needs_slab = true;
            return None;
        };
        let mut run = vec![first];
        let mut parts = vec![self.contents.overlay.get(first.oid, first.block)?.bytes.clone()];
        while run.len() < RUN_BLOCKS_MAX {
            let last = run.last()?;
            let Some(next) = running.blocks.front() else { break };
            if next.unit != last.unit || next.place != last.place + 1 {
                break;
            }
            let recent = self.contents.overlay.get(next.oid, next.block);
            let Some(recent) = recent.filter(|recent| recent.stamp == next.stamp) else { break };
            parts.push(recent.bytes.clone());
            run.extend(running.blocks.pop_front());
        }
        running.placed.append(&mut run);
        running.slabs.insert(file);
        self.statistics.data_bytes += (parts.len() * BLOCK_BYTES) as u64;
        Some(Step::Write { file, offset, parts, kind: Kind::Blocks })
    }

    fn next_punch(&mut self) -> Option<Step> {
        let running = self.checkpointer.running.as_mut()?;
        let (unit, first, count) = running.punches.pop_front()?;
        let (file, offset) = self.files.place(&mut self.disk, unit, first).ok()?;
        Some(Step::Punch { file, offset, len: u64::from(count) * BLOCK_BYTES as u64 })
    }

    fn page_step(&mut self, image: &Image) -> Step {
        let bytes = image.bytes.len() as u64;
        let file = match image.place {
            Place::Meta(_) => {
                self.statistics.meta_bytes += bytes;
                self.files.meta
            }
            Place::Index => {
                self.statistics.index_bytes += bytes;
                self.files.index
            }
        };
        let offset = copy_offset(image.number, image.copy);
        let parts = vec![Payload::from(&image.bytes[..])];
        Step::Write { file, offset, parts, kind: Kind::Page(image.place) }
    }

    fn begin_step(&mut self, step: Step) {
        let operation = match &step {
            Step::Write { file, offset, parts, kind } => {
                let (file, offset, parts) = (*file, *offset, parts.clone());
                let direct = *kind == Kind::Blocks;
                Operation::Write { file, offset, parts, durable: false, direct }
            }
            Step::Punch { file, offset, len } => {
                Operation::Punch { file: *file, offset: *offset, len: *len }
            }
            Step::Sync(file) => Operation::Sync { file: *file },
            Step::Root => self.root_operation(),
        };
        if let Some(running) = &mut self.checkpointer.running {
            running.under_way += 1;
        }
        self.begin(Work::Checkpoint(Box::new(step)), operation);
    }

    /// A step has ended.
    pub(super) fn take_step(&mut self, step: Step) {
        let Some(running) = &mut self.checkpointer.running else { return };
        running.under_way -= 1;
        let is_last = running.under_way == 0 && running.blocked.is_empty();
        match step {
            Step::Write { kind: Kind::Page(Place::Meta(key)), .. } => {
                self.contents.pages.release(key);
            }
            Step::Write { .. } | Step::Punch { .. } => {}
            Step::Sync(_) if is_last => {
                running.phase = Phase::Root; // CK1
                self.begin_step(Step::Root);
            }
            Step::Sync(_) => {}
            Step::Root => self.end_checkpoint(),
        }
    }

    /// CK3.
    pub(super) fn block_checkpoint(&mut self, step: Step) {
        self.statistics.blocked_writes += 1;
        let Some(running) = &mut self.checkpointer.running else { return };
        running.under_way -= 1;
        running.blocked.push(step);
    }

    pub(super) fn retry_checkpoint(&mut self) {
        let Some(running) = &mut self.checkpointer.running else { return };
        running.needs_slab = false;
        for step in std::mem::take(&mut running.blocked) {
            self.begin_step(step);
        }
    }

    fn begin_syncs(&mut self) {
        let Some(running) = &mut self.checkpointer.running else { return };
        running.phase = Phase::Sync;
        let mut files = running.slabs.clone();
        files.extend([self.files.meta, self.files.index]);
        for file in files {
            self.begin_step(Step::Sync(file));
        }
    }

    fn root_operation(&mut self) -> Operation {
        let segment = self.checkpointer.running.as_ref().map_or(0, |running| running.segment);
        let checkpoint = Checkpoint { segment, versions: self.checkpointer.versions.clone() };
        let bytes = checkpoint.encode(self.contents.salt);
        self.statistics.index_bytes += bytes.len() as u64;
        let file = self.files.checkpoints[self.checkpointer.next_file];
        let parts = vec![Payload::from(&bytes[..])];
        Operation::Write { file, offset: 0, parts, durable: true, direct: false }
    }

    fn end_checkpoint(&mut self) {
        let Some(running) = self.checkpointer.running.take() else { return };
        self.checkpointer.next_file = 1 - self.checkpointer.next_file;
        self.checkpointer.ticks = 0;
        self.contents.snapshot = None;
        for block in running.placed {
            // The object may have gone and come back: then nothing of it is in place.
            if self.contents.unit_for(block.oid, block.block) == Some(block.unit) {
                self.contents.overlay.settle(block.oid, block.block, block.stamp);
            }
        }
        self.wal.release(running.segment);
        self.contents.units.release(running.segment);
        self.contents.slots.release(running.segment);
        self.statistics.checkpoints += 1;
        let keep = if self.room.is_short() { 0 } else { self.options.warm_units_max };
        self.cool_surplus(keep);
        self.room.forget();
    }

    /// Space of warm units beyond so many goes back to the file system.
    pub(super) fn cool_surplus(&mut self, keep: usize) {
        let surplus = self.contents.units.take_surplus(keep);
        let firsts = surplus.into_iter().rev();
        for run in runs(firsts) {
            let whole = run.end - run.start;
            let Ok((file, offset)) = self.files.place(&mut self.disk, run.start, 0) else { return };
            let len = u64::from(whole) * UNIT_BYTES;
            self.begin(Work::Cool(run.collect()), Operation::Punch { file, offset, len });
        }
    }
}

/// Neighbouring blocks of a unit together: unit, first block, count.
fn runs_of_units(blocks: impl Iterator<Item = (u32, u32)>) -> Vec<(u32, u32, u32)> {
    let mut found: Vec<(u32, u32, u32)> = Vec::new();
    for (unit, block) in blocks {
        debug_assert!(block < UNIT_BLOCKS);
        match found.last_mut() {
            Some((own, first, count)) if *own == unit && *first + *count == block => *count += 1,
            _ => found.push((unit, block, 1)),
        }
    }
    found
}
