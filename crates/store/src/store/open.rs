//! Opening: from the bytes on the disk to a store that serves.
//!
//! Way: `Loaded::load` reads superblock, checkpoint, index and log and changes nothing; `open`
//!      then makes what it read durable and builds on it. A directory that is empty becomes a
//!      new store.
//! Holds:
//!   OP1 nothing is changed before everything was read and found whole;
//!   OP2 the superblock gets its name last, so that a store that was made half is made again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sheepdog_proto::{Buffer, Oid, Stamp};

use super::checkpoint::Checkpointer;
use super::commit::{Commits, fill_parts};
use super::files::{
    CHECKPOINT_PATHS, DATA_DIR, Files, INDEX_PATH, META_PATH, SLAB_UNITS, SUPER_PATH, slab_path,
};
use super::{OpenReport, Options, Pending, Placings, Room, Statistics, Store};
use crate::contents::Contents;
use crate::contents::object::Object;
use crate::contents::pages::{PageKey, State, empty_entries};
use crate::disk::guarded::GuardedDisk;
use crate::disk::{Disk, DiskError, FileId};
use crate::error::{Corruption, StoreError};
use crate::format::checkpoint::Checkpoint;
use crate::format::page::{PAGE_BYTES, choose_copy, copy_offset};
use crate::format::superblock::{COPY_BYTES, COPY_OFFSETS, Superblock};
use crate::format::{index_page, meta_page};
use crate::shape::{FRAGMENT_PAGES, UNIT_BYTES, pages_of};
use crate::wal::batch::{Batch, Link};
use crate::wal::record::Record;
use crate::wal::replay::{Files as LogFiles, Replay};
use crate::wal::{SEGMENT_BYTES_MIN, WAL_DIR, Wal, file_path};

/// The superblock of a store that is being made.
const NEW_SUPER_PATH: &str = "super.new";
/// Files of the log that a new store begins with.
const FIRST_LOG_FILES: u32 = 2;
/// Fewer segments than these leave none for a checkpoint to begin in.
const SEGMENTS_MIN: u32 = 4;
/// How much of the index is read at once.
const INDEX_CHUNK_PAGES: usize = 128;

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

/// Makes a new store where there is none. True if it did.
fn prepare(disk: &mut GuardedDisk, options: Options) -> Result<bool, StoreError> {
    let names: Vec<String> = disk.list("")?.into_iter().map(|entry| entry.name).collect();
    let has = |name: &str| names.iter().any(|have| have == name);
    if has(SUPER_PATH) {
        return Ok(false);
    }
    let own = [WAL_DIR, DATA_DIR, META_PATH, INDEX_PATH];
    if options.must_exist {
        return Err(Corruption::NoSuperblock.into());
    }
    let is_there = own.iter().chain(&CHECKPOINT_PATHS).any(|name| has(name));
    if is_there && !has(NEW_SUPER_PATH) {
        return Err(Corruption::NoSuperblock.into());
    }
    create(disk, options)?;
    Ok(true)
}

/// Whether a directory of a disk has a store that was made whole (OP2).
pub(crate) fn has_store(disk: &mut dyn Disk, directory: &str) -> Result<bool, DiskError> {
    match disk.list(directory) {
        Ok(entries) => Ok(entries.iter().any(|entry| entry.name == SUPER_PATH)),
        Err(DiskError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// OP2.
fn create(disk: &mut GuardedDisk, options: Options) -> Result<(), StoreError> {
    let segment_bytes = options.segment_bytes.max(SEGMENT_BYTES_MIN).next_multiple_of(4096);
    let Options { node, shard, salt, .. } = options;
    let superblock = Superblock { node, shard, salt, segment_bytes };
    write_superblock(disk, NEW_SUPER_PATH, &superblock)?;
    disk.sync_dir("")?;
    for directory in [WAL_DIR, DATA_DIR] {
        disk.create_dir(directory)?;
    }
    let mut free = Vec::new();
    for number in 0..FIRST_LOG_FILES {
        free.push(make_log_file(disk, number, segment_bytes)?);
    }
    for path in [META_PATH, INDEX_PATH, CHECKPOINT_PATHS[1], &slab_path(0)] {
        let file = open_or_create(disk, path)?;
        disk.set_len(file, 0)?;
        disk.sync(file)?;
        disk.close(file);
    }
    disk.sync_dir(DATA_DIR)?;
    // The log begins with segment 1 and nothing in it.
    let end = Link { salt, segment: 0, number: 0, previous: 0 };
    let mut wal = Wal::new((salt, segment_bytes), VecDeque::new(), free.clone(), end);
    if let Some(append) = wal.begin_segment(&Batch::default()) {
        let parts: Vec<&[u8]> = append.parts.iter().map(|part| &part[..]).collect();
        disk.write_at(append.file, append.offset, &parts)?;
        disk.sync(append.file)?;
    }
    let checkpoint = Checkpoint { segment: wal.segment(), versions: Vec::new() };
    let file = open_or_create(disk, CHECKPOINT_PATHS[0])?;
    disk.set_len(file, 0)?;
    disk.write_at(file, 0, &[&checkpoint.encode(salt)])?;
    disk.sync(file)?;
    for file in free.into_iter().chain([file]) {
        disk.close(file);
    }
    disk.sync_dir("")?;
    disk.rename(NEW_SUPER_PATH, SUPER_PATH)?;
    disk.sync_dir("")
}

fn open_or_create(disk: &mut GuardedDisk, path: &str) -> Result<FileId, StoreError> {
    match disk.open(path) {
        Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }) => disk.create(path),
        other => other,
    }
}

/// Files of the log for the first commits. Where there is no space the store opens all the
/// same: what it has can be read, and a file is tried again later.
fn make_files_ready(
    disk: &mut GuardedDisk,
    wal: &mut Wal,
    segment_bytes: u64,
    reserve_bytes: u64,
) -> Result<(), StoreError> {
    // One that has its space already is good for a full disk, too.
    for file in std::mem::take(&mut wal.unfilled) {
        match fill_log_file(disk, file, segment_bytes) {
            Ok(()) => wal.add_file(file),
            Err(StoreError::Full) => wal.unfilled.push(file),
            Err(error) => return Err(error),
        }
    }
    while wal.ready() < FIRST_LOG_FILES as usize && wal.unfilled.is_empty() {
        // RO4: with one file the first batch begins a checkpoint.
        if wal.ready() > 0 && disk.free_space()? < reserve_bytes + segment_bytes {
            break;
        }
        let file = match disk.create(&file_path(wal.next_file)) {
            Err(StoreError::Full) => return Ok(()),
            file => {
                // Its name must last wherever it is filled later.
                disk.sync_dir(WAL_DIR)?;
                wal.count_file();
                file?
            }
        };
        match fill_log_file(disk, file, segment_bytes) {
            Ok(()) => wal.add_file(file),
            Err(StoreError::Full) => wal.unfilled.push(file),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file of the log of a new store.
fn make_log_file(
    disk: &mut GuardedDisk,
    number: u32,
    segment_bytes: u64,
) -> Result<FileId, StoreError> {
    let file = open_or_create(disk, &file_path(number))?;
    fill_log_file(disk, file, segment_bytes)?;
    disk.sync_dir(WAL_DIR)?;
    Ok(file)
}

/// Fills a file with zeros so that appends to it change no metadata (WL3).
fn fill_log_file(
    disk: &mut GuardedDisk,
    file: FileId,
    segment_bytes: u64,
) -> Result<(), StoreError> {
    let parts = fill_parts(segment_bytes);
    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
    disk.allocate(file, 0, segment_bytes)?;
    disk.write_at(file, 0, &parts)?;
    disk.sync(file)
}

/// The second copy is touched only when the first is synced.
fn write_superblock(
    disk: &mut GuardedDisk,
    path: &str,
    superblock: &Superblock,
) -> Result<(), StoreError> {
    let file = open_or_create(disk, path)?;
    for offset in COPY_OFFSETS {
        disk.write_at(file, offset, &[&superblock.encode()])?;
        disk.sync(file)?;
    }
    disk.close(file);
    Ok(())
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

    /// What was read may be in the kernel's memory only, if whoever wrote it was killed.
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
        for file in &self.files.checkpoints {
            disk.sync(*file)?;
        }
        for directory in ["", WAL_DIR, DATA_DIR] {
            disk.sync_dir(directory)?;
        }
        Ok(())
    }
}

fn load_superblock(disk: &mut GuardedDisk) -> Result<(Superblock, bool), StoreError> {
    let file = disk.open(SUPER_PATH)?;
    let mut verify = |offset| -> Result<_, StoreError> {
        let mut raw = [0; COPY_BYTES];
        disk.read_at(file, offset, &mut raw)?;
        Ok(Superblock::verify(&raw))
    };
    let (first, second) = (verify(COPY_OFFSETS[0])?, verify(COPY_OFFSETS[1])?);
    disk.close(file);
    match (first, second) {
        (Ok(superblock), second) => Ok((superblock, second != Ok(superblock))),
        (Err(_), Ok(superblock)) => Ok((superblock, true)),
        (Err(first), Err(second)) => Err(Corruption::Superblock { first, second }.into()),
    }
}

fn open_files(disk: &mut GuardedDisk) -> Result<Files, StoreError> {
    let mut slabs = Vec::new();
    let count = disk.list(DATA_DIR)?.len() as u32;
    for number in 0..count {
        match disk.open(&slab_path(number)) {
            Ok(file) => slabs.push(file),
            Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }) => break,
            Err(error) => return Err(error),
        }
    }
    let [first, second] = CHECKPOINT_PATHS;
    let checkpoints = [disk.open(first)?, disk.open(second)?];
    let (meta, index) = (disk.open(META_PATH)?, disk.open(INDEX_PATH)?);
    Ok(Files { slabs, meta, index, checkpoints })
}

/// The newest of two checkpoints that is whole.
fn load_checkpoint(
    disk: &mut GuardedDisk,
    files: &Files,
    salt: u64,
) -> Result<(usize, Checkpoint), StoreError> {
    let mut found = Vec::new();
    for file in files.checkpoints {
        let mut bytes = vec![0; disk.len(file)? as usize];
        disk.read_at(file, 0, &mut bytes)?;
        found.push(Checkpoint::verify(salt, &bytes));
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(Ok(first)), Some(Ok(second))) if second.segment > first.segment => Ok((1, second)),
        (Some(Ok(first)), _) => Ok((0, first)),
        (_, Some(Ok(second))) => Ok((1, second)),
        (Some(Err(first)), Some(Err(second))) => {
            Err(Corruption::Checkpoint { first, second }.into())
        }
        _ => Err(Corruption::NoSuperblock.into()),
    }
}

/// Reads the index. Returns which copy of each page is the valid one.
fn load_index(
    disk: &mut GuardedDisk,
    files: &Files,
    checkpoint: &Checkpoint,
    contents: &mut Contents,
) -> Result<Vec<u8>, StoreError> {
    let pages = checkpoint.versions.len();
    let mut copies = vec![1; pages];
    contents.slots.extend(pages as u32 * index_page::PAGE_SLOTS);
    let mut chunk = vec![0_u8; INDEX_CHUNK_PAGES.min(pages) * 2 * PAGE_BYTES];
    for (number, version) in (0_u32..).zip(&checkpoint.versions) {
        let place = number as usize % INDEX_CHUNK_PAGES;
        if place == 0 {
            disk.read_at(files.index, copy_offset(u64::from(number), 0), &mut chunk)?;
        }
        if *version == 0 {
            continue;
        }
        let both = &chunk[place * 2 * PAGE_BYTES..(place + 1) * 2 * PAGE_BYTES];
        let header = index_page::header(number, *version);
        let bad = |[first, second]: [_; 2]| Corruption::Index { page: number, first, second };
        let (copy, bytes) = choose_copy(&header, contents.salt, both).map_err(bad)?;
        let slots = index_page::decode(bytes).map_err(|why| bad([why; 2]))?;
        copies[number as usize] = copy;
        for (slot, found) in (number * index_page::PAGE_SLOTS..).zip(slots) {
            let Some(found) = found else { continue };
            let new = Object::new(found.shape, found.base, found.modified);
            contents.objects.entry(found.oid).or_insert(new).take_slot(slot, &found);
            contents.slots.set(slot, (found.oid, found.fragment));
        }
    }
    Ok(copies)
}

/// Reads the pages that the records of a batch need; each is used once on return.
fn load_pages(
    disk: &mut GuardedDisk,
    files: &Files,
    contents: &mut Contents,
    records: &[Record],
) -> Result<Vec<PageKey>, StoreError> {
    let mut keys = Vec::new();
    // Newest stamps that the batch itself brings.
    let mut newest: BTreeMap<Oid, Stamp> = BTreeMap::new();
    for record in records {
        let (oid, pages) = match record {
            Record::Write { oid, first_block, stamp, checksums, .. }
            | Record::Placed { oid, first_block, stamp, checksums, .. } => {
                let newest = newest.entry(*oid).or_default();
                *newest = (*newest).max(*stamp);
                (*oid, pages_of(*first_block, checksums.len() as u32))
            }
            Record::Hole { oid, first_block, count, stamp, .. } => {
                let newest = newest.entry(*oid).or_default();
                *newest = (*newest).max(*stamp);
                (*oid, pages_of(*first_block, *count))
            }
            // What stays, only the pages know; what this batch writes before is here anyway.
            Record::Reset { oid, stamp, .. } => {
                let Some(object) = contents.objects.get(oid) else { continue };
                let newest = newest.get(oid).copied().unwrap_or_default();
                if object.newest.max(newest) < *stamp {
                    continue; // Nothing stays.
                }
                (*oid, 0..(object.fragments.len() * FRAGMENT_PAGES) as u32)
            }
            _ => continue,
        };
        keys.extend(pages.map(|page| PageKey { oid, page }));
    }
    for key in &keys {
        load_page(disk, files, contents, *key)?;
    }
    Ok(keys)
}

pub(crate) fn load_page(
    disk: &mut GuardedDisk,
    files: &Files,
    contents: &mut Contents,
    key: PageKey,
) -> Result<(), StoreError> {
    if contents.pages.retain(key).is_some() {
        return Ok(());
    }
    let Some((slot, version)) = contents.stored_page(key) else {
        contents.pages.insert(key, State::Ready(empty_entries()), 1);
        return Ok(());
    };
    let header = meta_page::header(key.oid, key.page, slot, version);
    let mut both = Buffer::zeroed(2 * PAGE_BYTES);
    disk.read_at(files.meta, copy_offset(header.number, 0), &mut both)?;
    let PageKey { oid, page } = key;
    let bad = |[first, second]: [_; 2]| Corruption::Page { oid, page, first, second };
    let loaded = choose_copy(&header, contents.salt, &both).map_err(bad);
    let loaded = loaded.and_then(|(copy, bytes)| {
        let entries = meta_page::decode(bytes).map_err(|why| bad([why; 2]))?;
        Ok((copy, entries))
    });
    match loaded {
        Ok((copy, entries)) => {
            contents.pages.insert(key, State::Ready(entries.into_boxed_slice()), copy);
        }
        Err(why) => {
            contents.rotten.insert(oid, why.clone());
            contents.pages.insert(key, State::Rotten(why), 0);
        }
    }
    Ok(())
}
