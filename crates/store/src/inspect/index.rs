//! The index: its pages one by one, and the objects that they describe.
//!
//! Way: of a page that is bad in both copies single slots count all the same, if the metadata
//!      pages that they name are there in exactly these versions: each of those has a checksum
//!      that covers object, slot and version.

use std::collections::BTreeMap;

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{Oid, Stamp, View};

use super::fault::{Fault, FaultKind};
use super::look::Shelf;
use crate::contents::object::Object;
use crate::format::checkpoint::Checkpoint;
use crate::format::index_page::{self, PAGE_SLOTS, Slot};
use crate::format::meta_page;
use crate::format::page::{PAGE_BYTES, PageHeader, copy_offset, field};
use crate::shape::FRAGMENT_PAGES;
use crate::store::files::{INDEX_PATH, META_PATH};

/// One page of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPage {
    /// Its number.
    pub number: u32,
    /// The version that the checkpoint names; `None` if no checkpoint is whole.
    pub version: Option<u32>,
    /// Where its two copies begin in the file `index`.
    pub offsets: [u64; 2],
    /// What is wrong with each copy. That the copy that is not used is bad means nothing: it may
    /// be older, or a checkpoint may have died while writing it.
    pub copies: [Result<(), WireError>; 2],
    /// The copy that counts.
    pub used: Option<usize>,
    /// Slots in use; if no copy counts, those that their metadata pages prove to be right.
    pub slots: Vec<IndexSlot>,
}

/// One slot: 4 MiB of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSlot {
    /// Its number in the whole index.
    pub number: u32,
    /// The object.
    pub oid: Oid,
    /// The object has 2^shift bytes.
    pub object_shift: u8,
    /// Which 4 MiB of the object.
    pub fragment: u16,
    /// Stamp of the last reset.
    pub base: Stamp,
    /// No block has a newer stamp.
    pub newest: Stamp,
    /// Newest view under which the object was changed.
    pub modified: View,
    /// Units of the slabs: one for each 256 KiB.
    pub units: Vec<Option<u32>>,
    /// Versions of the metadata pages, one for each MiB; zero for none.
    pub versions: Vec<u32>,
    /// Blocks that are data or hole in each MiB.
    pub present: Vec<u16>,
}

impl IndexSlot {
    fn new(number: u32, slot: &Slot) -> Self {
        Self {
            number,
            oid: slot.oid,
            object_shift: slot.shape.shift(),
            fragment: slot.fragment,
            base: slot.base,
            newest: slot.newest,
            modified: slot.modified,
            units: slot.units.iter().map(|unit| unit.checked_sub(1)).collect(),
            versions: slot.versions.to_vec(),
            present: slot.present.to_vec(),
        }
    }
}

/// A page as it was found.
struct Found {
    page: IndexPage,
    slots: Vec<(u32, Slot)>,
}

/// Number and wanted version of each page; without a checkpoint all that the file has.
fn pages(
    shelf: &mut Shelf,
    checkpoint: Option<&Checkpoint>,
    faults: &mut Vec<Fault>,
) -> Vec<(u32, Option<u32>)> {
    if let Some(checkpoint) = checkpoint {
        let all = (0..).zip(&checkpoint.versions);
        return all.filter(|(_, v)| **v != 0).map(|(n, v)| (n, Some(*v))).collect();
    }
    match shelf.len(INDEX_PATH) {
        Ok(len) => (0..len.div_ceil(copy_offset(1, 0)) as u32).map(|n| (n, None)).collect(),
        Err(error) => {
            faults.push(Fault::of_disk(INDEX_PATH, 0, &error));
            Vec::new()
        }
    }
}

fn read_page(
    shelf: &mut Shelf,
    salt: u64,
    number: u32,
    version: Option<u32>,
    faults: &mut Vec<Fault>,
) -> Found {
    let offsets = [0, 1].map(|copy| copy_offset(u64::from(number), copy));
    let header = |version| index_page::header(number, version);
    let (states, used) = choose(shelf, (INDEX_PATH, salt), offsets, version, header, faults);
    let mut copies = states;
    let decoded = used.and_then(|(copy, bytes)| match index_page::decode(&bytes) {
        Ok(slots) => Some((copy, slots)),
        Err(why) => {
            copies[copy] = Err(why);
            None
        }
    });
    let used = decoded.as_ref().map(|(copy, _)| *copy);
    let slots = match decoded {
        Some((_, slots)) => slots,
        None => rescue(shelf, salt, number, offsets),
    };
    let is_blank = version.is_none() && copies.iter().all(|copy| *copy == Err(WireError::Short));
    if used.is_none() && !is_blank {
        let [first, second] = copies.map(|copy| copy.err().unwrap_or(WireError::Short));
        let rescued = slots.iter().flatten().count();
        let kind = FaultKind::IndexPage { page: number, first, second, rescued };
        faults.push(Fault::new(INDEX_PATH, offsets[0], kind));
    }
    let slots: Vec<(u32, Slot)> = (number * PAGE_SLOTS..)
        .zip(slots)
        .filter_map(|(number, slot)| slot.map(|slot| (number, slot)))
        .collect();
    let shown = slots.iter().map(|(number, slot)| IndexSlot::new(*number, slot)).collect();
    let page = IndexPage { number, version, offsets, copies, used, slots: shown };
    Found { page, slots }
}

/// The slots of a bad page that are right.
fn rescue(shelf: &mut Shelf, salt: u64, number: u32, offsets: [u64; 2]) -> Vec<Option<Slot>> {
    let mut copies = [[0; PAGE_BYTES]; 2];
    for (bytes, offset) in copies.iter_mut().zip(offsets) {
        if shelf.read(INDEX_PATH, offset, bytes).is_err() {
            bytes.fill(0);
        }
    }
    let mut right = |place: u32| {
        let found = copies.iter().filter_map(|copy| {
            let slot = index_page::decode_unverified(copy, place).ok().flatten()?;
            is_proved(shelf, salt, number * PAGE_SLOTS + place, &slot).then_some(slot)
        });
        found.max_by_key(|slot| slot.versions.iter().max().copied())
    };
    (0..PAGE_SLOTS).map(&mut right).collect()
}

/// Whether all metadata pages that a slot names are there.
fn is_proved(shelf: &mut Shelf, salt: u64, number: u32, slot: &Slot) -> bool {
    let first = u32::from(slot.fragment) * FRAGMENT_PAGES as u32;
    let mut named = (first..).zip(slot.versions).filter(|(_, version)| *version != 0).peekable();
    named.peek().is_some()
        && named.all(|(page, version)| {
            let header = |version| meta_page::header(slot.oid, page, number, version);
            let offsets = [0, 1].map(|copy| copy_offset(header(version).number, copy));
            let from = (META_PATH, salt);
            choose(shelf, from, offsets, Some(version), header, &mut Vec::new()).1.is_some()
        })
}

type Chosen = ([Result<(), WireError>; 2], Option<(usize, Box<[u8; PAGE_BYTES]>)>);

/// Reads both copies of a page, and chooses the one of the wanted version; where none is wanted,
/// the newest that is whole.
pub(super) fn choose(
    shelf: &mut Shelf,
    (path, salt): (&str, u64),
    offsets: [u64; 2],
    version: Option<u32>,
    header: impl Fn(u32) -> PageHeader,
    faults: &mut Vec<Fault>,
) -> Chosen {
    let mut states = [Err(WireError::Short); 2];
    let mut best: Option<(u32, usize, Box<[u8; PAGE_BYTES]>)> = None;
    for (copy, offset) in offsets.into_iter().enumerate() {
        let mut bytes = Box::new([0; PAGE_BYTES]);
        match shelf.read(path, offset, &mut bytes[..]) {
            Ok(_) => {}
            Err(error) => {
                faults.push(Fault::of_disk(path, offset, &error));
                continue;
            }
        }
        if bytes.iter().all(|byte| *byte == 0) {
            continue; // Never written.
        }
        let own: u32 = field::VERSION.get(&bytes[..]);
        states[copy] = header(version.unwrap_or(own)).verify(salt, &bytes);
        if states[copy].is_ok() && best.as_ref().is_none_or(|(newest, ..)| own > *newest) {
            best = Some((own, copy, bytes));
        }
    }
    (states, best.map(|(_, copy, bytes)| (copy, bytes)))
}

/// Shows every page.
pub(super) fn visit(
    shelf: &mut Shelf,
    salt: u64,
    checkpoint: Option<&Checkpoint>,
    visit: &mut dyn FnMut(IndexPage),
) {
    let mut faults = Vec::new(); // Known since the objects were loaded.
    for (number, version) in pages(shelf, checkpoint, &mut faults) {
        visit(read_page(shelf, salt, number, version, &mut faults).page);
    }
}

/// The objects of all whole pages.
pub(super) fn load(
    shelf: &mut Shelf,
    salt: u64,
    checkpoint: Option<&Checkpoint>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<Oid, Object> {
    let mut objects: BTreeMap<Oid, Object> = BTreeMap::new();
    for (number, version) in pages(shelf, checkpoint, faults) {
        let found = read_page(shelf, salt, number, version, faults);
        for (slot, known) in found.slots {
            let new = Object::new(known.shape, known.base, known.modified);
            let object = objects.entry(known.oid).or_insert(new);
            let there = object.fragments.get(usize::from(known.fragment));
            if there.is_some_and(|old| old.slot.is_some()) || object.shape != known.shape {
                let kind = FaultKind::Slot { slot, oid: known.oid };
                let copy = found.page.used.unwrap_or_default();
                faults.push(Fault::new(INDEX_PATH, slot_offset(slot, copy), kind));
                continue;
            }
            object.take_slot(slot, &known);
        }
    }
    objects
}

/// Where a slot stands in a copy of its page.
fn slot_offset(slot: u32, copy: usize) -> u64 {
    let place = (slot % PAGE_SLOTS) as usize * index_page::SLOT_BYTES;
    let page = copy_offset(u64::from(slot / PAGE_SLOTS), copy as u8);
    page + (crate::format::page::HEADER_BYTES + place) as u64
}
