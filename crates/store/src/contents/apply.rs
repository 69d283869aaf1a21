//! Putting in place: from a committed stage to the object files, and from a replayed batch.
//!
//! Holds:
//!   A1 nothing is put in place before its journal batch is synced (ST2);
//!   A2 nothing here is synced: until the next checkpoint the journal has it too.

use sheepdog_proto::{BLOCK_BYTES, Oid};

use super::change::Span;
use super::{Contents, Stage, runs};
use crate::disk::guarded::GuardedDisk;
use crate::error::StoreError;
use crate::journal::batch::Batch;
use crate::journal::record::Record;
use crate::object::Object;
use crate::object::page::{PAGE_BYTES, PageSlot};
use crate::object::shape::Shape;

impl Contents {
    /// Puts a stage in place. Whoever calls has committed it (A1).
    pub(crate) fn apply(&mut self, stage: &Stage) -> Result<(), StoreError> {
        for oid in &stage.touched {
            let Some(object) = self.objects.get_mut(*oid) else {
                continue;
            };
            if !object.exists() {
                self.objects.remove(&mut self.disk, *oid)?;
                continue;
            }
            write_object(&mut self.disk, object, stage)?;
            if object.is_new {
                object.is_new = false;
                object.is_named = true;
                self.objects.name(&mut self.disk, *oid)?;
            }
        }
        self.objects.trim(&mut self.disk, None)
    }

    /// Does a replayed batch again (CT3).
    pub(crate) fn redo(&mut self, batch: Batch) -> Result<(), StoreError> {
        let mut stage = Stage { redo: true, ..Stage::default() };
        let mut data = batch.data.into_iter();
        for record in batch.records {
            self.remember(&record);
            let done = match record {
                Record::Write { oid, shape, first_block, stamp, view, checksums } => {
                    let count = checksums.len() as u32;
                    let span = Span { oid, shape, first_block, count, stamp, view };
                    match data.next() {
                        Some(data) => self.redo_on(oid, |contents| {
                            contents.write(&mut stage, span, &checksums, &data)
                        }),
                        None => Ok(()),
                    }
                }
                Record::Hole { oid, shape, first_block, count, stamp, view } => {
                    let span = Span { oid, shape, first_block, count, stamp, view };
                    self.redo_on(oid, |contents| contents.hole(&mut stage, span))
                }
                Record::Reset { oid, stamp, view } => {
                    self.redo_on(oid, |contents| contents.reset(&mut stage, oid, stamp, view))
                }
                Record::View { oid, view } => {
                    self.redo_on(oid, |contents| contents.duplicate(&mut stage, oid, view))
                }
                Record::Watermark { .. } | Record::Settle { .. } | Record::Unstable(_) => Ok(()),
            };
            done?;
        }
        self.apply(&stage)
    }

    /// One change to one object. An object that has rotted stays unreadable, and keeps the
    /// others from nothing.
    fn redo_on(
        &mut self,
        oid: Oid,
        change: impl FnOnce(&mut Self) -> Result<u32, StoreError>,
    ) -> Result<(), StoreError> {
        self.objects.doubt_name(oid);
        match change(self) {
            Ok(_) | Err(StoreError::Corrupt(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Writes what changed of one object.
fn write_object(
    disk: &mut GuardedDisk,
    object: &mut Object,
    stage: &Stage,
) -> Result<(), StoreError> {
    let file = object.file;
    let oid = object.oid();
    let shape = object.shape();
    if object.header_changed {
        disk.write_at(file, 0, &[&object.header.encode()])?;
    }
    for run in runs(object.changed_pages.iter().copied()) {
        let slots = &object.pages[run.start as usize..run.end as usize];
        let sectors: Vec<[u8; PAGE_BYTES]> = slots
            .iter()
            .filter_map(|slot| match slot {
                PageSlot::Page(page) => Some(page.encode()),
                PageSlot::Empty | PageSlot::Rotten(_) => None,
            })
            .collect();
        assert_eq!(sectors.len(), slots.len(), "a page that cannot be read was changed"); // O2
        let parts: Vec<&[u8]> = sectors.iter().map(|sector| &sector[..]).collect();
        disk.write_at(file, Shape::page_offset(run.start), &parts)?;
    }
    let own = (oid, 0)..=(oid, u32::MAX);
    for run in runs(stage.blocks.range(own.clone()).map(|((_, block), _)| *block)) {
        let blocks = stage.blocks.range((oid, run.start)..(oid, run.end));
        let parts: Vec<&[u8]> = blocks.map(|(_, payload)| &**payload).collect();
        disk.write_at(file, shape.block_offset(run.start), &parts)?;
    }
    for run in runs(stage.freed.range(own).map(|(_, block)| *block)) {
        let len = u64::from(run.end - run.start) * BLOCK_BYTES as u64;
        disk.punch_hole(file, shape.block_offset(run.start), len)?;
    }
    object.header_changed = false;
    object.changed_pages.clear();
    object.is_dirty = true;
    Ok(())
}
