//! Pending: what is planned but not committed, laid over the contents.
//!
//! Why: the next request must be planned on what the ones before it will have done.
//! Holds: PE1 what is here is in a batch that is not committed yet, and leaves with it.

use std::collections::BTreeMap;

use sheepdog_proto::{Oid, Payload, Stamp, View};

use crate::contents::Contents;
use crate::contents::object::Object;
use crate::format::meta_page::Entry;
use crate::shape::{Shape, UNIT_BLOCKS};
use crate::wal::record::Record;

/// Planned changes.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    blocks: BTreeMap<(Oid, u32), PendingBlock>,
    objects: BTreeMap<Oid, PendingObject>,
    units: BTreeMap<(Oid, u32), PendingUnit>,
}

/// What is planned for a unit of an object. Each has the newest batch that says so: what comes
/// later does not hide it, because until then the contents know nothing of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct PendingUnit {
    /// Some of its blocks will be in this unit of a slab.
    part: Option<(u32, u64)>,
    /// All of them will be in this one.
    whole: Option<(u32, u64)>,
    /// Some become holes.
    holes: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct PendingBlock {
    entry: Entry,
    bytes: Option<Payload>,
    batch: u64,
}

#[derive(Debug, Default)]
struct PendingObject {
    shape: Option<Shape>,
    base: Option<Stamp>,
    newest: Stamp,
    modified: View,
    batch: u64,
}

impl PendingBlock {
    pub(crate) fn bytes(&self) -> Option<&Payload> {
        self.bytes.as_ref()
    }
}

impl Pending {
    pub(crate) fn block(&self, oid: Oid, block: u32) -> Option<&PendingBlock> {
        self.blocks.get(&(oid, block))
    }

    /// Base of an object as it will be.
    pub(crate) fn base(&self, contents: &Contents, oid: Oid) -> Stamp {
        let base = self.objects.get(&oid).and_then(|object| object.base);
        base.map_or_else(|| contents.base_of(oid), |base| base.max(contents.base_of(oid)))
    }

    /// The batch that changes an object, if one is under way.
    pub(crate) fn batch_of(&self, oid: Oid) -> Option<u64> {
        self.objects.get(&oid).map(|object| object.batch)
    }

    /// No block of the object has or will have a newer stamp.
    pub(crate) fn newest(&self, contents: &Contents, oid: Oid) -> Stamp {
        let committed = contents.objects.get(&oid).map_or(Stamp::NONE, |object| object.newest);
        self.objects.get(&oid).map_or(committed, |object| object.newest.max(committed))
    }

    pub(crate) fn modified(&self, contents: &Contents, oid: Oid) -> View {
        let committed = contents.objects.get(&oid).map_or(View(0), |object| object.modified);
        self.objects.get(&oid).map_or(committed, |object| object.modified.max(committed))
    }

    /// Shape of an object that exists or will. One of which a planned reset leaves nothing can
    /// come back in another.
    pub(crate) fn shape(&self, contents: &Contents, oid: Oid) -> Option<Shape> {
        let pending = self.objects.get(&oid);
        let base = pending.and_then(|object| object.base);
        let stays = |object: &&Object| object.exists() && base.is_none_or(|b| object.newest >= b);
        let committed = contents.objects.get(&oid).filter(stays).map(|object| object.shape);
        committed.or_else(|| pending.and_then(|object| object.shape))
    }

    /// A block as it will be; its page must be loaded.
    pub(crate) fn entry(&self, contents: &Contents, oid: Oid, block: u32) -> Entry {
        if let Some(pending) = self.block(oid, block) {
            return pending.entry;
        }
        let entry = contents.entry(oid, block);
        let base = self.objects.get(&oid).and_then(|object| object.base);
        if base.is_some_and(|base| entry.stamp < base) { Entry::ABSENT } else { entry }
    }

    /// The unit of a block as it will be.
    pub(crate) fn unit(&self, contents: &Contents, oid: Oid, block: u32) -> Option<u32> {
        let pending = self.units.get(&(oid, block / UNIT_BLOCKS));
        let planned = pending.and_then(|pending| pending.whole.or(pending.part));
        planned.map(|(unit, _)| unit).or_else(|| contents.unit_for(oid, block))
    }

    /// The unit that will hold a part of a unit of an object.
    pub(crate) fn partial_unit(&self, oid: Oid, block: u32) -> Option<u32> {
        let (unit, _) = self.units.get(&(oid, block / UNIT_BLOCKS))?.part?;
        Some(unit)
    }

    /// Units of slabs that records name.
    pub(crate) fn named_units(&self) -> impl Iterator<Item = u32> + '_ {
        let named = self.units.values().flat_map(|pending| [pending.part, pending.whole]);
        named.flatten().map(|(unit, _)| unit)
    }

    /// Whether a record names a unit for the place of a block.
    pub(crate) fn names_unit(&self, oid: Oid, block: u32, unit: u32) -> bool {
        let pending = self.units.get(&(oid, block / UNIT_BLOCKS));
        let named = pending.into_iter().flat_map(|pending| [pending.part, pending.whole]);
        named.flatten().any(|(named, _)| named == unit)
    }

    /// Whether something planned may leave the unit of a block without data.
    pub(crate) fn may_free_unit(&self, oid: Oid, block: u32) -> bool {
        let pending = self.units.get(&(oid, block / UNIT_BLOCKS));
        pending.is_some_and(|pending| pending.holes.is_some())
            || self.objects.get(&oid).is_some_and(|object| object.base.is_some())
    }

    /// Takes in what a record of a batch will do; `bytes` are the blocks of a write.
    pub(crate) fn note(&mut self, record: &Record, bytes: Option<&Payload>, batch: u64) {
        use crate::request::BlockState;
        match record {
            Record::Write { oid, shape, first_block, stamp, view, checksums }
            | Record::Placed { oid, shape, first_block, stamp, view, checksums, .. } => {
                self.note_object(*oid, *shape, *stamp, *view, batch);
                if let Record::Placed { unit, .. } = record {
                    let pending = self.units.entry((*oid, first_block / UNIT_BLOCKS)).or_default();
                    let is_whole = checksums.len() as u32 == UNIT_BLOCKS;
                    let place = if is_whole { &mut pending.whole } else { &mut pending.part };
                    *place = Some((*unit, batch));
                }
                for (place, checksum) in checksums.iter().enumerate() {
                    let state = BlockState::Data { checksum: *checksum };
                    let start = place * sheepdog_proto::BLOCK_BYTES;
                    let end = start + sheepdog_proto::BLOCK_BYTES;
                    let bytes = bytes.map(|bytes| bytes.slice(start..end));
                    let entry = Entry { stamp: *stamp, state };
                    let block = first_block + place as u32;
                    self.blocks.insert((*oid, block), PendingBlock { entry, bytes, batch });
                }
            }
            Record::Hole { oid, shape, first_block, count, stamp, view } => {
                self.note_object(*oid, *shape, *stamp, *view, batch);
                let entry = Entry { stamp: *stamp, state: BlockState::Hole };
                for block in *first_block..first_block + count {
                    self.blocks.insert((*oid, block), PendingBlock { entry, bytes: None, batch });
                }
                for unit in units_of(*first_block, *count) {
                    self.units.entry((*oid, unit)).or_default().holes = Some(batch);
                }
            }
            Record::Reset { oid, stamp, view } => {
                let older: Vec<_> = self
                    .blocks
                    .range((*oid, 0)..=(*oid, u32::MAX))
                    .filter(|(_, block)| block.entry.stamp < *stamp)
                    .map(|(key, _)| *key)
                    .collect();
                for key in older {
                    self.blocks.remove(&key);
                }
                let is_empty = self.blocks.range((*oid, 0)..=(*oid, u32::MAX)).next().is_none();
                let object = self.objects.entry(*oid).or_default();
                if is_empty {
                    object.shape = None;
                }
                object.base = object.base.max(Some(*stamp));
                object.shape = object.shape.filter(|_| object.newest >= *stamp);
                object.modified = object.modified.max(*view);
                object.batch = batch;
            }
            Record::View { oid, view } => {
                let object = self.objects.entry(*oid).or_default();
                object.modified = object.modified.max(*view);
                object.batch = batch;
            }
            Record::Watermark { .. }
            | Record::Settle { .. }
            | Record::Unstable(_)
            | Record::Stable(_)
            // Nothing is planned beside these (PN3).
            | Record::Forget { .. }
            | Record::Undone(_)
            | Record::Drop { .. } => {}
        }
    }

    fn note_object(&mut self, oid: Oid, shape: Shape, stamp: Stamp, view: View, batch: u64) {
        let object = self.objects.entry(oid).or_default();
        object.shape = Some(shape);
        object.newest = object.newest.max(stamp);
        object.modified = object.modified.max(view);
        object.batch = batch;
    }

    /// A record's batch is committed, and applied to the contents (PE1).
    pub(crate) fn forget(&mut self, record: &Record, batch: u64) {
        let (oid, blocks) = match record {
            Record::Write { oid, first_block, checksums, .. }
            | Record::Placed { oid, first_block, checksums, .. } => {
                (*oid, *first_block..first_block + checksums.len() as u32)
            }
            Record::Hole { oid, first_block, count, .. } => {
                (*oid, *first_block..first_block + count)
            }
            Record::Reset { oid, .. } | Record::View { oid, .. } => (*oid, 0..0),
            Record::Watermark { .. }
            | Record::Settle { .. }
            | Record::Unstable(_)
            | Record::Stable(_)
            | Record::Forget { .. }
            | Record::Undone(_)
            | Record::Drop { .. } => return,
        };
        if matches!(record, Record::Placed { .. } | Record::Hole { .. }) {
            for unit in units_of(blocks.start, blocks.end - blocks.start) {
                self.forget_unit((oid, unit), batch);
            }
        }
        for block in blocks {
            if self.block(oid, block).is_some_and(|pending| pending.batch == batch) {
                self.blocks.remove(&(oid, block));
            }
        }
        if self.objects.get(&oid).is_some_and(|object| object.batch == batch) {
            self.objects.remove(&oid);
        }
    }

    fn forget_unit(&mut self, key: (Oid, u32), batch: u64) {
        let Some(pending) = self.units.get_mut(&key) else { return };
        pending.part.take_if(|(_, own)| *own == batch);
        pending.whole.take_if(|(_, own)| *own == batch);
        pending.holes.take_if(|own| *own == batch);
        if *pending == PendingUnit::default() {
            self.units.remove(&key);
        }
    }
}

/// Units of an object in which some of its blocks are.
fn units_of(first_block: u32, count: u32) -> std::ops::Range<u32> {
    first_block / UNIT_BLOCKS..(first_block + count).div_ceil(UNIT_BLOCKS)
}
