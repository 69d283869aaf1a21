//! Snapshots for checkpoints: the state at one moment, written while changes go on.
//!
//! Why: a checkpoint is exactly the state before its segment (CT3), though it takes a while.
//! Way: `begin_snapshot` marks what must be written; whatever changes first is encoded first;
//!      the checkpoint takes images (`next_image`) until none is left.
//! Holds:
//!   SN1 an image never contains a change of the snapshot's segment or a later one;
//!   SN2 units for everything in the overlay are chosen when the snapshot begins, so that the
//!       images say where the checkpoint will put the blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sheepdog_proto::{Oid, Stamp};

use super::Contents;
use super::pages::{PageKey, State};
use crate::format::page::{PAGE_BYTES, PageHeader};
use crate::format::{index_page, meta_page};
use crate::shape::{UNIT_BLOCKS, place_of_page, unit_of};

/// What has to be written.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Everything before this segment is in it.
    pub(crate) segment: u32,
    meta: BTreeSet<PageKey>,
    index: BTreeSet<u32>,
    /// Which of its two copies each index page is written to.
    index_copies: BTreeMap<u32, u8>,
    images: VecDeque<Image>,
}

/// A page as it is written.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) place: Place,
    pub(crate) number: u64,
    pub(crate) copy: u8,
    pub(crate) bytes: Box<[u8; PAGE_BYTES]>,
}

/// Into which file a page goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The metadata file; the page is kept in memory until it is written.
    Meta(PageKey),
    Index,
}

/// A block of the overlay that has to be put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Placing {
    pub(crate) unit: u32,
    /// Its place in the unit.
    pub(crate) place: u32,
    pub(crate) oid: Oid,
    pub(crate) block: u32,
    pub(crate) stamp: Stamp,
}

impl Contents {
    /// Begins a snapshot of everything as it is now. Returns what has to be put in place, in
    /// the order of places; `copies` says for each index page which copy is valid, and learns
    /// which will be; `planned` knows units that what is planned will use.
    pub(crate) fn begin_snapshot(
        &mut self,
        segment: u32,
        copies: &mut Vec<u8>,
        planned: impl Fn(Oid, u32) -> Option<u32>,
    ) -> Vec<Placing> {
        let placings = self.choose_units(planned);
        let mut meta = BTreeSet::new();
        for key in self.pages.dirty() {
            let (fragment, page) = place_of_page(key.page);
            let Some(object) = self.objects.get_mut(&key.oid) else { continue };
            let fragment = object.fragment(fragment);
            // A fragment without slot has no blocks, and its pages say nothing.
            let Some(slot) = fragment.slot else { continue };
            fragment.versions[page] = segment;
            self.dirty_index.insert(slot / index_page::PAGE_SLOTS);
            meta.insert(key);
        }
        self.pages.begin_checkpoint(&meta);
        let index = std::mem::take(&mut self.dirty_index);
        let pages = self.slots.len().div_ceil(index_page::PAGE_SLOTS);
        copies.resize(copies.len().max(pages as usize), 1);
        let mut index_copies = BTreeMap::new();
        for number in &index {
            let copy = 1 - copies[*number as usize];
            copies[*number as usize] = copy;
            index_copies.insert(*number, copy);
        }
        let images = VecDeque::new();
        self.snapshot = Some(Snapshot { segment, meta, index, index_copies, images });
        placings
    }

    /// SN2. Where a part of the unit is planned to be in a unit already, the rest goes there.
    fn choose_units(&mut self, planned: impl Fn(Oid, u32) -> Option<u32>) -> Vec<Placing> {
        let mut placings = Vec::new();
        for (oid, block, stamp) in self.overlay.iter() {
            let (number, unit) = unit_of(block);
            let Some(object) = self.objects.get_mut(&oid) else { continue };
            let fragment = object.fragment(number);
            let chosen = match fragment.unit(unit) {
                Some(chosen) => chosen,
                None => {
                    let chosen = planned(oid, block).unwrap_or_else(|| self.units.take().0);
                    fragment.set_unit(unit, Some(chosen));
                    self.dirty_index
                        .extend(fragment.slot.map(|slot| slot / index_page::PAGE_SLOTS));
                    chosen
                }
            };
            placings.push(Placing { unit: chosen, place: block % UNIT_BLOCKS, oid, block, stamp });
        }
        placings.sort_unstable();
        placings
    }

    /// Index pages that the snapshot writes.
    pub(crate) fn snapshot_index(&self) -> impl Iterator<Item = u32> + '_ {
        self.snapshot.iter().flat_map(|snapshot| snapshot.index_copies.keys().copied())
    }

    /// The next page to write; `None` when all were taken.
    pub(crate) fn next_image(&mut self) -> Option<Image> {
        let snapshot = self.snapshot.as_mut()?;
        if let Some(image) = snapshot.images.pop_front() {
            return Some(image);
        }
        if let Some(key) = snapshot.meta.first().copied() {
            self.save_page(key);
        } else if let Some(number) = snapshot.index.first().copied() {
            self.save_index_page(number);
        }
        self.snapshot.as_mut()?.images.pop_front()
    }

    /// A page is about to change: the snapshot gets it as it is (PA2).
    pub(crate) fn save_page(&mut self, key: PageKey) {
        let Some(snapshot) = &mut self.snapshot else { return };
        if !snapshot.meta.remove(&key) {
            return;
        }
        let (number, _) = place_of_page(key.page);
        let object = self.objects.get(&key.oid);
        let slot = object.and_then(|object| object.fragments.get(number)?.slot);
        let (Some(page), Some(slot)) = (self.pages.get_mut(key), slot) else { return };
        page.is_due = false;
        let State::Ready(entries) = &page.state else { return };
        let header: PageHeader = meta_page::header(key.oid, key.page, slot, snapshot.segment);
        let bytes = Box::new(meta_page::encode(&header, self.salt, entries));
        let copy = page.copy;
        snapshot.images.push_back(Image {
            place: Place::Meta(key),
            number: header.number,
            copy,
            bytes,
        });
        self.pages.retain(key);
    }

    /// An object is about to change: the snapshot gets its index pages as they are.
    pub(crate) fn save_object(&mut self, oid: Oid) {
        if self.snapshot.as_ref().is_none_or(|snapshot| snapshot.index.is_empty()) {
            return;
        }
        let Some(object) = self.objects.get(&oid) else { return };
        let slots = object.fragments.iter().filter_map(|fragment| fragment.slot);
        let pages: Vec<u32> = slots.map(|slot| slot / index_page::PAGE_SLOTS).collect();
        for number in pages {
            self.save_index_page(number);
        }
    }

    /// A slot of an index page is about to change: the snapshot gets the page as it is.
    pub(crate) fn save_index_page(&mut self, number: u32) {
        let Some(snapshot) = &mut self.snapshot else { return };
        if !snapshot.index.remove(&number) {
            return;
        }
        let first = number * index_page::PAGE_SLOTS;
        let slots: Vec<_> = (first..first + index_page::PAGE_SLOTS)
            .map(|slot| {
                let (oid, fragment) = self.slots.owner(slot)?;
                self.objects.get(&oid)?.slot(oid, fragment)
            })
            .collect();
        let header = index_page::header(number, snapshot.segment);
        let bytes = Box::new(index_page::encode(&header, self.salt, &slots));
        let copy = snapshot.index_copies.get(&number).copied().unwrap_or_default();
        let (place, number) = (Place::Index, u64::from(number));
        snapshot.images.push_back(Image { place, number, copy, bytes });
    }
}
