//! Opening: from the bytes on the disk to a store that serves.
//!
//! Way: `Loaded::load` reads superblock, checkpoint, index and log and changes nothing; `open`
//!      then makes what it read durable and builds on it. A directory that is empty becomes a
//!      new store.
//! Holds:
//!   OP1 nothing is changed before everything was read and found whole;
//!   OP2 the superblock gets its name last (`make`).

mod make;
mod read;

use std::collections::{BTreeSet, VecDeque};

use super::checkpoint::Checkpointer;
use super::commit::Commits;
use super::files::{DATA_DIR, Files, SLAB_UNITS, SUPER_PATH};
use super::{OpenReport, Options, Pending, Placings, Room, Statistics, Store};
use crate::contents::Contents;
use crate::disk::guarded::GuardedDisk;
use crate::disk::{Disk, DiskError, FileId};
use crate::error::{Corruption, StoreError};
use crate::format::checkpoint::Checkpoint;
use crate::format::superblock::Superblock;
use crate::shape::UNIT_BYTES;
use crate::wal::batch::Link;
use crate::wal::replay::{Files as LogFiles, Replay};
use crate::wal::{WAL_DIR, Wal};
use make::{make_files_ready, prepare, write_superblock};
use read::{load_checkpoint, load_index, load_pages, load_superblock, open_files};

/// Fewer segments than these leave none for a checkpoint to begin in.
const SEGMENTS_MIN: u32 = 4;

/// What stands on a disk.
pub(crate) struct Loaded {
    pub(crate) superblock: Superblock,
    /// Whether a copy of it is bad.
    pub(crate) is_damaged: bool,
    pub(crate) checkpoint: Checkpoint,
    /// In which of the two files it is.
    pub(crate) checkpoint_file: usize,
    copies: Vec<u8>,
    pub(crate) contents: Contents,
    files: Files,
    log: LogFiles,
    end: Link,
    empty_segment: Option<FileId>,
    pub(crate) batches: u64,
    pub(crate) is_torn: bool,
    last_batch: LastBatch,
}

/// What has to be written again before anything is built on it.
struct LastBatch(Option<(FileId, u64, Vec<u8>)>);

impl Store {
    /// Opens the store in a disk's directory, makes it if the directory is empty, and replays
    /// the log. Everything that was acknowledged is there, and durable, on return.
    ///
    /// # Errors
    /// `Corrupt` if superblock, checkpoint, index or log are not whole, or are another
    /// sheep's: nothing has been changed then. `Full` if there is no space for a log. `Io` and
    /// `Failed` if the disk cannot be used.
    pub fn open(disk: Box<dyn Disk>, options: Options) -> Result<(Self, OpenReport), StoreError> {
        let mut disk = GuardedDisk::new(disk);
        let is_new = prepare(&mut disk, options)?;
        let loaded = Loaded::load(&mut disk)?;
        check_owner(&loaded.superblock, options)?;
        let mut report = OpenReport {
            objects: loaded.contents.objects.len(),
            batches: if is_new { 0 } else { loaded.batches },
            is_torn: loaded.is_torn,
            is_new,
            was_repaired: loaded.is_damaged,
            strangers: loaded.log.strangers.clone(),
        };
        let store = Self::build(disk, loaded, options)?;
        report.objects = store.object_count();
        Ok((store, report))
    }

    fn build(
        mut disk: GuardedDisk,
        loaded: Loaded,
        mut options: Options,
    ) -> Result<Self, StoreError> {
        options.segment_bytes = loaded.superblock.segment_bytes;
        options.segments_max = options.segments_max.max(SEGMENTS_MIN);
        if loaded.is_damaged {
            write_superblock(&mut disk, SUPER_PATH, &loaded.superblock)?;
        }
        loaded.make_durable(&mut disk)?;
        let Loaded { superblock, checkpoint, mut contents, files, log, .. } = loaded;
        reclaim(&mut disk, &mut contents, &files)?;
        let mut live = VecDeque::new();
        let mut free = Vec::new();
        for (segment, (file, _, _)) in log.segments {
            let is_needed = segment >= checkpoint.segment && Some(file) != loaded.empty_segment;
            if is_needed {
                live.push_back((segment, file));
            } else {
                free.push(file);
            }
        }
        let numbers = (superblock.salt, superblock.segment_bytes);
        // A file without a header may be one whose making was cut.
        let mut wal =
            Wal::new(numbers, live, free, loaded.end).with_unfilled(log.blank, log.next_file);
        make_files_ready(&mut disk, &mut wal, superblock.segment_bytes, options.reserve_bytes)?;
        let versions = checkpoint.versions;
        let next_file = 1 - loaded.checkpoint_file;
        let checkpointer = Checkpointer::new(versions, loaded.copies, next_file);
        Ok(Self {
            disk,
            files,
            options,
            contents,
            wal,
            queue: VecDeque::new(),
            pending: Pending::default(),
            commits: Commits::new(),
            placings: Placings::default(),
            checkpointer,
            room: Room::default(),
            jobs: Default::default(),
            is_settled: false,
            forgetting: None,
            readings: Default::default(),
            questions: VecDeque::new(),
            parked: Vec::new(),
            work: Default::default(),
            answers: Vec::new(),
            statistics: Statistics::default(),
            last_id: 0,
            ended: Vec::new(),
        })
    }
}

/// Whether a directory of a disk has a store that was made whole (OP2).
pub(crate) fn has_store(disk: &mut dyn Disk, directory: &str) -> Result<bool, DiskError> {
    match disk.list(directory) {
        Ok(entries) => Ok(entries.iter().any(|entry| entry.name == SUPER_PATH)),
        Err(DiskError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn check_owner(superblock: &Superblock, options: Options) -> Result<(), StoreError> {
    let (have, want) = ((superblock.node, superblock.shard), (options.node, options.shard));
    if have == want {
        return Ok(());
    }
    Err(Corruption::OtherOwner { node: have.0, shard: have.1 }.into())
}

/// Frees units that nothing refers to, also those at the end of the slabs that a checkpoint
/// chose that was never finished.
fn reclaim(
    disk: &mut GuardedDisk,
    contents: &mut Contents,
    files: &Files,
) -> Result<(), StoreError> {
    let fragments = contents.objects.values().flat_map(|object| &object.fragments);
    let used: BTreeSet<u32> =
        fragments.flat_map(crate::contents::object::Fragment::used_units).collect();
    contents.units.rebuild(&used);
    let end = contents.units.end();
    for (number, slab) in (0..).zip(&files.slabs) {
        let units = end.saturating_sub(number * SLAB_UNITS).min(SLAB_UNITS);
        let bytes = u64::from(units) * UNIT_BYTES;
        if disk.len(*slab)? > bytes {
            disk.set_len(*slab, bytes)?;
        }
    }
    Ok(())
}

impl Loaded {
    /// Reads a store and changes nothing (OP1).
    pub(crate) fn load(disk: &mut GuardedDisk) -> Result<Self, StoreError> {
        let (superblock, is_damaged) = load_superblock(disk)?;
        let salt = superblock.salt;
        let files = open_files(disk)?;
        let (checkpoint_file, checkpoint) = load_checkpoint(disk, &files, salt)?;
        let mut contents = Contents::new(salt);
        let copies = load_index(disk, &files, &checkpoint, &mut contents)?;
        let log = LogFiles::find(disk, salt)?;
        let numbers = (salt, superblock.segment_bytes);
        let mut replay = Replay::new(&log, numbers, checkpoint.segment)?;
        let mut batches = 0;
        while let Some(found) = replay.next(disk)? {
            if found.header.number == 0 {
                contents.begin_segment();
            }
            let keys = load_pages(disk, &files, &mut contents, &found.batch.records)?;
            contents.apply(&found.batch, found.header.segment);
            for key in keys {
                contents.pages.release(key);
            }
            batches += 1;
        }
        let (end, empty_segment, is_torn) = (replay.end(), replay.empty_segment(), replay.is_torn);
        let last_batch = LastBatch(replay.last_append(disk)?);
        let batches = batches - 1; // The checkpoint's segment begins with one of its own.
        Ok(Self {
            superblock,
            is_damaged,
            checkpoint,
            checkpoint_file,
            copies,
            contents,
            files,
            log,
            end,
            empty_segment,
            batches,
            is_torn,
            last_batch,
        })
    }

    /// What was read may be in the kernel's memory only: whoever wrote it was killed, or its sync
    /// failed, and then another sync does nothing. What the last append and the checkpoint rest
    /// on was durable before they were written.
    fn make_durable(&self, disk: &mut GuardedDisk) -> Result<(), StoreError> {
        if let LastBatch(Some((file, offset, bytes))) = &self.last_batch {
            disk.write_at(*file, *offset, &[bytes])?;
            disk.sync(*file)?;
        }
        if let Some(file) = self.empty_segment {
            let zeros = vec![0; crate::wal::segment::BATCHES_START as usize];
            disk.write_at(file, 0, &[&zeros])?;
            disk.sync(file)?;
        }
        // The checkpoint, before what it made superfluous is overwritten. If it is durable, the
        // same bytes stand there already and cannot be torn; if not, the other one is in force.
        let file = self.files.checkpoints[self.checkpoint_file];
        disk.write_at(file, 0, &[&self.checkpoint.encode(self.superblock.salt)])?;
        disk.sync(file)?;
        for directory in ["", WAL_DIR, DATA_DIR] {
            disk.sync_dir(directory)?;
        }
        Ok(())
    }
}
