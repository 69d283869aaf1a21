//! Objects: what is known of each block, from metadata pages and log together, and its bytes.

use std::collections::BTreeMap;

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{BLOCK_BYTES, Oid, Stamp, View, block_checksum};

use super::Inspection;
use super::changes::{Known, ObjectChanges, Spot, is_of};
use super::fault::{Fault, FaultKind, Place};
use super::index;
use crate::contents::object::Object;
use crate::format::meta_page;
use crate::format::page::copy_offset;
use crate::request::BlockState;
use crate::shape::{FRAGMENT_PAGES, PAGE_BLOCKS, Shape, UNIT_BLOCKS, place_of_page, unit_of};
use crate::store::files::{META_PATH, SLAB_UNITS, offset_in_slab, slab_path};

/// Blocks that are read together, at most.
const RUN_BLOCKS_MAX: usize = 256;

/// What is known of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectView {
    /// The object.
    pub oid: Oid,
    /// It has 2^shift bytes.
    pub object_shift: u8,
    /// Stamp of the last reset.
    pub base: Stamp,
    /// Newest view under which it was changed.
    pub modified: View,
    /// Blocks that are data or hole.
    pub blocks: Vec<BlockView>,
    /// Blocks of which nothing is known, because their metadata page is bad.
    pub unknown: Vec<u32>,
    /// Faults of its metadata pages.
    pub faults: Vec<Fault>,
}

/// What is known of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockView {
    /// Its number in the object.
    pub number: u32,
    /// Stamp of the change that made it so.
    pub stamp: Stamp,
    /// What it holds.
    pub state: BlockState,
    /// Where its bytes are; `None` for a hole.
    pub place: Option<Place>,
    /// Whether its newest content is only in the log.
    pub is_in_log: bool,
}

/// The bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectBytes {
    /// Everything that is known of the object.
    pub view: ObjectView,
    /// All bytes; zeros where nothing was written, and where it could not be read.
    pub bytes: Vec<u8>,
    /// Blocks that are zeros because they could not be read, or are unknown.
    pub lost: Vec<u32>,
    /// Why: the faults of its blocks and of its metadata pages.
    pub faults: Vec<Fault>,
}

impl ObjectView {
    /// Whether there is anything of the object.
    pub(super) fn exists(&self) -> bool {
        !self.blocks.is_empty() || !self.unknown.is_empty()
    }
}

/// Takes the bytes of a block that match its checksum, or why there are none.
type Take<'a> = dyn FnMut(u32, Result<&[u8], Fault>) + 'a;

/// Blocks of one object, put together.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) shape: Option<Shape>,
    pub(super) base: Stamp,
    pub(super) modified: View,
    pub(super) blocks: BTreeMap<u32, Known>,
    pub(super) unknown: Vec<u32>,
    pub(super) faults: Vec<Fault>,
}

impl Inspection {
    /// What is known of an object, without its bytes; `None` if nothing is.
    pub fn object(&mut self, oid: Oid) -> Option<ObjectView> {
        let merged = self.merge(oid)?;
        let view = self.view(oid, merged)?;
        view.exists().then_some(view)
    }

    pub(super) fn merge(&mut self, oid: Oid) -> Option<Merged> {
        let object = self.objects.get(&oid).cloned();
        let changes = self.changes.objects.remove(&oid);
        let merged = self.merge_parts(oid, object.as_ref(), changes.as_ref());
        if let Some(changes) = changes {
            self.changes.objects.insert(oid, changes);
        }
        merged
    }

    fn merge_parts(
        &mut self,
        oid: Oid,
        object: Option<&Object>,
        changes: Option<&ObjectChanges>,
    ) -> Option<Merged> {
        let mut merged = Merged::default();
        if let Some(object) = object {
            merged.shape = Some(object.shape);
            (merged.base, merged.modified) = (object.base, object.modified);
            for page in 0..(object.fragments.len() * FRAGMENT_PAGES) as u32 {
                self.load_page(oid, object, page, &mut merged);
            }
        }
        if let Some(changes) = changes {
            merged.shape = merged.shape.or(changes.shape);
            merged.base = merged.base.max(changes.reset);
            merged.modified = match changes.undone.is_empty() {
                true => merged.modified.max(changes.modified),
                false => changes.modified, // What the index says was before.
            };
            merged.blocks.retain(|_, known| known.stamp >= changes.reset);
            for change in &changes.undone {
                merged.blocks.retain(|block, known| !is_of(change, *block, known.stamp));
            }
            for (block, known) in &changes.blocks {
                let old = merged.blocks.get(block);
                if old.is_none_or(|old| old.stamp <= known.stamp) {
                    merged.blocks.insert(*block, known.clone());
                }
            }
            merged.unknown.retain(|block| !changes.blocks.contains_key(block));
        }
        merged.shape.is_some().then_some(merged)
    }

    /// Adds the blocks of a metadata page.
    fn load_page(&mut self, oid: Oid, object: &Object, page: u32, merged: &mut Merged) {
        let (number, place) = place_of_page(page);
        let fragment = &object.fragments[number];
        let (Some(slot), version) = (fragment.slot, fragment.versions[place]) else { return };
        if version == 0 {
            return;
        }
        let header = meta_page::header(oid, page, slot, version);
        let offsets = [0, 1].map(|copy| copy_offset(header.number, copy));
        let of_version = |version| meta_page::header(oid, page, slot, version);
        // Without a checkpoint the index may name what was never written: the newest then.
        let wanted = self.root.checkpoint.is_some().then_some(version);
        let from = (META_PATH, self.salt());
        let faults = &mut merged.faults;
        let (states, used) =
            index::choose(&mut self.shelf, from, offsets, wanted, of_version, faults);
        let mut errors = states.map(|state| state.err().unwrap_or(WireError::Short));
        let entries = used.and_then(|(copy, bytes)| {
            meta_page::decode(&bytes).map_err(|why| errors[copy] = why).ok()
        });
        let first = page * PAGE_BLOCKS;
        let Some(entries) = entries else {
            let [first_why, second_why] = errors;
            let kind = FaultKind::MetaPage { oid, page, first: first_why, second: second_why };
            merged.faults.push(Fault::new(META_PATH, offsets[0], kind));
            // A page that says of no block that it is there has nothing to lose.
            if fragment.present[place] > 0 {
                merged.unknown.extend(first..first + PAGE_BLOCKS);
            }
            return;
        };
        let (have, want) = (
            entries.iter().filter(|entry| !entry.is_absent()).count() as u32,
            u32::from(fragment.present[place]),
        );
        if have != want && wanted.is_some() {
            let kind = FaultKind::Count { oid, page, have, want };
            merged.faults.push(Fault::new(META_PATH, offsets[0], kind));
        }
        for (block, entry) in (first..).zip(entries) {
            let spot = match (entry.state, fragment.unit(unit_of(block).1)) {
                (BlockState::Absent, _) => continue,
                (BlockState::Data { .. }, Some(unit)) => Spot::Slab(unit, block % UNIT_BLOCKS),
                (BlockState::Data { .. } | BlockState::Hole, _) => Spot::Nowhere,
            };
            let known = Known { stamp: entry.stamp, state: entry.state, spot };
            merged.blocks.insert(block, known);
        }
    }

    fn view(&self, oid: Oid, merged: Merged) -> Option<ObjectView> {
        let object_shift = merged.shape?.shift();
        let blocks = merged.blocks.iter().map(|(number, known)| BlockView {
            number: *number,
            stamp: known.stamp,
            state: known.state,
            place: self.place(&known.spot),
            is_in_log: matches!(known.spot, Spot::Log(..)),
        });
        Some(ObjectView {
            oid,
            object_shift,
            base: merged.base,
            modified: merged.modified,
            blocks: blocks.collect(),
            unknown: merged.unknown,
            faults: merged.faults,
        })
    }

    /// File and byte of a block.
    pub(super) fn place(&self, spot: &Spot) -> Option<Place> {
        match spot {
            Spot::Log(file, offset) => Some(Place::new(&self.log.files[*file].path, *offset)),
            Spot::Slab(unit, block) => {
                Some(Place::new(&slab_path(unit / SLAB_UNITS), offset_in_slab(*unit, *block)))
            }
            Spot::Nowhere => None,
        }
    }

    /// All bytes of an object, as far as they can be read; `None` if nothing is known of it.
    pub fn read_object(&mut self, oid: Oid) -> Option<ObjectBytes> {
        let merged = self.merge(oid)?;
        let blocks = merged.blocks.clone();
        let view = self.view(oid, merged)?;
        if !view.exists() {
            return None;
        }
        let mut bytes = vec![0; 1 << view.object_shift];
        let mut lost = view.unknown.clone();
        let mut faults = view.faults.clone();
        self.check_blocks(oid, &blocks, &mut |block, checked| match checked {
            Ok(good) => {
                let start = block as usize * BLOCK_BYTES;
                if let Some(place) = bytes.get_mut(start..start + BLOCK_BYTES) {
                    place.copy_from_slice(good);
                }
            }
            Err(fault) => {
                lost.push(block);
                faults.push(fault);
            }
        });
        lost.sort_unstable();
        Some(ObjectBytes { view, bytes, lost, faults })
    }

    /// Reads all data blocks among these, and gives the bytes of each that match its checksum.
    pub(super) fn check_blocks(
        &mut self,
        oid: Oid,
        blocks: &BTreeMap<u32, Known>,
        take: &mut Take<'_>,
    ) {
        let mut run: Vec<(u32, u32)> = Vec::new();
        let mut start = None;
        for (block, known) in blocks {
            let BlockState::Data { checksum } = known.state else { continue };
            let Some(place) = self.place(&known.spot) else {
                let kind = FaultKind::NoPlace { oid, block: *block };
                take(*block, Err(Fault::new(META_PATH, self.page_offset(oid, *block), kind)));
                continue;
            };
            let is_next = start.as_ref().is_some_and(|start: &Place| {
                let end = start.offset + (run.len() * BLOCK_BYTES) as u64;
                start.file == place.file && end == place.offset && run.len() < RUN_BLOCKS_MAX
            });
            if !is_next {
                self.check_run(oid, start.as_ref(), &run, take);
                run.clear();
                start = Some(place);
            }
            run.push((*block, checksum));
        }
        self.check_run(oid, start.as_ref(), &run, take);
    }

    fn check_run(
        &mut self,
        oid: Oid,
        start: Option<&Place>,
        run: &[(u32, u32)],
        take: &mut Take<'_>,
    ) {
        let Some(start) = start else { return };
        let mut bytes = vec![0; run.len() * BLOCK_BYTES];
        let mut unreadable = BTreeMap::new();
        self.shelf.read_blocks(&start.file, start.offset, &mut bytes, &mut |fault| {
            unreadable.insert(fault.place.offset, fault);
        });
        let places = (start.offset..).step_by(BLOCK_BYTES);
        for (((block, checksum), bytes), offset) in
            run.iter().zip(bytes.chunks(BLOCK_BYTES)).zip(places)
        {
            if let Some(fault) = unreadable.remove(&offset) {
                take(*block, Err(fault));
            } else if block_checksum(oid, *block, bytes) == *checksum {
                take(*block, Ok(bytes));
            } else {
                let kind = FaultKind::Block { oid, block: *block };
                take(*block, Err(Fault::new(&start.file, offset, kind)));
            }
        }
    }

    /// Where the metadata page of a block begins.
    fn page_offset(&self, oid: Oid, block: u32) -> u64 {
        let page = block / PAGE_BLOCKS;
        let (number, _) = place_of_page(page);
        let object = self.objects.get(&oid);
        let slot = object.and_then(|object| object.fragments.get(number)?.slot);
        let header = meta_page::header(oid, page, slot.unwrap_or_default(), 0);
        copy_offset(header.number, 0)
    }
}
