//! The store: one directory, one owner, batches in, replies out.
//!
//! Way: `open` (scan, replay, new segment) -> `execute` (plan, commit, put in place) ... ->
//!      `checkpoint` (sync in place, new segment).
//! Holds:
//!   SE1 replies leave only after the batch is committed (ST1) and put in place, so the next
//!       batch finds everything in the files;
//!   SE2 a segment begins only after everything in place is synced (ST3).
//! Not here: threads and queues (sheep), the rules of changes (`contents`).

mod room;

use std::fmt;

use sheepdog_proto::wire::WireError;

use crate::contents::change::{Span, check_data};
use crate::contents::{Contents, Stage};
use crate::disk::Disk;
use crate::disk::guarded::GuardedDisk;
use crate::error::{Corruption, StoreError};
use crate::journal::record::Record;
use crate::journal::replay::{Replay, Verified};
use crate::journal::segment::SegmentHeader;
use crate::journal::{self, JOURNAL_DIR, Journal, Room};
use crate::object::cache::{Limits, Objects};
use crate::object::{NEW_DIR, OBJECTS_DIR};
use crate::request::{Reply, Request};
use crate::tombstone::Tombstones;
use crate::unstable::UnstableList;
use room::{batch_bytes_max, is_change, merge_waiting};

/// Records that may wait for the next commit, at most.
const WAITING_MAX: usize = 256;

/// How a store uses its disk and its memory. All take effect at `open`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A journal segment longer than this is checkpointed, in bytes. Default 64 MiB. More
    /// means rarer checkpoints, a longer replay, and up to twice as much space.
    pub journal_bytes_max: u64,
    /// Object files kept open. Default 512. Fewer means more opens, and a sync of each
    /// changed file that must be closed.
    pub open_files_max: usize,
    /// Memory for metadata of objects, in bytes. Default 16 MiB: about 900 of 4 MiB.
    pub metadata_bytes_max: usize,
    /// Space that new data leave free for the file system itself, in bytes. Default 16 MiB.
    pub reserve_bytes: u64,
    /// Any number that guests cannot know, new for each open: it keeps their data from
    /// passing for journal batches. Default zero, which is for tests only.
    pub salt: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            journal_bytes_max: 64 << 20,
            open_files_max: 512,
            metadata_bytes_max: 16 << 20,
            reserve_bytes: 16 << 20,
            salt: 0,
        }
    }
}

/// What `open` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Object files.
    pub objects: usize,
    /// Journal batches that were done again.
    pub batches: u64,
    /// Whether a batch after them was cut by a crash; nobody was told that it was durable.
    pub is_torn: bool,
    /// Whether the store was made just now.
    pub is_new: bool,
    /// Files in the store's directories that are not the store's. They are left alone.
    pub strangers: Vec<String>,
}

/// Objects in one directory. See [`Store::execute`].
pub struct Store {
    contents: Contents,
    journal: Journal,
    /// Records that may wait for the next commit.
    waiting: Vec<Record>,
    options: Options,
}

impl Store {
    /// Opens the store in a disk's directory, makes it if the directory is empty, and replays
    /// the journal. Everything that was acknowledged is there, and durable, on return.
    ///
    /// # Errors
    /// `Corrupt` if the journal is not whole: nothing has been changed then. `Full` if there
    /// is no space for a journal. `Io` and `Failed` if the disk cannot be used.
    pub fn open(disk: Box<dyn Disk>, options: Options) -> Result<(Self, OpenReport), StoreError> {
        let mut disk = GuardedDisk::new(disk);
        let has_objects_dir = disk.list("")?.iter().any(|entry| entry.name == OBJECTS_DIR);
        for directory in [OBJECTS_DIR, NEW_DIR, JOURNAL_DIR] {
            disk.create_dir(directory)?;
        }
        disk.sync_dir("")?;
        // Who named the newest segment may have been killed before its name was durable.
        disk.sync_dir(JOURNAL_DIR)?;
        let limits = Limits { files: options.open_files_max, bytes: options.metadata_bytes_max };
        let (segments, foreign) = journal::list_segments(&mut disk)?;
        if !has_objects_dir && !segments.is_empty() {
            return Err(Corruption::NoObjects.into());
        }
        let mut replay = match segments.last() {
            Some(newest) => Some(Replay::open(&mut disk, *newest)?),
            None => None,
        };
        let verified = match &mut replay {
            Some(replay) => replay.verify(&mut disk)?,
            None => Verified::default(),
        };
        let (objects, mut strangers) = Objects::scan(&mut disk, limits)?;
        strangers.extend(foreign);
        if replay.is_none() && objects.count() > 0 {
            return Err(Corruption::NoJournal.into());
        }
        let (unstable, tombstones) = (UnstableList::default(), Tombstones::default());
        let reserve_bytes = options.reserve_bytes;
        let mut contents = Contents { disk, objects, unstable, tombstones, reserve_bytes };
        let is_new = replay.is_none();
        if let Some(replay) = replay {
            contents.replay(replay)?;
        }
        let journal = begin_after(&mut contents, &segments, options)?;
        let report = OpenReport {
            objects: contents.objects.count(),
            batches: verified.batches.saturating_sub(1), // Batch zero is the unstable list.
            is_torn: verified.is_torn,
            is_new,
            strangers,
        };
        Ok((Self { contents, journal, waiting: Vec::new(), options }, report))
    }

    /// Executes a batch in order. Every change that is answered with `Done` is durable on
    /// return, all of them by one commit; reads see the changes before them in the batch.
    ///
    /// # Errors
    /// Each reply has its own; after `Failed` every later one is `Failed`, too. A change that
    /// is answered with `Failed` may be found after the next open, or not.
    pub fn execute(&mut self, requests: Vec<Request>) -> Vec<Result<Reply, StoreError>> {
        let count = requests.len();
        let room = self.make_room(&requests);
        let mut stage = Stage::new(std::mem::take(&mut self.waiting));
        let replies: Vec<_> = requests
            .into_iter()
            .map(|request| match &room {
                Err(error) if is_change(&request) => Err(error.clone()),
                _ => self.perform(&mut stage, request),
            })
            .collect();
        match self.finish(stage, room == Ok(true)) {
            Ok(()) => replies,
            Err(error) => vec![Err(error); count],
        }
    }

    /// Syncs everything in place and begins a new journal segment, so that the next open has
    /// nothing to replay. Call it when idle, and before a clean stop.
    ///
    /// # Errors
    /// `Full` if there is no space for a segment: the store goes on with the old one.
    /// `Failed` if a sync or a write failed.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        if let Some(failure) = self.failure() {
            return Err(failure.clone());
        }
        self.contents.objects.sync(&mut self.contents.disk)?; // SE2
        let sequence = next_sequence(self.journal.sequence())?;
        let journal = begin_segment(&mut self.contents, sequence, self.options)?;
        let old = std::mem::replace(&mut self.journal, journal);
        // The new segment's unstable list says it already.
        self.waiting.clear();
        old.retire(&mut self.contents.disk)
    }

    /// Bytes in the journal that a checkpoint would make superfluous.
    #[must_use]
    pub fn journal_bytes(&self) -> u64 {
        self.journal.appended()
    }

    /// Sequence number of the journal segment in use; each checkpoint begins the next one.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.journal.sequence()
    }

    /// Number of objects.
    #[must_use]
    pub fn object_count(&self) -> usize {
        self.contents.objects.count()
    }

    /// Bytes that new data can still take.
    ///
    /// # Errors
    /// `Io` if the file system does not say, `Failed` after a failure.
    pub fn free_space(&mut self) -> Result<u64, StoreError> {
        let free = self.contents.disk.free_space()?;
        Ok(free.saturating_sub(self.options.reserve_bytes))
    }

    /// Why the store has stopped for good, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<&StoreError> {
        self.contents.disk.failure()
    }

    /// Reserves journal space for a batch, by a checkpoint if need be. False if the batch
    /// needs none.
    fn make_room(&mut self, requests: &[Request]) -> Result<bool, StoreError> {
        let has_changes = requests.iter().any(is_change);
        if !has_changes && self.waiting.len() < WAITING_MAX {
            return Ok(false);
        }
        let waiting: usize = self.waiting.iter().map(Record::encoded_bytes).sum();
        let bytes = batch_bytes_max(requests, waiting as u64);
        for _ in 0..2 {
            match self.journal.room_for(&mut self.contents.disk, bytes)? {
                Room::Ready => return Ok(true),
                Room::AfterCheckpoint => self.checkpoint()?,
                Room::Full => break,
            }
        }
        Err(StoreError::Full)
    }

    fn perform(&mut self, stage: &mut Stage, request: Request) -> Result<Reply, StoreError> {
        let contents = &mut self.contents;
        match request {
            Request::Write { oid, object_shift, first_block, stamp, view, checksums, data } => {
                let count = check_data(oid, first_block, &checksums, &data)?;
                let span = Span::check(oid, object_shift, (first_block, count), stamp, view)?;
                let blocks = contents.write(stage, span, &checksums, &data)?;
                Ok(Reply::Done { blocks })
            }
            Request::Hole { oid, object_shift, first_block, count, stamp, view } => {
                let span = Span::check(oid, object_shift, (first_block, count), stamp, view)?;
                Ok(Reply::Done { blocks: contents.hole(stage, span)? })
            }
            Request::Reset { oid, stamp, view } => {
                Ok(Reply::Done { blocks: contents.reset(stage, oid, stamp, view)? })
            }
            Request::Read { oid, first_block, count } => {
                contents.read(stage, oid, first_block, count).map(Reply::Read)
            }
            Request::Stamps { oid, first_block, count } => {
                let (base, blocks) = contents.stamps(stage, oid, first_block, count)?;
                Ok(Reply::Stamps { base, blocks })
            }
            Request::List { after, limit } => contents.list(stage, after, limit).map(Reply::List),
            Request::Unstable { vid } => Ok(Reply::Unstable(contents.unstable.of(vid))),
            Request::Watermark { vid, stable } => {
                contents.watermark(stage, vid, stable);
                Ok(Reply::Done { blocks: 0 })
            }
            Request::Settle { vid, below, oids } => {
                contents.settle(stage, vid, below, oids);
                Ok(Reply::Done { blocks: 0 })
            }
        }
    }

    /// Commits a stage, for which room was made if it has changes, and puts it in place (SE1).
    fn finish(&mut self, mut stage: Stage, has_room: bool) -> Result<(), StoreError> {
        let contents = &mut self.contents;
        if let Some(failure) = contents.disk.failure() {
            return Err(failure.clone());
        }
        if stage.must_commit() || (has_room && stage.batch.records.len() >= WAITING_MAX) {
            self.journal.append(&mut contents.disk, &stage.batch)?;
        } else {
            self.waiting = merge_waiting(std::mem::take(&mut stage.batch.records));
        }
        contents.apply(&stage).map_err(|error| contents.disk.stop(error))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (objects, segment) = (self.object_count(), self.segment());
        let failure = self.failure();
        f.debug_struct("Store")
            .field("objects", &objects)
            .field("segment", &segment)
            .field("failure", &failure)
            .finish_non_exhaustive()
    }
}

impl Contents {
    /// Does a verified journal again, and makes all of it durable in place.
    fn replay(&mut self, mut replay: Replay) -> Result<(), StoreError> {
        replay.make_durable(&mut self.disk)?;
        while let Some(batch) = replay.next(&mut self.disk)? {
            self.redo(batch)?;
        }
        replay.close(&mut self.disk);
        self.objects.sync(&mut self.disk)
    }
}

/// Begins the segment after those that were found, which are done with.
fn begin_after(
    contents: &mut Contents,
    segments: &[u64],
    options: Options,
) -> Result<Journal, StoreError> {
    let newest = segments.last().copied();
    for older in segments.iter().filter(|segment| Some(**segment) != newest) {
        journal::retire_segment(&mut contents.disk, *older)?;
    }
    let sequence = next_sequence(newest.unwrap_or(0))?;
    let journal = begin_segment(contents, sequence, options)?;
    if let Some(newest) = newest {
        journal::retire_segment(&mut contents.disk, newest)?;
    }
    match journal::keep_spare(&mut contents.disk, options.journal_bytes_max) {
        Ok(()) | Err(StoreError::Full) => Ok(journal),
        Err(error) => Err(error),
    }
}

/// Begins a segment with the unstable list as it is (ST6).
fn begin_segment(
    contents: &mut Contents,
    sequence: u64,
    options: Options,
) -> Result<Journal, StoreError> {
    let unstable = contents.unstable.iter().map(Record::Unstable).collect();
    let header = SegmentHeader { sequence, salt: options.salt };
    let journal = Journal::begin(&mut contents.disk, header, unstable, options.journal_bytes_max)?;
    contents.begin_segment();
    Ok(journal)
}

fn next_sequence(segment: u64) -> Result<u64, StoreError> {
    let why = WireError::Invalid("sequence of a journal segment");
    segment.checked_add(1).ok_or_else(|| Corruption::Segment { segment, why }.into())
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
