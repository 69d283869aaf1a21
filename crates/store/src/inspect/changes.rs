//! Changes: what the log says of each object, without the bytes.
//!
//! Why: a log with gaps brings states that `contents` holds for impossible; here the newer stamp
//!      counts, whatever is missing between.
//! Holds:
//!   IC1 of two contents of a block the one with the newer stamp counts, and none that is older
//!       than a reset that came after it. In a log without gaps that is what `contents` does.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{BLOCK_BYTES, Oid, Stamp, View};

use super::walk::Found;
use crate::home::bucket_of;
use crate::request::{BlockState, Unstable, UnstableKind};
use crate::shape::{Shape, UNIT_BLOCKS};
use crate::unstable::UnstableList;
use crate::wal::record::Record;

/// Where the bytes of a block are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// In a batch: index of the log file, and byte.
    Log(usize, u64),
    /// In a slab: unit, and block in it.
    Slab(u32, u32),
    Nowhere,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stamp: Stamp,
    pub(super) state: BlockState,
    pub(super) spot: Spot,
}

/// What the log says of one object.
#[derive(Debug, Default)]
pub(super) struct ObjectChanges {
    pub(super) shape: Option<Shape>,
    /// The newest reset.
    pub(super) reset: Stamp,
    pub(super) modified: View,
    pub(super) blocks: BTreeMap<u32, Known>,
    /// Changes that were taken back: pages on the disk may still have them.
    pub(super) undone: Vec<Unstable>,
}

/// What the log says.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) objects: BTreeMap<Oid, ObjectChanges>,
    pub(super) unstable: UnstableList,
    /// Buckets of which the index says what is no longer so.
    pub(super) forgotten: BTreeSet<u8>,
    /// Objects of which it does.
    pub(super) dropped: BTreeSet<Oid>,
}

impl Changes {
    /// Applies a batch that stands in log file number `file`.
    pub(super) fn apply(&mut self, found: &Found, file: usize) {
        let mut offset = found.blocks_start();
        for record in &found.records {
            self.apply_record(record, file, offset);
            offset += (record.blocks() * BLOCK_BYTES) as u64;
        }
    }

    fn apply_record(&mut self, record: &Record, file: usize, offset: u64) {
        match record {
            Record::Write { oid, shape, first_block, stamp, view, checksums } => {
                let places = (offset..).step_by(BLOCK_BYTES).map(|place| Spot::Log(file, place));
                let blocks = (*first_block..).zip(checksums).zip(places);
                for ((block, checksum), spot) in blocks {
                    let state = BlockState::Data { checksum: *checksum };
                    self.set((*oid, *shape, *view), block, Known { stamp: *stamp, state, spot });
                }
                self.note((*oid, *stamp), UnstableKind::Write, *first_block, checksums.len());
            }
            Record::Placed { oid, shape, first_block, stamp, view, checksums, unit } => {
                for (block, checksum) in (*first_block..).zip(checksums) {
                    let state = BlockState::Data { checksum: *checksum };
                    let spot = Spot::Slab(*unit, block % UNIT_BLOCKS);
                    self.set((*oid, *shape, *view), block, Known { stamp: *stamp, state, spot });
                }
                self.note((*oid, *stamp), UnstableKind::Write, *first_block, checksums.len());
            }
            Record::Hole { oid, shape, first_block, count, stamp, view } => {
                for block in *first_block..first_block + count {
                    let (state, spot) = (BlockState::Hole, Spot::Nowhere);
                    self.set((*oid, *shape, *view), block, Known { stamp: *stamp, state, spot });
                }
                self.note((*oid, *stamp), UnstableKind::Hole, *first_block, *count as usize);
            }
            Record::Reset { oid, stamp, view } => {
                let object = self.objects.entry(*oid).or_default();
                object.reset = object.reset.max(*stamp);
                object.modified = object.modified.max(*view);
                object.blocks.retain(|_, known| known.stamp >= *stamp);
                self.note((*oid, *stamp), UnstableKind::Reset, 0, 0);
            }
            Record::View { oid, view } => {
                let object = self.objects.entry(*oid).or_default();
                object.modified = object.modified.max(*view);
            }
            Record::Watermark { vid, stable } => self.unstable.watermark(*vid, *stable),
            Record::Settle { vid, below, oids } => self.unstable.settle(*vid, *below, oids),
            Record::Unstable(change) => self.unstable.insert(*change),
            Record::Stable(change) => self.unstable.remove(change),
            Record::Forget { bucket } => self.forget(*bucket),
            Record::Undone(change) => self.undo(change),
            Record::Drop { oids } => oids.iter().for_each(|oid| self.drop_object(*oid)),
        }
    }

    fn undo(&mut self, change: &Unstable) {
        self.unstable.remove(change);
        if change.kind == UnstableKind::Reset {
            return self.drop_object(change.oid);
        }
        let object = self.objects.entry(change.oid).or_default();
        object.modified = View(0);
        object.blocks.retain(|block, known| !is_of(change, *block, known.stamp));
        object.undone.push(*change);
    }

    fn drop_object(&mut self, oid: Oid) {
        self.objects.remove(&oid);
        self.unstable.forget_objects(&[oid]);
        self.dropped.insert(oid);
    }

    fn forget(&mut self, bucket: u8) {
        self.objects.retain(|oid, _| bucket_of(*oid) != bucket);
        self.unstable.forget(bucket);
        self.forgotten.insert(bucket);
    }

    /// IC1.
    fn set(&mut self, (oid, shape, view): (Oid, Shape, View), block: u32, known: Known) {
        let object = self.objects.entry(oid).or_default();
        object.shape = Some(shape);
        object.modified = object.modified.max(view);
        let old = object.blocks.get(&block);
        if old.is_none_or(|old| old.stamp <= known.stamp) {
            object.blocks.insert(block, known);
        }
    }

    fn note(&mut self, (oid, stamp): (Oid, Stamp), kind: UnstableKind, first: u32, count: usize) {
        let count = count as u32;
        self.unstable.insert(Unstable { stamp, oid, first_block: first, kind, count });
    }
}

/// Whether a block with this stamp is what the change made of it.
pub(super) fn is_of(change: &Unstable, block: u32, stamp: Stamp) -> bool {
    let blocks = change.first_block..change.first_block + change.count;
    blocks.contains(&block) && stamp == change.stamp
}
