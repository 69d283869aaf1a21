//! Reading a store: superblock, files, checkpoint, index and the pages that replay needs.
//!
//! Holds: OP1 nothing is changed here.

use std::collections::BTreeMap;

use sheepdog_proto::{Buffer, Oid, Stamp};

use crate::contents::Contents;
use crate::contents::object::Object;
use crate::contents::pages::{PageKey, State, empty_entries};
use crate::disk::guarded::GuardedDisk;
use crate::error::{Corruption, StoreError};
use crate::format::checkpoint::Checkpoint;
use crate::format::page::{PAGE_BYTES, choose_copy, copy_offset};
use crate::format::superblock::{COPY_BYTES, COPY_OFFSETS, Superblock};
use crate::format::{index_page, meta_page};
use crate::shape::{FRAGMENT_PAGES, pages_of};
use crate::store::files::{
    CHECKPOINT_PATHS, DATA_DIR, Files, INDEX_PATH, META_PATH, SUPER_PATH, slab_path,
};
use crate::wal::record::Record;

/// How much of the index is read at once.
const INDEX_CHUNK_PAGES: usize = 128;

pub(super) fn load_superblock(disk: &mut GuardedDisk) -> Result<(Superblock, bool), StoreError> {
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

pub(super) fn open_files(disk: &mut GuardedDisk) -> Result<Files, StoreError> {
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
pub(super) fn load_checkpoint(
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
pub(super) fn load_index(
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
pub(super) fn load_pages(
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
            Record::Undone(change) if change.count > 0 => {
                (change.oid, pages_of(change.first_block, change.count))
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

fn load_page(
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
