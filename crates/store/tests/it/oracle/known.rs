//! What is known of a history: what each block may be after a crash.
//!
//! Holds:
//!   OR1 a block is as a change that was issued made it, one that is not older than its floor:
//!       the newest that was acknowledged or seen;
//!   OR2 what changed something and was not called stable is in the unstable list.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{BLOCK_BYTES, Generation, Oid, Stamp, Vid};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{Block, BlockState, Reply, Request, Store, UnstableKind};

use super::objects;
use crate::history::vid;

/// One change that was issued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) oid: Oid,
    pub(super) stamp: Stamp,
    pub(super) first_block: u32,
    pub(super) count: u32,
    pub(super) kind: UnstableKind,
}

impl Change {
    fn covers(&self, oid: Oid, block: u32) -> bool {
        let within = self.first_block <= block && block < self.first_block + self.count;
        self.oid == oid && (self.kind == UnstableKind::Reset || within)
    }

    fn blocks(&self) -> std::ops::Range<u32> {
        self.first_block..self.first_block + self.count
    }
}

/// One object.
#[derive(Clone, Debug, Default)]
struct Object {
    /// Floor of each block that a change names (OR1).
    floors: BTreeMap<u32, Stamp>,
    /// Newest acknowledged reset.
    base: Stamp,
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) issued: BTreeMap<Stamp, Change>,
    pub(super) acknowledged: BTreeSet<Stamp>,
    objects: BTreeMap<Oid, Object>,
    /// Must be in the unstable list (OR2).
    pub(super) unstable: BTreeSet<Stamp>,
    /// Must not be there as long as the store runs.
    pub(super) stable: BTreeSet<Stamp>,
}

const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// The word that fills a block, but for the first byte of each sector.
fn word_of(stamp: Stamp, block: u32) -> u64 {
    Dice::new(stamp.get().wrapping_mul(0x1_0001) ^ u64::from(block)).roll()
}

pub(super) fn bytes_of(stamp: Stamp, block: u32) -> Vec<u8> {
    let mut bytes = word_of(stamp, block).to_le_bytes().repeat(BLOCK_BYTES / 8);
    for (number, sector) in bytes.chunks_mut(512).enumerate() {
        sector[0] = number as u8; // No torn block looks whole.
    }
    bytes
}

fn has_bytes_of(bytes: &[u8], stamp: Stamp, block: u32) -> bool {
    let word = word_of(stamp, block);
    let (sectors, _) = bytes.as_chunks::<512>();
    (0_u64..).zip(sectors).all(|(number, sector)| {
        let (words, _) = sector.as_chunks::<8>();
        let first = u64::from_le_bytes(words[0]) ^ (word & !0xff | number);
        // Without a branch for each word.
        words[1..].iter().fold(first, |sum, have| sum | (u64::from_le_bytes(*have) ^ word)) == 0
    })
}

impl Known {
    pub(super) fn issue(&mut self, change: Change) {
        self.issued.insert(change.stamp, change);
        let object = self.objects.entry(change.oid).or_default();
        for block in change.blocks() {
            object.floors.entry(block).or_default();
        }
    }

    /// A change is durable.
    pub(super) fn acknowledge(&mut self, stamp: Stamp, blocks: u32) {
        let change = self.issued[&stamp];
        self.acknowledged.insert(stamp);
        let has_effect = blocks > 0;
        if has_effect && !self.stable.contains(&stamp) {
            self.unstable.insert(stamp);
        }
        let object = self.objects.entry(change.oid).or_default();
        if change.kind == UnstableKind::Reset {
            object.base = object.base.max(stamp);
        }
        for block in change.blocks() {
            let floor = object.floors.entry(block).or_default();
            *floor = (*floor).max(stamp);
        }
    }

    /// A reader has seen a block so.
    pub(super) fn see(&mut self, oid: Oid, block: u32, stamp: Stamp) {
        let object = self.objects.entry(oid).or_default();
        let floor = object.floors.entry(block).or_default();
        *floor = (*floor).max(stamp);
    }

    /// Changes up to this one are everywhere.
    pub(super) fn stable(&self, of: Vid) -> Option<Stamp> {
        let mut own = self.issued.values().filter(|change| change.oid.vid() == of);
        let first = own.find(|change| !self.acknowledged.contains(&change.stamp));
        let before = self.acknowledged.iter().rev().find(|stamp| {
            first.is_none_or(|first| **stamp < first.stamp) && self.issued[stamp].oid.vid() == of
        });
        before.copied()
    }

    pub(super) fn watermark(&mut self, of: Vid, stable: Stamp) {
        self.leave_list(|change| {
            change.oid.vid() == of
                && change.stamp.generation() == stable.generation()
                && change.stamp <= stable
        });
    }

    pub(super) fn settle(&mut self, of: Vid, below: Generation, oids: &[Oid]) {
        self.leave_list(|change| {
            change.oid.vid() == of
                && change.stamp.generation() < below
                && oids.contains(&change.oid)
        });
    }

    fn leave_list(&mut self, leaves: impl Fn(&Change) -> bool) {
        for change in self.issued.values().filter(|change| leaves(change)) {
            self.unstable.remove(&change.stamp);
            self.stable.insert(change.stamp);
        }
    }

    /// The oldest that a block may be.
    pub(super) fn floor(&self, oid: Oid, block: u32) -> Stamp {
        let Some(object) = self.objects.get(&oid) else { return Stamp::NONE };
        object.floors.get(&block).copied().unwrap_or_default().max(object.base)
    }

    /// The newest change of a block that a generation issued.
    pub(super) fn newest(&self, oid: Oid, block: u32, generation: u32) -> Stamp {
        let own = self.issued.range(Stamp::new(Generation(generation), 0)..);
        let mut newer = own.rev().map(|(_, change)| change);
        newer.find(|change| change.covers(oid, block)).map_or(Stamp::NONE, |change| change.stamp)
    }

    /// What is wrong with a block, if anything is (OR1).
    fn fault(
        &self,
        floor: Stamp,
        oid: Oid,
        number: u32,
        block: Block,
        bytes: Option<&[u8]>,
    ) -> Option<String> {
        let made_by = self.issued.get(&block.stamp).filter(|change| change.covers(oid, number));
        let is_right = match (block.state, made_by.map(|change| change.kind)) {
            (BlockState::Data { .. }, Some(UnstableKind::Write)) => block.stamp >= floor,
            (BlockState::Hole, Some(UnstableKind::Hole)) => block.stamp >= floor,
            // An absent block carries the stamp of the reset that emptied it; when that one is
            // stable and forgotten, of an older one, or none.
            (BlockState::Absent, Some(UnstableKind::Reset)) => {
                block.stamp >= floor || self.is_forgotten(oid, floor)
            }
            (BlockState::Absent, None) => {
                let forgotten = floor == Stamp::NONE || self.is_forgotten(oid, floor);
                block.stamp == Stamp::NONE && forgotten
            }
            _ => false,
        };
        let has_bytes = bytes.is_none_or(|bytes| match block.state {
            BlockState::Data { .. } => has_bytes_of(bytes, block.stamp, number),
            BlockState::Hole | BlockState::Absent => bytes == ZEROS,
        });
        (!is_right || !has_bytes).then(|| {
            let bytes = if has_bytes { "" } else { " with other bytes" };
            let wanted = self.issued.get(&floor);
            format!("block {number} of {oid} is {block:?} by {made_by:?}{bytes}, not {wanted:?}")
        })
    }

    /// Whether a reset that is not older than this and stable may have taken everything.
    fn is_forgotten(&self, oid: Oid, floor: Stamp) -> bool {
        self.stable.range(floor..).any(|stamp| {
            let change = &self.issued[stamp];
            change.oid == oid && change.kind == UnstableKind::Reset
        })
    }

    /// Compares some blocks with what they may be.
    pub(super) fn check_blocks(
        &self,
        oid: Oid,
        first: u32,
        floor: impl Fn(u32) -> Stamp,
        (blocks, data): (&[Block], Option<&[u8]>),
    ) {
        for (place, block) in blocks.iter().enumerate() {
            let number = first + place as u32;
            let bytes = data.map(|data| &data[place * BLOCK_BYTES..(place + 1) * BLOCK_BYTES]);
            if let Some(fault) = self.fault(floor(number), oid, number, *block, bytes) {
                panic!("{fault}");
            }
        }
    }

    /// Everything in a store that was opened after a crash.
    pub(super) fn check(&self, store: &mut Store) {
        let mut present = BTreeMap::new();
        for (oid, shift) in objects() {
            let mut count = 0;
            for (first_block, blocks) in self.runs(oid, 1 << (shift - 12)) {
                let read = Request::Read { oid, first_block, count: blocks };
                let Reply::Read(reply) = ask(store, read) else { panic!("no read") };
                let floor = |block| self.floor(oid, block);
                self.check_blocks(oid, first_block, floor, (&reply.blocks, Some(&reply.data)));
                let is_present = |block: &&Block| block.state != BlockState::Absent;
                count += reply.blocks.iter().filter(is_present).count() as u32;
            }
            if count > 0 {
                present.insert(oid, count);
            }
        }
        // Nothing else is anywhere.
        let Reply::List(list) = ask(store, Request::List { after: None, limit: 9 }) else {
            panic!("no list");
        };
        let listed: BTreeMap<Oid, u32> =
            list.objects.iter().map(|object| (object.oid, object.blocks)).collect();
        assert_eq!(listed, present, "{:?}", list.rotten);
        let listed = list_unstable(store);
        if let Some(missing) = self.unstable.iter().find(|stamp| !listed.contains_key(stamp)) {
            panic!("{missing} is not in the unstable list"); // OR2
        }
    }

    /// Blocks that changes named, in runs; small gaps between them are read, too.
    fn runs(&self, oid: Oid, end: u32) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let Some(object) = self.objects.get(&oid) else { return runs };
        for block in object.floors.keys().filter(|block| **block < end) {
            match runs.last_mut() {
                Some((first, count)) if *first + *count + 8 >= *block => {
                    *count = block + 1 - *first
                }
                _ => runs.push((*block, 1)),
            }
        }
        runs
    }

    /// What was not acknowledged is decided now, after a crash: what is in the list stays, the
    /// rest never was.
    pub(super) fn decide(&mut self, listed: &BTreeMap<Stamp, u32>) {
        let (acknowledged, stable) = (&self.acknowledged, &self.stable);
        let is_known = |stamp: &Stamp| acknowledged.contains(stamp) || stable.contains(stamp);
        self.issued.retain(|stamp, _| is_known(stamp) || listed.contains_key(stamp));
        self.unstable.extend(listed.keys().filter(|stamp| !self.stable.contains(stamp)));
        self.stable.retain(|stamp| !listed.contains_key(stamp));
    }
}

/// Stamps in the unstable lists, and how many blocks each has there.
pub(super) fn list_unstable(store: &mut Store) -> BTreeMap<Stamp, u32> {
    let mut listed = BTreeMap::new();
    for vid in [vid(1), vid(2)] {
        let Reply::Unstable(list) = ask(store, Request::Unstable { vid }) else {
            panic!("no list");
        };
        for part in list {
            *listed.entry(part.stamp).or_default() += part.count;
        }
    }
    listed
}

/// One request alone.
pub(super) fn ask(store: &mut Store, request: Request) -> Reply {
    let mut replies = store.execute(vec![request.clone()]);
    replies.remove(0).unwrap_or_else(|error| panic!("{request:?}: {error}"))
}
