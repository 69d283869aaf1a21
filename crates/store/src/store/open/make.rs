//! Making a store: what an open writes before anybody reads it.
//!
//! Holds: OP2 the superblock gets its name last, so that a store that was made half is made
//!        again.

use std::collections::VecDeque;

use crate::disk::FileId;
use crate::disk::guarded::GuardedDisk;
use crate::error::{Corruption, StoreError};
use crate::format::checkpoint::Checkpoint;
use crate::format::superblock::{COPY_OFFSETS, Superblock};
use crate::store::Options;
use crate::store::commit::fill_parts;
use crate::store::files::{
    CHECKPOINT_PATHS, DATA_DIR, INDEX_PATH, META_PATH, SUPER_PATH, slab_path,
};
use crate::wal::batch::{Batch, Link};
use crate::wal::{SEGMENT_BYTES_MIN, WAL_DIR, Wal, file_path};

/// The superblock of a store that is being made.
const NEW_SUPER_PATH: &str = "super.new";
/// Files of the log that a new store begins with.
const FIRST_LOG_FILES: u32 = 2;

/// Makes a new store where there is none. True if it did.
pub(super) fn prepare(disk: &mut GuardedDisk, options: Options) -> Result<bool, StoreError> {
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

/// The second copy is touched only when the first is synced.
pub(super) fn write_superblock(
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

/// Files of the log for the first commits. Where there is no space the store opens all the
/// same: what it has can be read, and a file is tried again later.
pub(super) fn make_files_ready(
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
