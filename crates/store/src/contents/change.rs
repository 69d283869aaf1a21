//! Planning of changes: which blocks of a request are newer, and what they become.
//!
//! Way: each function checks everything and reserves space first, then changes memory and the
//!      stage, where nothing can fail any more.
//! Not here: the disk, except to load metadata and to reserve space.

use sheepdog_proto::{BLOCK_BYTES, Generation, Oid, Payload, Stamp, Vid, View, block_checksum};

use super::{Contents, Stage, runs};
use crate::error::{Refusal, StoreError, check_stamp};
use crate::journal::record::Record;
use crate::object::check_range;
use crate::object::page::Entry;
use crate::object::shape::Shape;
use crate::request::BlockState;
use crate::tombstone::Tombstone;

/// Blocks that a request wants to change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) oid: Oid,
    pub(crate) shape: Shape,
    pub(crate) first_block: u32,
    pub(crate) count: u32,
    pub(crate) stamp: Stamp,
    pub(crate) view: View,
}

impl Span {
    /// Checks what a request says about its blocks.
    pub(crate) fn check(
        oid: Oid,
        shift: u8,
        (first_block, count): (u32, u32),
        stamp: Stamp,
        view: View,
    ) -> Result<Self, StoreError> {
        check_stamp(stamp)?;
        let shape = Shape::new(shift).ok_or(Refusal::Shift(shift))?;
        check_range(oid, shape, first_block, count)?;
        Ok(Self { oid, shape, first_block, count, stamp, view })
    }
}

/// Checks that the data are whole blocks that match their checksums.
pub(crate) fn check_data(
    oid: Oid,
    first_block: u32,
    checksums: &[u32],
    data: &[u8],
) -> Result<u32, Refusal> {
    let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
    let refusal = Refusal::Length { bytes: data.len(), checksums: checksums.len() };
    if !rest.is_empty() || blocks.len() != checksums.len() {
        return Err(refusal);
    }
    let count = u32::try_from(blocks.len()).map_err(|_| refusal)?;
    let end = first_block.checked_add(count);
    if end.is_none_or(|end| end > Shape::LARGEST.blocks()) {
        return Err(Refusal::Range { oid, first_block, count });
    }
    for ((block, checksum), bytes) in (first_block..).zip(checksums).zip(blocks) {
        if block_checksum(oid, block, bytes) != *checksum {
            return Err(Refusal::Checksum { oid, block });
        }
    }
    Ok(count)
}

impl Contents {
    /// Plans a write. Returns how many blocks change.
    pub(crate) fn write(
        &mut self,
        stage: &mut Stage,
        span: Span,
        checksums: &[u32],
        data: &Payload,
    ) -> Result<u32, StoreError> {
        let blocks = self.newer_blocks(stage, span)?;
        if blocks.is_empty() {
            return self.duplicate(stage, span.oid, span.view);
        }
        self.reserve(stage, span, &blocks, true)?;
        self.change_blocks(stage, span, &blocks, |block| BlockState::Data {
            checksum: checksums[(block - span.first_block) as usize],
        });
        let place = |block: u32| (block - span.first_block) as usize;
        for block in &blocks {
            let start = place(*block) * BLOCK_BYTES;
            let bytes = data.slice(start..start + BLOCK_BYTES);
            stage.blocks.insert((span.oid, *block), bytes);
        }
        if !stage.redo {
            let Span { oid, shape, stamp, view, .. } = span;
            for run in runs(blocks.iter().copied()) {
                let places = place(run.start)..place(run.end - 1) + 1;
                let bytes = data.slice(places.start * BLOCK_BYTES..places.end * BLOCK_BYTES);
                let checksums = checksums[places].to_vec();
                let first_block = run.start;
                let record = Record::Write { oid, shape, first_block, stamp, view, checksums };
                self.note(stage, record, Some(bytes));
            }
        }
        Ok(blocks.len() as u32)
    }

    /// Plans holes. Returns how many blocks change.
    pub(crate) fn hole(&mut self, stage: &mut Stage, span: Span) -> Result<u32, StoreError> {
        let blocks = self.newer_blocks(stage, span)?;
        if blocks.is_empty() {
            return self.duplicate(stage, span.oid, span.view);
        }
        self.reserve(stage, span, &blocks, false)?;
        self.change_blocks(stage, span, &blocks, |_| BlockState::Hole);
        if !stage.redo {
            let Span { oid, shape, stamp, view, .. } = span;
            for run in runs(blocks.iter().copied()) {
                let (first_block, count) = (run.start, run.end - run.start);
                let record = Record::Hole { oid, shape, first_block, count, stamp, view };
                self.note(stage, record, None);
            }
        }
        Ok(blocks.len() as u32)
    }

    /// Plans a reset. Returns how many blocks go.
    pub(crate) fn reset(
        &mut self,
        stage: &mut Stage,
        oid: Oid,
        stamp: Stamp,
        view: View,
    ) -> Result<u32, StoreError> {
        check_stamp(stamp)?;
        let base = self.base_of(stage, oid)?;
        if stamp < base || (stamp == base && !stage.redo) {
            return self.duplicate(stage, oid, view);
        }
        let mut gone = 0;
        let mut newest_view = view.max(self.tombstones.of(oid).modified);
        let redo = stage.redo;
        if let Some(object) = self.existing(stage, oid)? {
            if !redo {
                object.check_pages()?;
            }
            for block in 0..object.shape().blocks() {
                match object.entry(block) {
                    Ok(entry) if entry.is_present() && entry.stamp < stamp => {
                        object.set_entry(block, Entry::ABSENT);
                        stage.blocks.remove(&(oid, block));
                        if entry.is_data() {
                            stage.freed.insert((oid, block));
                        }
                        gone += 1;
                    }
                    // An unreadable page stays what it is, and is never returned.
                    Ok(_) | Err(_) => {}
                }
            }
            object.set_base(stamp);
            object.raise_view(view);
            newest_view = newest_view.max(object.header.modified);
            stage.touched.insert(oid);
        }
        if !redo {
            // The record has the view that the object's tombstone needs (TS2).
            self.note(stage, Record::Reset { oid, stamp, view: newest_view }, None);
        }
        Ok(gone)
    }

    /// Takes what is stable off the unstable list.
    pub(crate) fn watermark(&mut self, stage: &mut Stage, vid: Vid, stable: Stamp) {
        self.note(stage, Record::Watermark { vid, stable }, None);
    }

    /// Takes what was reconciled off the unstable list.
    pub(crate) fn settle(
        &mut self,
        stage: &mut Stage,
        vid: Vid,
        below: Generation,
        oids: Vec<Oid>,
    ) {
        let below = Generation(below.0.min(Generation::MAX));
        self.note(stage, Record::Settle { vid, below, oids }, None);
    }

    /// A change that is ignored still raises the object's view, durably.
    pub(super) fn duplicate(
        &mut self,
        stage: &mut Stage,
        oid: Oid,
        view: View,
    ) -> Result<u32, StoreError> {
        let redo = stage.redo;
        let Some(object) = self.existing(stage, oid)? else {
            return Ok(0);
        };
        let rises = object.raise_view(view);
        // Redo writes and syncs it in any case: who wrote it first may not have synced it.
        object.header_changed |= redo;
        if rises || redo {
            stage.touched.insert(oid);
        }
        if rises && !redo {
            self.note(stage, Record::View { oid, view }, None);
        }
        Ok(0)
    }

    /// The blocks of a span that its stamp may change (CT1).
    fn newer_blocks(&mut self, stage: &Stage, span: Span) -> Result<Vec<u32>, StoreError> {
        let blocks = span.first_block..span.first_block + span.count;
        if span.stamp < self.base_of(stage, span.oid)? {
            return Ok(Vec::new());
        }
        let redo = stage.redo;
        let Some(object) = self.existing(stage, span.oid)? else {
            return Ok(blocks.collect());
        };
        if object.shape() != span.shape {
            if redo {
                // The file is newer: a later record of this journal removes and remakes it.
                return Ok(Vec::new());
            }
            let (have, want) = (object.shape().shift(), span.shape.shift());
            return Err(Refusal::ShiftMismatch { oid: span.oid, have, want }.into());
        }
        let mut newer = Vec::with_capacity(span.count as usize);
        for block in blocks {
            match object.entry(block) {
                Ok(entry) if span.stamp > entry.stamp => newer.push(block),
                Ok(entry) if span.stamp == entry.stamp && redo => newer.push(block),
                Ok(_) => {}
                // What cannot be known cannot be redone; it is never returned either.
                Err(_) if redo => {}
                Err(corruption) => return Err(corruption.into()),
            }
        }
        Ok(newer)
    }

    /// Makes the object if it does not exist, and reserves space for new blocks.
    fn reserve(
        &mut self,
        stage: &mut Stage,
        span: Span,
        blocks: &[u32],
        has_data: bool,
    ) -> Result<(), StoreError> {
        let oid = span.oid;
        // Also if it fails: `apply` then removes what was begun.
        stage.touched.insert(oid);
        if self.existing(stage, oid)?.is_none() {
            self.take_space(stage, span.shape.blocks_start())?;
            let Tombstone { base, modified } = self.tombstones.of(oid); // TS2
            let object = self.objects.prepare(&mut self.disk, oid, span.shape)?;
            object.set_base(base);
            object.raise_view(modified);
        }
        if !has_data || stage.redo {
            return Ok(());
        }
        let Some(object) = self.objects.get_mut(oid) else {
            return Ok(());
        };
        let file = object.file;
        let without_space = |block: &&u32| !object.entry(**block).is_ok_and(Entry::is_data);
        let runs = runs(blocks.iter().filter(without_space).copied());
        for run in runs {
            let len = u64::from(run.end - run.start) * BLOCK_BYTES as u64;
            self.take_space(stage, len)?;
            self.disk.allocate(file, span.shape.block_offset(run.start), len)?;
        }
        Ok(())
    }

    /// Counts new space against what may be used. Replay uses what the journal promised.
    fn take_space(&mut self, stage: &mut Stage, bytes: u64) -> Result<(), StoreError> {
        if stage.redo {
            return Ok(());
        }
        let space = match stage.space {
            Some(space) => space,
            None => self.disk.free_space()?.saturating_sub(self.reserve_bytes),
        };
        let left = space.checked_sub(bytes);
        stage.space = Some(left.unwrap_or(space));
        left.map(|_| ()).ok_or(StoreError::Full)
    }

    /// Changes what memory knows of blocks, for which everything was checked and reserved.
    fn change_blocks(
        &mut self,
        stage: &mut Stage,
        span: Span,
        blocks: &[u32],
        state: impl Fn(u32) -> BlockState,
    ) {
        let Some(object) = self.objects.get_mut(span.oid) else {
            return;
        };
        for block in blocks {
            let key = (span.oid, *block);
            let had_data = object.entry(*block).is_ok_and(Entry::is_data);
            let entry = Entry { stamp: span.stamp, state: state(*block) };
            object.set_entry(*block, entry);
            stage.blocks.remove(&key);
            if entry.is_data() {
                stage.freed.remove(&key);
            } else if had_data {
                stage.freed.insert(key);
            }
        }
        object.raise_view(span.view);
        object.header_changed |= stage.redo;
    }
}
