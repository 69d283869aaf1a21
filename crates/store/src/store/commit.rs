//! Commits: planned changes become durable together, then known, then answered.
//!
//! Way: `note` puts a record into the open batch; when no append is under way, the next batch
//!      is appended (`start_commit`); when that has ended, it is applied to the contents and its
//!      requests are answered (`take_appended`). While one append is under way the next batch
//!      fills: that is the group commit.
//! Holds:
//!   CO1 one append is under way at a time (WL1);
//!   CO2 a request is answered after all its parts are committed (ST1);
//!   CO3 the last free file of the log is used only by a segment that begins a checkpoint, which
//!       gives the others back.

use std::collections::VecDeque;

use sheepdog_proto::{Buffer, Payload, Stamp};

use super::Store;
use super::work::Work;
use crate::contents::apply::change_of;
use crate::contents::pages::PageKey;
use crate::disk::{FileId, Operation};
use crate::error::StoreError;
use crate::request::{Reply, Request};
use crate::shape::pages_of;
use crate::wal::batch::Batch;
use crate::wal::record::{RECORD_BYTES, Record};
use crate::wal::{Append, file_path};

/// Records that only shorten the unstable list and may wait for a batch, at most.
const WAITING_MAX: usize = 256;
/// Header of a batch, and what its head is padded with, at most.
const BATCH_SLACK_BYTES: u64 = 8 << 10;
/// A new file of the log is filled from one buffer of this size.
const FILL_BYTES: u64 = 128 << 10;

/// Changes that are committed together.
#[derive(Debug, Default)]
struct Group {
    number: u64,
    batch: Batch,
    bytes: u64,
    /// Whether something in it must be committed.
    is_due: bool,
    /// How many of its first records have taken effect already.
    applied: usize,
    pages: Vec<PageKey>,
    /// Changes, and for each the record that counts its blocks, if only that can.
    jobs: Vec<(u64, Option<usize>)>,
}

/// The group whose append is under way.
#[derive(Debug)]
struct Flight {
    group: Group,
    segment: u32,
    begins_segment: bool,
    begins_checkpoint: bool,
}

/// Everything between planned and committed.
#[derive(Debug, Default)]
pub(super) struct Commits {
    open: Group,
    sealed: VecDeque<Group>,
    flight: Option<Flight>,
    /// Number of the newest committed group.
    committed: u64,
    /// A file of the log is being filled.
    is_filling: bool,
    /// There was no space for that; it is tried again with the next tick.
    must_not_fill: bool,
    /// A group waits for a file of the log.
    is_stuck: bool,
}

impl Commits {
    pub(super) fn new() -> Self {
        Self { open: Group { number: 1, ..Group::default() }, ..Self::default() }
    }

    /// Bytes that are planned but not committed.
    pub(super) fn bytes(&self) -> u64 {
        let flying = self.flight.iter().map(|flight| &flight.group);
        flying.chain(&self.sealed).map(|group| group.bytes).sum::<u64>() + self.open.bytes
    }

    /// Bytes of the log that everything planned takes at most, as far as nothing is under way
    /// to it. It is asked for with each change, so it counts no records.
    pub(super) fn encoded_bytes(&self) -> u64 {
        let open = std::iter::once(&self.open).filter(|group| !group.batch.records.is_empty());
        self.sealed.iter().chain(open).map(|group| group.bytes + BATCH_SLACK_BYTES).sum()
    }

    /// Whether the append that is under way begins a checkpoint.
    pub(super) fn begins_checkpoint(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.begins_checkpoint)
    }

    /// Records that are planned but not committed.
    fn records(&self) -> usize {
        let flying = self.flight.iter().map(|flight| &flight.group);
        let groups = flying.chain(&self.sealed).chain([&self.open]);
        groups.map(|group| group.batch.records.len()).sum()
    }

    pub(super) const fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// No file of the log can be made now.
    pub(super) const fn lacks_file(&self) -> bool {
        self.must_not_fill && !self.is_filling
    }

    /// A file of the log may be tried again.
    pub(super) fn forget_full(&mut self) {
        self.must_not_fill = false;
    }

    pub(super) const fn committed(&self) -> u64 {
        self.committed
    }

    /// The newest group that must be committed; the newest committed one if there is none.
    pub(super) fn latest(&self) -> u64 {
        if self.open.is_due {
            return self.open.number;
        }
        let sealed = self.sealed.back().map(|group| group.number);
        let flying = self.flight.as_ref().map(|flight| flight.group.number);
        sealed.or(flying).unwrap_or(self.committed)
    }
}

impl Store {
    /// Puts a change into the open batch.
    pub(super) fn note(&mut self, record: Record, data: Option<Payload>, job: u64) {
        let bytes = data.clone();
        self.add(record, data, bytes.as_ref(), job);
    }

    /// As `note`, for blocks that are in place: the batch has only their name.
    pub(super) fn note_placed(&mut self, record: Record, bytes: Payload, job: u64) {
        self.add(record, None, Some(&bytes), job);
    }

    fn add(&mut self, record: Record, data: Option<Payload>, bytes: Option<&Payload>, job: u64) {
        let size = record.encoded_bytes() as u64 + data.as_ref().map_or(0, |d| d.len() as u64);
        self.seal_before(size);
        let keys = match &record {
            // Which of an object's blocks stay, only its pages know.
            Record::Reset { oid, .. } => self.contents.pages.of(*oid).map(|(key, _)| key).collect(),
            other => pages_of_record(other),
        };
        for key in &keys {
            self.contents.pages.retain(*key);
        }
        let open = &mut self.commits.open;
        self.pending.note(&record, bytes, open.number);
        let counted = matches!(record, Record::Reset { .. }).then_some(open.batch.records.len());
        open.pages.extend(keys);
        let change = change_of(&record);
        open.batch.records.push(record);
        open.batch.data.extend(data);
        open.bytes += size;
        open.is_due = true;
        open.jobs.push((job, counted));
        if let Some(job) = self.jobs.get_mut(&job) {
            job.parts += 1;
            if job.is_settled {
                // In the same batch, so that no crash comes between.
                open.bytes += RECORD_BYTES as u64;
                open.batch.records.extend(change.map(Record::Stable));
            }
        }
    }

    /// What comes next is committed later than what must be committed now.
    pub(super) fn seal_due(&mut self) {
        // Records that wait behind something under way take effect with a commit of their own.
        let waits = self.commits.latest() != self.commits.committed;
        if self.commits.open.is_due || waits && !self.commits.open.batch.records.is_empty() {
            self.seal();
        }
    }

    fn seal(&mut self) {
        let number = self.commits.open.number + 1;
        let next = Group { number, ..Group::default() };
        self.commits.sealed.push_back(std::mem::replace(&mut self.commits.open, next));
    }

    /// No batch becomes larger than it may.
    fn seal_before(&mut self, bytes: u64) {
        let open = &self.commits.open;
        if open.bytes + bytes > self.wal.batch_bytes_max() && !open.batch.records.is_empty() {
            self.seal();
        }
    }

    /// Whether the unstable list has all that it may have when everything planned is committed:
    /// it must fit into one batch, with which a segment begins (ST6).
    pub(super) fn unstable_is_full(&self) -> bool {
        let planned = self.commits.records() + self.placings.len();
        self.contents.unstable.len() + planned >= self.wal.unstable_max()
    }

    /// Puts a record that need not be durable into the open batch, and does what it says as
    /// soon as nothing before it is under way.
    pub(super) fn note_waiting(&mut self, record: Record) {
        self.seal_before(record.encoded_bytes() as u64);
        self.apply_waiting();
        let has_effect = self.may_apply_waiting();
        if has_effect {
            let alone = Batch { records: vec![record.clone()], data: Vec::new() };
            self.contents.apply(&alone, self.wal.segment());
        }
        let open = &mut self.commits.open;
        match merge(&mut open.batch.records, &record) {
            Some(place) if !has_effect => open.applied = open.applied.min(place),
            Some(_) => {}
            None => {
                open.bytes += record.encoded_bytes() as u64;
                open.batch.records.push(record);
                open.applied += usize::from(has_effect);
            }
        }
        open.is_due |= open.batch.records.len() >= WAITING_MAX;
    }

    fn may_apply_waiting(&self) -> bool {
        self.commits.latest() == self.commits.committed && self.placings.is_empty()
    }

    /// Records that need not be durable take effect when nothing before them is under way; the
    /// next batch says them again.
    fn apply_waiting(&mut self) {
        let open = &self.commits.open;
        if open.applied < open.batch.records.len() && self.may_apply_waiting() {
            let records = self.commits.open.batch.records[open.applied..].to_vec();
            self.commits.open.applied += records.len();
            let batch = Batch { records, data: Vec::new() };
            self.contents.apply(&batch, self.wal.segment());
        }
    }

    /// A change that is a duplicate waits for what made it one.
    pub(super) fn wait_for_latest(&mut self, job: u64) {
        let commits = &mut self.commits;
        let group = if commits.open.is_due {
            Some(&mut commits.open)
        } else {
            let flying = commits.flight.as_mut().map(|flight| &mut flight.group);
            commits.sealed.back_mut().or(flying)
        };
        match group {
            Some(group) => {
                group.jobs.push((job, None));
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.parts += 1;
                }
            }
            None => {
                if let Some(open) = self.jobs.get_mut(&job) {
                    open.parts += 1;
                }
                self.end_part(job, 0, None);
            }
        }
    }

    /// Appends the next batch, if none is under way (CO1).
    pub(super) fn start_commit(&mut self) {
        self.keep_a_file_ready();
        if self.commits.flight.is_some() {
            return;
        }
        // Without a file none can begin; what is left of the segment is used.
        let wants_checkpoint = self.wants_checkpoint() && self.wal.ready() > 0;
        if self.commits.sealed.is_empty() && (self.commits.open.is_due || wants_checkpoint) {
            self.seal();
        }
        let Some(group) = self.commits.sealed.pop_front() else { return };
        if !wants_checkpoint && !self.wal.needs_segment(group.batch.encoded_bytes()) {
            self.commits.is_stuck = false;
            let append = self.wal.append(&group.batch);
            self.fly(group, append, false, false);
            return;
        }
        let is_running = self.checkpointer.is_running();
        let spare = usize::from(is_running);
        let begins_checkpoint = !is_running && (wants_checkpoint || self.wal.ready() == 1);
        self.commits.is_stuck = self.wal.ready() <= spare; // CO3
        if self.commits.is_stuck {
            self.commits.sealed.push_front(group);
            return;
        }
        self.begin_segment(group, begins_checkpoint);
    }

    /// The first batch of a segment in which replay may begin has the unstable list (ST6).
    fn begin_segment(&mut self, group: Group, begins_checkpoint: bool) {
        let mut first = Batch::default();
        if begins_checkpoint {
            first.records.extend(self.contents.unstable.iter().map(Record::Unstable));
        }
        let bytes = first.encoded_bytes() + group.batch.encoded_bytes();
        let mut group = group;
        if !self.wal.fits_segment(bytes) {
            // The list goes alone, the batch after it.
            let alone = Group { number: group.number - 1, ..Group::default() };
            self.commits.sealed.push_front(std::mem::replace(&mut group, alone));
        }
        first.records.extend(group.batch.records.iter().cloned());
        first.data.clone_from(&group.batch.data);
        match self.wal.begin_segment(&first) {
            Some(append) => self.fly(group, append, true, begins_checkpoint),
            None => self.commits.sealed.push_front(group),
        }
    }

    fn fly(&mut self, group: Group, append: Append, begins_segment: bool, begins_checkpoint: bool) {
        let Append { file, offset, parts, segment } = append;
        self.statistics.wal_bytes += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        self.commits.flight = Some(Flight { group, segment, begins_segment, begins_checkpoint });
        if begins_checkpoint {
            self.checkpointer.is_wanted = false;
        }
        let operation = Operation::Write { file, offset, parts, durable: true, direct: true };
        self.begin(Work::Append, operation);
    }

    /// The append is durable: its changes are known from now on, and answered.
    pub(super) fn take_appended(&mut self) {
        let Some(flight) = self.commits.flight.take() else { return };
        let Flight { group, segment, begins_segment, begins_checkpoint } = flight;
        if begins_segment {
            self.contents.begin_segment();
        }
        if begins_checkpoint {
            self.begin_checkpoint(segment);
        }
        let counts = self.contents.apply(&group.batch, segment);
        for record in &group.batch.records {
            self.pending.forget(record, group.number);
        }
        self.release_pages(&group.pages);
        self.commits.committed = group.number;
        self.statistics.batches += 1;
        for (job, counted) in group.jobs {
            let blocks = counted.and_then(|record| counts.get(record)).copied();
            self.end_part(job, blocks.unwrap_or_default(), None);
        }
        self.answer_questions();
        self.apply_waiting();
        self.answer_waiting_readings();
    }

    /// A part of a change is committed, or refused (CO2).
    pub(super) fn end_part(&mut self, id: u64, blocks: u32, error: Option<StoreError>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.parts -= 1;
        job.blocks += blocks;
        if job.error.is_none() {
            job.error = error;
        }
        if job.parts > 0 {
            return;
        }
        if let Some(job) = self.jobs.remove(&id) {
            self.statistics.changes += 1;
            let done = Reply::Done { blocks: job.blocks };
            self.answer(job.token, job.error.map_or(Ok(done), Err));
        }
    }

    /// Answers questions for which everything before them is committed.
    pub(super) fn answer_questions(&mut self) {
        while let Some(question) = self.questions.front_mut() {
            if self.placings.has_up_to(question.after_placing) {
                return;
            }
            let latest = self.commits.latest();
            let after = *question.after_batch.get_or_insert(latest);
            if self.commits.committed < after {
                return;
            }
            let Some(question) = self.questions.pop_front() else { return };
            let reply = match question.request {
                Request::Unstable { vid } => Reply::Unstable(self.contents.unstable.of(vid)),
                Request::UnstableIn { bucket } => {
                    Reply::Unstable(self.contents.unstable.of_bucket(bucket).collect())
                }
                Request::UnstableAll => Reply::Unstable(self.contents.unstable.iter().collect()),
                Request::UnstableOf { oid } => {
                    Reply::Unstable(self.contents.unstable.of_object(oid))
                }
                Request::List { after, limit } => Reply::List(self.contents.list(after, limit)),
                _ => Reply::Done { blocks: 0 },
            };
            self.answer(question.token, Ok(reply));
        }
    }

    /// Fills another file of the log before it is needed, up to the maximum. Beyond that only if
    /// nothing else can ever give one back.
    fn keep_a_file_ready(&mut self) {
        if self.wal.ready() > 1 || self.commits.is_filling || self.commits.must_not_fill {
            return;
        }
        let begins = self.commits.flight.as_ref().is_some_and(|flight| flight.begins_checkpoint);
        let comes_back = self.wal.ready() > 0 || self.checkpointer.is_running() || begins;
        if self.wal.unfilled.is_empty() && comes_back && self.wal.files >= self.options.segments_max
        {
            return;
        }
        let Ok(file) = self.take_log_file(comes_back) else {
            self.commits.must_not_fill = true;
            return;
        };
        self.commits.is_filling = true;
        let parts = fill_parts(self.options.segment_bytes);
        let operation = Operation::Write { file, offset: 0, parts, durable: true, direct: true };
        self.begin(Work::Fill(file), operation);
    }

    /// A file that is not filled, made if need be.
    fn take_log_file(&mut self, goes_on_without: bool) -> Result<FileId, StoreError> {
        let free = self.disk.free_space()?;
        // RO4
        let reserve = self.options.reserve_bytes / if goes_on_without { 1 } else { 2 };
        if free < reserve + self.options.segment_bytes {
            return Err(StoreError::Full);
        }
        if let Some(file) = self.wal.unfilled.pop() {
            return Ok(file);
        }
        let file = self.disk.create(&file_path(self.wal.next_file))?;
        self.disk.sync_dir(crate::wal::WAL_DIR)?;
        self.wal.count_file();
        Ok(file)
    }

    /// A file of the log is filled. Without space it is tried again later.
    pub(super) fn take_filled(
        &mut self,
        file: FileId,
        result: Result<crate::disk::Outcome, crate::disk::DiskError>,
    ) {
        self.commits.is_filling = false;
        match result {
            Ok(_) => self.wal.add_file(file),
            Err(crate::disk::DiskError::Full { .. }) => {
                self.wal.unfilled.push(file);
                self.commits.must_not_fill = true;
            }
            Err(error) => {
                self.disk.stop(error.into());
            }
        }
    }
}

/// Parts that fill a file of the log with zeros.
pub(super) fn fill_parts(bytes: u64) -> Vec<Payload> {
    let zeros = Buffer::zeroed(FILL_BYTES as usize).share();
    let whole = bytes / zeros.len() as u64;
    let rest = (bytes % zeros.len() as u64) as usize;
    let mut parts = vec![zeros.clone(); whole as usize];
    if rest > 0 {
        parts.push(zeros.slice(0..rest));
    }
    parts
}

/// A later watermark of the same generation says what an earlier one said. Returns which it is.
fn merge(records: &mut [Record], record: &Record) -> Option<usize> {
    let Record::Watermark { vid, stable: newer } = record else { return None };
    let behind = records.iter_mut().enumerate().rev().take_while(|(_, older)| older.can_wait());
    let same = behind.into_iter().find_map(|(place, older)| match older {
        Record::Watermark { vid: own, stable }
            if own == vid && stable.generation() == newer.generation() =>
        {
            Some((place, stable))
        }
        _ => None,
    });
    same.map(|(place, stable): (usize, &mut Stamp)| {
        *stable = (*stable).max(*newer);
        place
    })
}

fn pages_of_record(record: &Record) -> Vec<PageKey> {
    let (oid, first, count) = match record {
        Record::Write { oid, first_block, checksums, .. }
        | Record::Placed { oid, first_block, checksums, .. } => {
            (*oid, *first_block, checksums.len() as u32)
        }
        Record::Hole { oid, first_block, count, .. } => (*oid, *first_block, *count),
        Record::Undone(change) if change.count > 0 => {
            (change.oid, change.first_block, change.count)
        }
        _ => return Vec::new(),
    };
    pages_of(first, count).map(|page| PageKey { oid, page }).collect()
}
