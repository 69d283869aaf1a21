//! Contents: what the store holds, and the rules by which it changes.
//!
//! Why: the same rules serve a request, which must not be applied twice, and replay, which
//!      must be able to apply everything again.
//! Way: `change` plans requests against memory and fills a [`Stage`]; `store` commits the
//!      stage to the journal; `apply` puts it in place. `redo` does both for a replayed batch.
//! Holds:
//!   CT1 a block changes only to a newer stamp that is not older than the object's base;
//!   CT2 an object without blocks does not exist: its base is what its tombstone says;
//!   CT3 redoing the journal from its beginning, on any mixture of old and new sectors and
//!       names, gives the state that was there.

mod apply;
pub(crate) mod change;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use sheepdog_proto::{Oid, Payload, Stamp, View};

use crate::disk::guarded::GuardedDisk;
use crate::error::StoreError;
use crate::journal::batch::Batch;
use crate::journal::record::Record;
use crate::object::Object;
use crate::object::cache::Objects;
use crate::request::{Unstable, UnstableKind};
use crate::tombstone::Tombstones;
use crate::unstable::UnstableList;

/// Objects, what is remembered beside them, and the disk they are on.
pub(crate) struct Contents {
    pub(crate) disk: GuardedDisk,
    pub(crate) objects: Objects,
    pub(crate) unstable: UnstableList,
    pub(crate) tombstones: Tombstones,
    /// Space that new data leave free, in bytes.
    pub(crate) reserve_bytes: u64,
}

/// Changes that are planned, and in memory, but not on the disk.
#[derive(Default)]
pub(crate) struct Stage {
    /// What the journal is told.
    pub(crate) batch: Batch,
    /// Bytes of blocks that their files do not have yet.
    blocks: BTreeMap<(Oid, u32), Payload>,
    /// Blocks whose space goes back.
    freed: BTreeSet<(Oid, u32)>,
    /// Objects whose files change.
    touched: BTreeSet<Oid>,
    /// Whether a journal is replayed: then equal stamps are applied again.
    redo: bool,
    /// Space that new data may still take; asked for when first needed.
    space: Option<u64>,
}

impl Stage {
    /// A stage that begins with records that waited for company.
    pub(crate) fn new(waiting: Vec<Record>) -> Self {
        Self { batch: Batch { records: waiting, data: Vec::new() }, ..Self::default() }
    }

    /// Whether something must become durable before a reply.
    pub(crate) fn must_commit(&self) -> bool {
        self.batch.records.iter().any(|record| !record.can_wait())
    }
}

impl Contents {
    /// The base of an object, from its file or, if there is none, from its tombstone (CT2).
    fn base_of(&mut self, stage: &Stage, oid: Oid) -> Result<Stamp, StoreError> {
        let tombstone = self.tombstones.of(oid).base;
        Ok(self.existing(stage, oid)?.map_or(tombstone, |object| object.header.base))
    }

    /// The object, if it exists (CT2).
    fn existing(&mut self, stage: &Stage, oid: Oid) -> Result<Option<&mut Object>, StoreError> {
        let object = self.objects.load(&mut self.disk, oid, stage.redo)?;
        Ok(object.filter(|object| object.exists()))
    }

    /// What a record makes be remembered beside the objects; first and at replay the same.
    fn remember(&mut self, record: &Record) {
        if let Some(change) = unstable_of(record) {
            self.unstable.insert(change); // ST6
        }
        match record {
            Record::Reset { oid, stamp, view } => self.tombstones.insert(*oid, *stamp, *view),
            Record::Unstable(change) if change.kind == UnstableKind::Reset => {
                self.tombstones.insert(change.oid, change.stamp, View(0));
            }
            Record::Watermark { vid, stable } => self.unstable.watermark(*vid, *stable),
            Record::Settle { vid, below, oids } => self.unstable.settle(*vid, *below, oids),
            _ => {}
        }
    }

    /// A new segment begins: what only the old one said is forgotten.
    pub(crate) fn begin_segment(&mut self) {
        self.tombstones.begin_segment(self.unstable.iter());
    }

    /// Remembers a record and puts it into the batch.
    fn note(&mut self, stage: &mut Stage, record: Record, data: Option<Payload>) {
        self.remember(&record);
        stage.batch.records.push(record);
        stage.batch.data.extend(data);
    }
}

/// The unstable change that a record describes (ST6).
fn unstable_of(record: &Record) -> Option<Unstable> {
    use UnstableKind::{Hole, Reset, Write};
    let (oid, stamp, first_block, count, kind) = match record {
        Record::Write { oid, stamp, first_block, checksums, .. } => {
            (*oid, *stamp, *first_block, checksums.len() as u32, Write)
        }
        Record::Hole { oid, stamp, first_block, count, .. } => {
            (*oid, *stamp, *first_block, *count, Hole)
        }
        Record::Reset { oid, stamp, .. } => (*oid, *stamp, 0, 0, Reset),
        Record::Unstable(change) => return Some(*change),
        Record::View { .. } | Record::Watermark { .. } | Record::Settle { .. } => return None,
    };
    Some(Unstable { stamp, oid, first_block, kind, count })
}

/// Ascending numbers as ranges without gaps.
fn runs(numbers: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

#[cfg(test)]
#[path = "contents/tests.rs"]
mod tests;
