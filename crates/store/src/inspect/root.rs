//! The root: superblock and checkpoints, as far as they are whole.
//!
//! Way: with a bad superblock its salt is tried all the same: if anything else passes its check
//!      with it, it is right.

use sheepdog_proto::wire::WireError;

use super::fault::{Fault, FaultKind};
use super::look::Shelf;
use crate::format::checkpoint::Checkpoint;
use crate::format::superblock::{COPY_BYTES, COPY_OFFSETS, Superblock, field};
use crate::store::files::{CHECKPOINT_PATHS, SUPER_PATH};
use crate::wal::segment::{HEADER_BYTES, SegmentHeader};
use crate::wal::{WAL_DIR, file_path};

/// What one of the two checkpoint files holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointState {
    /// Nothing: a new store has written only the other one.
    Empty,
    /// A whole checkpoint.
    Whole {
        /// The log is replayed from this segment on.
        segment: u32,
        /// Index pages that it names.
        index_pages: usize,
    },
    /// Something else.
    Bad(WireError),
    /// The file is missing or unreadable.
    Unreadable,
}

/// The top of a store.
#[derive(Debug, Default)]
pub(super) struct Root {
    pub(super) superblock: Option<Superblock>,
    pub(super) checkpoints: Vec<CheckpointState>,
    /// The newest whole one, and in which of the two files it is.
    pub(super) checkpoint: Option<(usize, Checkpoint)>,
}

impl Root {
    pub(super) fn load(shelf: &mut Shelf, faults: &mut Vec<Fault>) -> Self {
        let raw = CHECKPOINT_PATHS.map(|path| read_whole(shelf, path, faults));
        let superblock = load_superblock(shelf, &raw, faults);
        let mut root = Self { superblock, ..Self::default() };
        let Some(superblock) = root.superblock else { return root };
        let mut bad = Vec::new();
        for (number, (path, bytes)) in CHECKPOINT_PATHS.iter().zip(&raw).enumerate() {
            let state = match bytes.as_deref() {
                None => CheckpointState::Unreadable,
                Some([]) => CheckpointState::Empty,
                Some(bytes) => match Checkpoint::verify(superblock.salt, bytes) {
                    Ok(found) => {
                        let (segment, index_pages) = (found.segment, found.versions.len());
                        if root.checkpoint.as_ref().is_none_or(|(_, old)| segment > old.segment) {
                            root.checkpoint = Some((number, found));
                        }
                        CheckpointState::Whole { segment, index_pages }
                    }
                    Err(why) => {
                        bad.push(Fault::new(path, 0, FaultKind::Checkpoint { why }));
                        CheckpointState::Bad(why)
                    }
                },
            };
            root.checkpoints.push(state);
        }
        faults.append(&mut bad);
        if root.checkpoint.is_none() {
            faults.push(Fault::new(CHECKPOINT_PATHS[0], 0, FaultKind::NoCheckpoint));
        }
        root
    }
}

fn read_whole(shelf: &mut Shelf, path: &str, faults: &mut Vec<Fault>) -> Option<Vec<u8>> {
    let read = shelf.len(path).and_then(|len| {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(32 << 20)];
        shelf.read(path, 0, &mut bytes)?;
        Ok(bytes)
    });
    read.inspect_err(|error| faults.push(Fault::of_disk(path, 0, error))).ok()
}

fn load_superblock(
    shelf: &mut Shelf,
    checkpoints: &[Option<Vec<u8>>],
    faults: &mut Vec<Fault>,
) -> Option<Superblock> {
    let mut copies = Vec::new();
    for (copy, offset) in COPY_OFFSETS.into_iter().enumerate() {
        let mut raw = [0; COPY_BYTES];
        match shelf.read(SUPER_PATH, offset, &mut raw) {
            Ok(_) => {}
            Err(error) => {
                faults.push(Fault::of_disk(SUPER_PATH, offset, &error));
                continue;
            }
        }
        let found = Superblock::verify(&raw);
        if let Err(why) = found {
            let kind = FaultKind::SuperblockCopy { copy, why };
            faults.push(Fault::new(SUPER_PATH, offset, kind));
        }
        copies.push((raw, found));
    }
    if let Some(found) = copies.iter().find_map(|(_, found)| found.ok()) {
        return Some(found);
    }
    let raw = copies.iter().map(|(raw, _)| raw);
    let guessed = raw.filter_map(|raw| guess(shelf, raw, checkpoints)).next();
    let kind = FaultKind::Superblock { is_guessed: guessed.is_some() };
    faults.push(Fault::new(SUPER_PATH, 0, kind));
    guessed
}

/// The numbers of a bad copy, if its salt fits anything else of the store.
fn guess(
    shelf: &mut Shelf,
    raw: &[u8; COPY_BYTES],
    checkpoints: &[Option<Vec<u8>>],
) -> Option<Superblock> {
    let salt = field::SALT.get(raw);
    let mut checkpoints = checkpoints.iter().flatten();
    let fits = checkpoints.any(|bytes| Checkpoint::verify(salt, bytes).is_ok())
        || has_segment(shelf, salt);
    // The files have the length of a segment, whatever the copy says.
    let segment_bytes = shelf.len(&file_path(0)).unwrap_or_else(|_| field::SEGMENT_BYTES.get(raw));
    let (node, shard) = (field::NODE.get(raw), field::SHARD.get(raw));
    fits.then_some(Superblock { node, shard, salt, segment_bytes })
}

fn has_segment(shelf: &mut Shelf, salt: u64) -> bool {
    let names = shelf.list(WAL_DIR).unwrap_or_default();
    names.iter().any(|entry| {
        let mut raw = [0; HEADER_BYTES];
        let path = format!("{WAL_DIR}/{}", entry.name);
        shelf.read(&path, 0, &mut raw).is_ok() && SegmentHeader::verify(salt, &raw).is_ok()
    })
}
