//! Planning: which blocks of a change are newer, and by which way they become durable.
//!
//! Way: requests are planned in the order in which they came, each when the metadata it needs
//!      is in memory. Small changes go to the log with their data; units that are written whole
//!      go to new units, and long runs of blocks that hold nothing are filled where they are
//!      (`place`).
//! Holds:
//!   PN1 everything that can be refused is refused before anything is changed;
//!   PN2 a duplicate is answered when what made it one is durable;
//!   PN3 while a bucket is forgotten, changes are taken back or objects dropped, nothing is on
//!       its way into place, and nothing is planned on what was known before.

use std::ops::Range;

use sheepdog_proto::{BLOCK_BYTES, Oid, Payload, Stamp, View, block_checksum};

use super::hold::no_room;
use super::load::Pages;
use super::place::Target;
use super::{Job, Question, Queued, Store};
use crate::error::{Refusal, StoreError, check_stamp};
use crate::request::{Reply, Request};
use crate::shape::{Shape, UNIT_BLOCKS, UNIT_BYTES, check_range, cut_at_units, runs};
use crate::wal::record::Record;

/// Runs of this many blocks that hold nothing are filled in place.
const PLACE_BLOCKS_MIN: u32 = 16;
/// Objects that one record settles, at most.
const SETTLE_OIDS_MAX: usize = 4096;
/// Metadata and index pages of an object that is new.
const NEW_OBJECT_BYTES: u64 = 48 << 10;

/// Blocks that a request wants to change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) oid: Oid,
    pub(super) shape: Shape,
    pub(super) first_block: u32,
    pub(super) count: u32,
    pub(super) stamp: Stamp,
    pub(super) view: View,
}

impl Span {
    pub(super) fn check(
        oid: Oid,
        shift: u8,
        (first_block, count): (u32, u32),
        stamp: Stamp,
        view: View,
    ) -> Result<Self, StoreError> {
        check_stamp(stamp)?;
        let shape = Shape::new(shift).ok_or(Refusal::Shift(shift))?;
        check_range(oid, shape, first_block, count)?;
        Ok(Self { oid, shape, first_block, count, stamp, view })
    }

    fn blocks(&self) -> Range<u32> {
        self.first_block..self.first_block + self.count
    }
}

/// Checksums and bytes of a write, with the block where they begin.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) first_block: u32,
    pub(super) checksums: Vec<u32>,
    pub(super) data: Payload,
}

impl Written {
    /// The part for some of its blocks.
    pub(super) fn part(&self, blocks: &Range<u32>) -> (Vec<u32>, Payload) {
        let places =
            (blocks.start - self.first_block) as usize..(blocks.end - self.first_block) as usize;
        let bytes = places.start * BLOCK_BYTES..places.end * BLOCK_BYTES;
        (self.checksums[places].to_vec(), self.data.slice(bytes))
    }
}

/// Checks that the data are whole blocks that match their checksums.
pub(super) fn check_data(
    oid: Oid,
    first_block: u32,
    checksums: &[u32],
    data: &[u8],
) -> Result<u32, Refusal> {
    let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
    let refusal = Refusal::Length { bytes: data.len(), checksums: checksums.len() };
    if !rest.is_empty() || blocks.len() != checksums.len() {
        return Err(refusal);
    }
    let count = u32::try_from(blocks.len()).map_err(|_| refusal)?;
    let end = first_block.checked_add(count);
    if end.is_none_or(|end| end > Shape::LARGEST.blocks()) {
        return Err(Refusal::Range { oid, first_block, count });
    }
    for ((block, checksum), bytes) in (first_block..).zip(checksums).zip(blocks) {
        if block_checksum(oid, block, bytes) != *checksum {
            return Err(Refusal::Checksum { oid, block }); // CRC-E2E
        }
    }
    Ok(count)
}

impl Store {
    /// Plans requests from the front of the queue until one must wait.
    pub(super) fn plan_queue(&mut self) {
        while !self.queue.is_empty() {
            if self.must_hold_back() || self.must_wait_to_forget() {
                return;
            }
            let rotten = match self.front_pages() {
                Pages::Ready => None,
                Pages::Loading => return,
                Pages::Rotten(why) => Some(why),
            };
            let Some(queued) = self.queue.pop_front() else { return };
            let token = queued.token;
            let pages = queued.pages.clone();
            if let Some(why) = rotten {
                self.answer(token, Err(why.into()));
            } else if let Some(queued) = self.park(queued)
                && let Err(error) = self.plan(queued)
            {
                self.answer(token, Err(error));
            }
            self.release_pages(&pages);
        }
    }

    /// PN3.
    fn must_wait_to_forget(&mut self) -> bool {
        self.forgetting = self.forgetting.filter(|job| self.jobs.contains_key(job));
        let is_next = self.queue.front().is_some_and(|front| forgets(&front.request));
        self.forgetting.is_some() || is_next && !self.placings.is_empty()
    }

    fn plan(&mut self, queued: Queued) -> Result<(), StoreError> {
        let Queued { token, request, attempts, has_waited, .. } = queued;
        let again = |request| Queued { token, request, pages: Vec::new(), attempts, has_waited };
        if grows_list(&request) && self.unstable_is_full() {
            return Err(no_room(&request));
        }
        match request {
            Request::Write { oid, object_shift, first_block, stamp, view, checksums, data } => {
                let count = check_data(oid, first_block, &checksums, &data)?;
                let span = Span::check(oid, object_shift, (first_block, count), stamp, view)?;
                self.plan_write(token, span, Written { first_block, checksums, data })
            }
            Request::Hole { oid, object_shift, first_block, count, stamp, view } => {
                let span = Span::check(oid, object_shift, (first_block, count), stamp, view)?;
                self.plan_hole(token, span)
            }
            Request::Reset { oid, stamp, view } => self.plan_reset(token, oid, stamp, view),
            Request::Read { oid, first_block, count } => {
                self.plan_read(token, oid, first_block, count, attempts)
            }
            Request::Stamps { oid, first_block, count } => {
                self.plan_stamps(token, oid, first_block, count)
            }
            Request::Settled(inner) => {
                self.is_settled = true;
                let planned = self.plan(again(*inner));
                self.is_settled = false;
                planned
            }
            Request::Existing(inner) => {
                self.check_exists(&inner)?;
                self.plan(again(*inner))
            }
            Request::Forget { bucket } => {
                self.plan_forgetting(token, vec![Record::Forget { bucket }]);
                Ok(())
            }
            Request::Undo { changes } => {
                let records = changes.into_iter().map(Record::Undone).collect();
                self.plan_forgetting(token, records);
                Ok(())
            }
            Request::Drop { oids, before } => {
                self.plan_drop(token, oids, before);
                Ok(())
            }
            Request::Raise { oid, view } => {
                self.plan_duplicate(token, oid, view);
                Ok(())
            }
            Request::List { .. }
            | Request::Unstable { .. }
            | Request::UnstableIn { .. }
            | Request::UnstableAll
            | Request::UnstableOf { .. } => {
                self.ask_committed(token, request);
                Ok(())
            }
            Request::Watermark { vid, stable } => {
                self.note_stable(token, vec![Record::Watermark { vid, stable }]);
                Ok(())
            }
            Request::Settle { vid, below, oids } => {
                let chunks = oids.chunks(SETTLE_OIDS_MAX).map(<[Oid]>::to_vec);
                let records = chunks.map(|oids| Record::Settle { vid, below, oids }).collect();
                self.note_stable(token, records);
                Ok(())
            }
        }
    }

    /// What is known to be everywhere; nobody waits for that.
    fn note_stable(&mut self, token: u64, records: Vec<Record>) {
        records.into_iter().for_each(|record| self.note_waiting(record));
        self.answer(token, Ok(Reply::Done { blocks: 0 }));
    }

    fn plan_drop(&mut self, token: u64, mut oids: Vec<Oid>, before: View) {
        let is_older = |oid: &Oid| self.pending.modified(&self.contents, *oid) < before;
        oids.retain(|oid| self.contents.objects.contains_key(oid) && is_older(oid));
        let records = oids.chunks(SETTLE_OIDS_MAX);
        let records = records.map(|oids| Record::Drop { oids: oids.to_vec() }).collect();
        self.plan_forgetting(token, records);
    }

    /// Records after which nothing is as it was: what comes next is planned behind them (PN3).
    fn plan_forgetting(&mut self, token: u64, records: Vec<Record>) {
        let job = self.open_job(token, 0);
        if records.is_empty() {
            return self.wait_for_latest(job);
        }
        self.forgetting = Some(job);
        for record in records {
            self.note(record, None, job);
        }
    }

    /// A question about everything before it, and nothing behind it.
    fn ask_committed(&mut self, token: u64, request: Request) {
        self.seal_due();
        let after_placing = self.placings.last();
        let after_batch = self.placings.is_empty().then(|| self.commits.latest());
        self.questions.push_back(Question { token, request, after_placing, after_batch });
        self.answer_questions();
    }

    /// Blocks of a span that the change would make newer.
    pub(super) fn newer_blocks(&self, span: &Span) -> Vec<u32> {
        if span.stamp < self.pending.base(&self.contents, span.oid) {
            return Vec::new();
        }
        let is_newer = |block: &u32| {
            let entry = self.pending.entry(&self.contents, span.oid, *block);
            entry.is_absent() || entry.stamp < span.stamp
        };
        span.blocks().filter(is_newer).collect()
    }

    /// Refuses a change of an object that will not exist when all that is under way has ended.
    fn check_exists(&self, change: &Request) -> Result<(), Refusal> {
        let Some(oid) = change.oid() else { return Ok(()) };
        let base = self.pending.base(&self.contents, oid);
        let shape = self.pending.shape(&self.contents, oid);
        let exists = shape.or_else(|| self.placings.shape(oid, base)).is_some();
        if exists { Ok(()) } else { Err(Refusal::Missing(oid)) }
    }

    /// Refuses a change of another size than the object has, or gets from what is under way.
    pub(super) fn check_shape(&self, span: &Span) -> Result<(), Refusal> {
        let base = self.pending.base(&self.contents, span.oid);
        let shape = self.pending.shape(&self.contents, span.oid);
        match shape.or_else(|| self.placings.shape(span.oid, base)) {
            Some(shape) if shape != span.shape => Err(Refusal::ShiftMismatch {
                oid: span.oid,
                have: shape.shift(),
                want: span.shape.shift(),
            }),
            _ => Ok(()),
        }
    }

    fn plan_write(&mut self, token: u64, span: Span, written: Written) -> Result<(), StoreError> {
        self.check_shape(&span)?;
        let newer = self.newer_blocks(&span);
        if newer.is_empty() {
            self.plan_duplicate(token, span.oid, span.view);
            return Ok(());
        }
        let mut ways = self.choose_ways(&span, &newer);
        if self.take_space(&span, &ways) == Err(StoreError::Full) {
            // Over data that are there, the log's way needs no space in the end.
            ways.iter_mut().for_each(|(_, target)| *target = None);
            self.take_space(&span, &ways)?; // PN1
        }
        let job = self.open_job(token, newer.len() as u32);
        for (blocks, target) in ways {
            let range = blocks.clone();
            let is_placed = target
                .is_some_and(|target| self.start_placing(job, &span, &written, range, target));
            if !is_placed {
                self.log_write(job, &span, &written, blocks);
            }
        }
        Ok(())
    }

    /// For each run of newer blocks inside a unit: where it is put in place, or `None` for the
    /// log.
    fn choose_ways(&self, span: &Span, newer: &[u32]) -> Vec<(Range<u32>, Option<Target>)> {
        let mut ways: Vec<(Range<u32>, Option<Target>)> = Vec::new();
        for run in runs(newer.iter().copied()) {
            for blocks in cut_at_units(run) {
                let count = blocks.end - blocks.start;
                let target = if count == UNIT_BLOCKS {
                    Some(Target::NewUnit)
                } else if count >= PLACE_BLOCKS_MIN {
                    self.fill_target(span.oid, &blocks)
                } else {
                    None
                };
                ways.push((blocks, target));
            }
        }
        ways
    }

    fn take_space(
        &mut self,
        span: &Span,
        ways: &[(Range<u32>, Option<Target>)],
    ) -> Result<(), StoreError> {
        let bytes = self.space_for(span, ways);
        let reserve = self.options.reserve_bytes;
        let (contents, commits, placings) = (&self.contents, &self.commits, &self.placings);
        let waiting = || contents.dirty_bytes() + commits.bytes() + placings.bytes(); // RO1
        self.room.take(&mut self.disk, reserve, waiting, bytes)
    }

    /// Bytes that a write may take from the file system.
    fn space_for(&self, span: &Span, ways: &[(Range<u32>, Option<Target>)]) -> u64 {
        let is_new = self.pending.shape(&self.contents, span.oid).is_none();
        let mut bytes = if is_new { NEW_OBJECT_BYTES } else { 0 };
        let mut warm = self.contents.units.warm();
        for (blocks, target) in ways {
            let has_data =
                |block: &u32| self.pending.entry(&self.contents, span.oid, *block).is_data();
            match target {
                Some(Target::NewUnit) if warm > 0 => warm -= 1,
                Some(Target::NewUnit) => bytes += UNIT_BYTES,
                _ => {
                    let without = blocks.clone().filter(|block| !has_data(block)).count();
                    bytes += (without * BLOCK_BYTES) as u64;
                }
            }
        }
        bytes
    }

    /// A part of a write goes to the log.
    pub(super) fn log_write(
        &mut self,
        job: u64,
        span: &Span,
        written: &Written,
        blocks: Range<u32>,
    ) {
        let (checksums, data) = written.part(&blocks);
        let Span { oid, shape, stamp, view, .. } = *span;
        let first_block = blocks.start;
        let record = Record::Write { oid, shape, first_block, stamp, view, checksums };
        self.note(record, Some(data), job);
    }

    fn plan_hole(&mut self, token: u64, span: Span) -> Result<(), StoreError> {
        self.check_shape(&span)?;
        let newer = self.newer_blocks(&span);
        if newer.is_empty() {
            self.plan_duplicate(token, span.oid, span.view);
            return Ok(());
        }
        let job = self.open_job(token, newer.len() as u32);
        let Span { oid, shape, stamp, view, .. } = span;
        for run in runs(newer) {
            for blocks in cut_at_units(run) {
                let (first_block, count) = (blocks.start, blocks.end - blocks.start);
                let record = Record::Hole { oid, shape, first_block, count, stamp, view };
                self.note(record, None, job);
            }
        }
        Ok(())
    }

    fn plan_reset(
        &mut self,
        token: u64,
        oid: Oid,
        stamp: Stamp,
        view: View,
    ) -> Result<(), StoreError> {
        check_stamp(stamp)?;
        if stamp <= self.pending.base(&self.contents, oid) {
            self.plan_duplicate(token, oid, view);
            return Ok(());
        }
        let job = self.open_job(token, 0);
        self.note(Record::Reset { oid, stamp, view }, None, job);
        Ok(())
    }

    /// PN2. A newer view is noted with the object.
    pub(super) fn plan_duplicate(&mut self, token: u64, oid: Oid, view: View) {
        let job = self.open_job(token, 0);
        self.note_duplicate(job, oid, view);
    }

    /// A part of a change turned out to be a duplicate.
    pub(super) fn note_duplicate(&mut self, job: u64, oid: Oid, view: View) {
        let exists = self.pending.shape(&self.contents, oid).is_some();
        if exists && view > self.pending.modified(&self.contents, oid) {
            self.note(Record::View { oid, view }, None, job);
        } else {
            self.wait_for_latest(job);
        }
    }

    fn open_job(&mut self, token: u64, blocks: u32) -> u64 {
        let id = self.next_id();
        let is_settled = self.is_settled;
        self.jobs.insert(id, Job { token, parts: 0, blocks, error: None, is_settled });
        id
    }
}

/// Whether a request must be committed.
pub(super) fn is_change(request: &Request) -> bool {
    match request {
        Request::Write { .. } | Request::Hole { .. } => true,
        Request::Reset { .. } | Request::Forget { .. } => true,
        Request::Undo { .. } | Request::Drop { .. } | Request::Raise { .. } => true,
        Request::Settled(inner) | Request::Existing(inner) => is_change(inner),
        _ => false,
    }
}

/// Whether a request makes the unstable list longer, if only for a moment.
pub(super) const fn grows_list(request: &Request) -> bool {
    matches!(
        request,
        Request::Write { .. }
            | Request::Hole { .. }
            | Request::Reset { .. }
            | Request::Settled(_)
            | Request::Existing(_)
    )
}

/// Whether a request makes what was planned on before wrong (PN3).
const fn forgets(request: &Request) -> bool {
    matches!(request, Request::Forget { .. } | Request::Undo { .. } | Request::Drop { .. })
}
