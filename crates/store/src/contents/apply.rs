//! Applying a batch: what each record does to what memory knows.
//!
//! Holds:
//!   AP1 a batch is applied once, after it is durable or when it is replayed;
//!   AP2 the pages that its records need are loaded; a record for a page that has rotted is
//!       passed over: the page stays unreadable.

use std::ops::Range;

use sheepdog_proto::{BLOCK_BYTES, Oid, Payload, Stamp, View};

use super::Contents;
use super::object::Object;
use super::overlay::Recent;
use super::pages::PageKey;
use crate::format::index_page::PAGE_SLOTS;
use crate::format::meta_page::Entry;
use crate::home::bucket_of;
use crate::request::{BlockState, Unstable, UnstableKind};
use crate::shape::{
    PAGE_BLOCKS, Shape, UNIT_BLOCKS, cut_at_units, pages_of, place_of_page, unit_of,
};
use crate::wal::batch::Batch;
use crate::wal::record::Record;

/// Blocks that a record changes.
struct Change {
    oid: Oid,
    shape: Shape,
    blocks: Range<u32>,
    stamp: Stamp,
    view: View,
}

impl Contents {
    /// Applies a batch of a segment. Returns for each record how many blocks changed.
    pub(crate) fn apply(&mut self, batch: &Batch, segment: u32) -> Vec<u32> {
        let mut data = batch.data.iter();
        batch.records.iter().map(|record| self.apply_record(record, &mut data, segment)).collect()
    }

    fn apply_record<'a>(
        &mut self,
        record: &Record,
        data: &mut impl Iterator<Item = &'a Payload>,
        segment: u32,
    ) -> u32 {
        if let Some(change) = change_of(record) {
            self.unstable.insert(change); // UNSTABLE-KNOWN
        }
        match record {
            Record::Write { oid, shape, first_block, stamp, view, checksums } => {
                let blocks = *first_block..first_block + checksums.len() as u32;
                let Some(bytes) = data.next() else { return 0 };
                let change =
                    Change { oid: *oid, shape: *shape, blocks, stamp: *stamp, view: *view };
                self.write(&change, checksums, bytes)
            }
            Record::Placed { oid, shape, first_block, stamp, view, checksums, unit } => {
                let blocks = *first_block..first_block + checksums.len() as u32;
                let change =
                    Change { oid: *oid, shape: *shape, blocks, stamp: *stamp, view: *view };
                self.place(&change, checksums, *unit, segment)
            }
            Record::Hole { oid, shape, first_block, count, stamp, view } => {
                let blocks = *first_block..first_block + count;
                let change =
                    Change { oid: *oid, shape: *shape, blocks, stamp: *stamp, view: *view };
                self.hole(&change, segment)
            }
            Record::Reset { oid, stamp, view } => self.reset(*oid, *stamp, *view, segment),
            Record::View { oid, view } => {
                self.raise_view(*oid, *view);
                0
            }
            Record::Watermark { vid, stable } => {
                self.unstable.watermark(*vid, *stable);
                0
            }
            Record::Settle { vid, below, oids } => {
                self.unstable.settle(*vid, *below, oids);
                0
            }
            Record::Unstable(change) => {
                if change.kind == UnstableKind::Reset {
                    self.tombstones.insert(change.oid, change.stamp, View(0));
                }
                0
            }
            Record::Stable(change) => {
                self.unstable.remove(change);
                0
            }
            Record::Forget { bucket } => {
                self.forget(*bucket, segment);
                0
            }
            Record::Undone(change) => self.undo(change, segment),
            Record::Drop { oids } => {
                for oid in oids {
                    self.remove_object(*oid, segment);
                    self.tombstones.forget_view(*oid);
                }
                self.unstable.forget_objects(oids);
                0
            }
        }
    }

    /// Everything of a bucket goes, as if it had never been.
    fn forget(&mut self, bucket: u8, segment: u32) {
        let oids: Vec<Oid> =
            self.objects.keys().copied().filter(|oid| bucket_of(*oid) == bucket).collect();
        for oid in oids {
            self.remove_object(oid, segment);
        }
        self.unstable.forget(bucket);
        self.tombstones.forget(bucket);
    }

    /// A segment begins: what only the ones before said is forgotten.
    pub(crate) fn begin_segment(&mut self) {
        self.tombstones.begin_segment(self.unstable.iter());
    }

    /// A duplicate came under a newer view.
    pub(crate) fn raise_view(&mut self, oid: Oid, view: View) {
        if self.objects.get(&oid).is_none_or(|object| object.modified >= view) {
            return;
        }
        self.save_object(oid);
        if let Some(object) = self.objects.get_mut(&oid) {
            object.modified = view;
            let slots = object.fragments.iter().filter_map(|fragment| fragment.slot);
            self.dirty_index.extend(slots.map(|slot| slot / PAGE_SLOTS));
        }
    }

    fn write(&mut self, change: &Change, checksums: &[u32], bytes: &Payload) -> u32 {
        let first = change.blocks.start;
        let count = self.set_entries(change, |block| BlockState::Data {
            checksum: checksums[(block - first) as usize],
        });
        if self.is_rotten(change.oid, first) {
            return count;
        }
        for block in change.blocks.clone() {
            if let Some(unit) = self.unit_for(change.oid, block) {
                self.punchable.remove(&(unit, block % UNIT_BLOCKS));
            }
            let start = (block - first) as usize * BLOCK_BYTES;
            let bytes = bytes.slice(start..start + BLOCK_BYTES);
            self.overlay.insert(change.oid, block, Recent { stamp: change.stamp, bytes });
        }
        count
    }

    fn place(&mut self, change: &Change, checksums: &[u32], unit: u32, segment: u32) -> u32 {
        let first = change.blocks.start;
        let count = self.set_entries(change, |block| BlockState::Data {
            checksum: checksums[(block - first) as usize],
        });
        if self.is_rotten(change.oid, first) {
            return count;
        }
        let (number, place) = unit_of(first);
        let Some(object) = self.objects.get_mut(&change.oid) else { return count };
        let fragment = object.fragment(number);
        let old = fragment.unit(place);
        fragment.set_unit(place, Some(unit));
        if let Some(old) = old.filter(|old| *old != unit) {
            assert_eq!(checksums.len() as u32, UNIT_BLOCKS, "a part of a unit was moved"); // CT1
            self.leave_unit(segment, old);
        }
        for block in change.blocks.clone() {
            self.overlay.remove(change.oid, block);
            self.punchable.remove(&(unit, block % UNIT_BLOCKS));
        }
        count
    }

    fn hole(&mut self, change: &Change, segment: u32) -> u32 {
        let count = self.set_entries(change, |_| BlockState::Hole);
        if self.is_rotten(change.oid, change.blocks.start) {
            return count;
        }
        for blocks in cut_at_units(change.blocks.clone()) {
            for block in blocks.clone() {
                self.overlay.remove(change.oid, block);
            }
            let Some(unit) = self.unit_for(change.oid, blocks.start) else { continue };
            if self.unit_has_data(change.oid, blocks.start) {
                self.punchable.extend(blocks.map(|block| (unit, block % UNIT_BLOCKS)));
                continue;
            }
            let (fragment, place) = unit_of(blocks.start);
            if let Some(object) = self.objects.get_mut(&change.oid) {
                object.fragment(fragment).set_unit(place, None);
                self.leave_unit(segment, unit);
            }
        }
        count
    }

    /// A page that is on the disk but not here has rotted, and may say anything.
    fn unit_has_data(&self, oid: Oid, block: u32) -> bool {
        let first = block - block % UNIT_BLOCKS;
        if self.is_rotten(oid, block) {
            return true;
        }
        (first..first + UNIT_BLOCKS).any(|block| self.entry(oid, block).is_data())
    }

    /// Whether the page of a block cannot be read (AP2).
    fn is_rotten(&self, oid: Oid, block: u32) -> bool {
        let key = PageKey { oid, page: block / PAGE_BLOCKS };
        self.pages.entries(key).is_none() && self.stored_page(key).is_some()
    }

    fn leave_unit(&mut self, segment: u32, unit: u32) {
        self.units.leave(segment, unit);
        let blocks: Vec<_> =
            self.punchable.range((unit, 0)..=(unit, UNIT_BLOCKS)).copied().collect();
        for block in blocks {
            self.punchable.remove(&block);
        }
    }

    /// Everything older than the stamp goes.
    fn reset(&mut self, oid: Oid, stamp: Stamp, view: View, segment: u32) -> u32 {
        let Some(object) = self.objects.get(&oid).filter(|object| object.exists()) else {
            self.objects.remove(&oid);
            self.tombstones.insert(oid, stamp, view);
            return 0;
        };
        let modified = object.modified.max(view);
        let before = object.present();
        self.tombstones.insert(oid, stamp, modified);
        if object.newest < stamp {
            self.remove_object(oid, segment);
            return before;
        }
        self.save_object(oid);
        for page in 0..object_pages(self.objects.get(&oid)) {
            self.reset_page(PageKey { oid, page }, stamp);
        }
        self.drop_empty_parts(oid, segment);
        let Some(object) = self.objects.get_mut(&oid) else { return before };
        (object.base, object.modified) = (stamp, modified);
        let left = object.present();
        if left == 0 {
            self.remove_object(oid, segment);
        } else {
            self.note_index(oid);
        }
        before - left
    }

    fn reset_page(&mut self, key: PageKey, stamp: Stamp) {
        self.save_page(key);
        let Some(entries) = self.pages.change(key) else { return };
        let mut gone = 0;
        for (place, entry) in (0..).zip(entries.iter_mut()) {
            if !entry.is_absent() && entry.stamp < stamp {
                *entry = Entry::ABSENT;
                gone += 1;
                self.overlay.remove(key.oid, key.page * PAGE_BLOCKS + place);
            }
        }
        let (fragment, page) = place_of_page(key.page);
        if let Some(object) = self.objects.get_mut(&key.oid) {
            object.fragment(fragment).present[page] -= gone;
        }
    }

    /// Takes a change back, if it is still what the blocks hold. What is left of the object is
    /// not what it was: it counts as older than every view.
    fn undo(&mut self, change: &Unstable, segment: u32) -> u32 {
        let oid = change.oid;
        self.unstable.remove(change);
        if change.kind == UnstableKind::Reset {
            self.remove_object(oid, segment);
            self.tombstones.remove(oid);
            return 0;
        }
        self.tombstones.forget_view(oid);
        if !self.objects.contains_key(&oid) {
            return 0;
        }
        self.save_object(oid);
        let blocks = change.first_block..change.first_block + change.count;
        let pages = pages_of(change.first_block, change.count);
        let gone = pages.map(|page| self.undo_page(PageKey { oid, page }, &blocks, change.stamp));
        let gone = gone.sum();
        self.drop_empty_parts(oid, segment);
        let Some(object) = self.objects.get_mut(&oid) else { return gone };
        object.modified = View(0);
        if object.present() == 0 {
            self.remove_object(oid, segment);
        } else {
            self.note_index(oid);
        }
        gone
    }

    fn undo_page(&mut self, key: PageKey, blocks: &Range<u32>, stamp: Stamp) -> u32 {
        self.save_page(key);
        let Some(entries) = self.pages.change(key) else { return 0 }; // AP2
        let mut gone = 0;
        for (block, entry) in (key.page * PAGE_BLOCKS..).zip(entries.iter_mut()) {
            if blocks.contains(&block) && !entry.is_absent() && entry.stamp == stamp {
                *entry = Entry::ABSENT;
                gone += 1;
                self.overlay.remove(key.oid, block);
            }
        }
        let (fragment, page) = place_of_page(key.page);
        if let Some(object) = self.objects.get_mut(&key.oid) {
            object.fragment(fragment).present[page] -= gone;
        }
        u32::from(gone)
    }

    /// Units without data and fragments without blocks leave use.
    fn drop_empty_parts(&mut self, oid: Oid, segment: u32) {
        let fragments = self.objects.get(&oid).map_or(0, |object| object.fragments.len());
        for number in 0..fragments {
            for place in 0..crate::shape::FRAGMENT_UNITS {
                let block =
                    number as u32 * crate::shape::FRAGMENT_BLOCKS + place as u32 * UNIT_BLOCKS;
                let Some(unit) = self.unit_for(oid, block) else { continue };
                if !self.unit_has_data(oid, block) {
                    if let Some(object) = self.objects.get_mut(&oid) {
                        object.fragment(number).set_unit(place, None);
                    }
                    self.leave_unit(segment, unit);
                }
            }
            let Some(object) = self.objects.get_mut(&oid) else { return };
            let fragment = object.fragment(number);
            if !fragment.exists()
                && let Some(slot) = fragment.slot.take()
            {
                fragment.versions = Default::default();
                self.dirty_index.insert(slot / PAGE_SLOTS);
                self.slots.leave(segment, slot);
            }
        }
    }

    fn remove_object(&mut self, oid: Oid, segment: u32) {
        self.save_object(oid);
        let due: Vec<PageKey> =
            self.pages.of(oid).filter(|(_, page)| page.is_due).map(|(key, _)| key).collect();
        for key in due {
            self.save_page(key);
        }
        self.pages.forget(oid);
        self.overlay.remove_object(oid);
        self.rotten.remove(&oid);
        let Some(object) = self.objects.remove(&oid) else { return };
        for fragment in object.fragments {
            for unit in fragment.used_units() {
                self.leave_unit(segment, unit);
            }
            if let Some(slot) = fragment.slot {
                self.dirty_index.insert(slot / PAGE_SLOTS);
                self.slots.leave(segment, slot);
            }
        }
    }

    /// Sets what blocks are, and what the object knows of them. Returns how many.
    fn set_entries(&mut self, change: &Change, state: impl Fn(u32) -> BlockState) -> u32 {
        let Change { oid, shape, blocks, stamp, view } = change;
        self.save_object(*oid);
        let tombstone = self.tombstones.of(*oid);
        let object = self
            .objects
            .entry(*oid)
            .or_insert_with(|| Object::new(*shape, tombstone.base, tombstone.modified));
        object.modified = object.modified.max(*view);
        object.newest = object.newest.max(*stamp);
        let mut changed = 0;
        for page in pages_of(blocks.start, blocks.end - blocks.start) {
            let key = PageKey { oid: *oid, page };
            self.save_page(key);
            let Some(entries) = self.pages.change(key) else { continue }; // AP2
            let first = page * PAGE_BLOCKS;
            let mut appeared = 0;
            for block in blocks.start.max(first)..blocks.end.min(first + PAGE_BLOCKS) {
                let entry = &mut entries[(block - first) as usize];
                appeared += u16::from(entry.is_absent());
                *entry = Entry { stamp: *stamp, state: state(block) };
                changed += 1;
            }
            self.add_present(*oid, page, appeared);
        }
        self.note_index(*oid);
        changed
    }

    /// Counts blocks that are new in a page; a fragment gets its slot with its first block.
    fn add_present(&mut self, oid: Oid, page: u32, appeared: u16) {
        let (number, place) = place_of_page(page);
        let Some(object) = self.objects.get_mut(&oid) else { return };
        let fragment = object.fragment(number);
        if fragment.slot.is_none() && appeared > 0 {
            self.save_index_page(self.slots.peek() / PAGE_SLOTS);
            let slot = self.slots.take((oid, number as u16));
            if let Some(object) = self.objects.get_mut(&oid) {
                object.fragment(number).slot = Some(slot);
            }
        }
        if let Some(object) = self.objects.get_mut(&oid) {
            object.fragment(number).present[place] += appeared;
        }
    }

    /// The next checkpoint writes the index pages of an object.
    fn note_index(&mut self, oid: Oid) {
        let Some(object) = self.objects.get(&oid) else { return };
        let slots = object.fragments.iter().filter_map(|fragment| fragment.slot);
        self.dirty_index.extend(slots.map(|slot| slot / PAGE_SLOTS));
    }
}

fn object_pages(object: Option<&Object>) -> u32 {
    object.map_or(0, |object| (object.fragments.len() * crate::shape::FRAGMENT_PAGES) as u32)
}

/// The unstable change that a record makes known.
pub(crate) fn change_of(record: &Record) -> Option<Unstable> {
    use UnstableKind::{Hole, Reset, Write};
    let (oid, stamp, first_block, count, kind) = match record {
        Record::Write { oid, stamp, first_block, checksums, .. }
        | Record::Placed { oid, stamp, first_block, checksums, .. } => {
            (*oid, *stamp, *first_block, checksums.len() as u32, Write)
        }
        Record::Hole { oid, stamp, first_block, count, .. } => {
            (*oid, *stamp, *first_block, *count, Hole)
        }
        Record::Reset { oid, stamp, .. } => (*oid, *stamp, 0, 0, Reset),
        Record::Unstable(change) => return Some(*change),
        Record::View { .. }
        | Record::Watermark { .. }
        | Record::Settle { .. }
        | Record::Stable(_)
        | Record::Forget { .. }
        | Record::Undone(_)
        | Record::Drop { .. } => return None,
    };
    Some(Unstable { stamp, oid, first_block, kind, count })
}
