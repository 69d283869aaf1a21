//! Contents: everything that is committed, as memory knows it, and how a batch changes it.
//!
//! Why: the same function applies a batch when it has been committed and when it is replayed, so
//!      that both end in the same state.
//! Way: `apply` takes a batch; `view` is what is asked; `snapshot` keeps, while a checkpoint is
//!      being written, everything as it was when the checkpoint's segment began.
//! Holds:
//!   CT1 a block changes only to a newer stamp that is not older than the object's base (the
//!       planner saw to it: a record names only blocks that change);
//!   CT2 an object without blocks does not exist: its base is what its tombstone says;
//!   CT3 replaying the log from a checkpoint on the state of that checkpoint gives the state
//!       that was there: `apply` depends on nothing but state and record;
//!   CT4 what a change frees (units, slots) is used again only after a checkpoint that no
//!       longer refers to it.
//! Not here: the disk; what is planned but not committed (`store::pending`).

pub(crate) mod apply;
pub(crate) mod object;
pub(crate) mod overlay;
pub(crate) mod pages;
pub(crate) mod snapshot;
pub(crate) mod space;

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{Oid, Stamp};

use crate::error::Corruption;
use crate::format::meta_page::Entry;
use crate::request::{Block, BlockState, Listing, ObjectSummary};
use crate::shape::{PAGE_BLOCKS, unit_of};
use crate::tombstone::Tombstones;
use crate::unstable::UnstableList;
use object::Object;
use overlay::Overlay;
use pages::{PageKey, Pages};
use snapshot::Snapshot;
use space::{Slots, Units};

/// Everything that is committed.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) salt: u64,
    pub(crate) objects: BTreeMap<Oid, Object>,
    pub(crate) pages: Pages,
    pub(crate) overlay: Overlay,
    pub(crate) units: Units,
    pub(crate) slots: Slots,
    pub(crate) unstable: UnstableList,
    pub(crate) tombstones: Tombstones,
    /// Index pages that the next checkpoint must write.
    pub(crate) dirty_index: BTreeSet<u32>,
    /// Blocks in place whose space can go back: unit and block in it.
    pub(crate) punchable: BTreeSet<(u32, u32)>,
    /// What the running checkpoint has not written yet.
    pub(crate) snapshot: Option<Snapshot>,
    /// Objects of which metadata could not be read.
    pub(crate) rotten: BTreeMap<Oid, Corruption>,
}

impl Contents {
    pub(crate) fn new(salt: u64) -> Self {
        Self { salt, ..Self::default() }
    }

    /// Base of an object (CT2).
    pub(crate) fn base_of(&self, oid: Oid) -> Stamp {
        match self.objects.get(&oid) {
            Some(object) => object.base,
            None => self.tombstones.of(oid).base,
        }
    }

    /// What is known of a block; its page must be loaded.
    pub(crate) fn entry(&self, oid: Oid, block: u32) -> Entry {
        let key = PageKey { oid, page: block / PAGE_BLOCKS };
        self.pages.entries(key).map_or(Entry::ABSENT, |page| page[(block % PAGE_BLOCKS) as usize])
    }

    /// The unit in which a block is, or would be, in place.
    pub(crate) fn unit_for(&self, oid: Oid, block: u32) -> Option<u32> {
        let (fragment, unit) = unit_of(block);
        self.objects.get(&oid)?.fragments.get(fragment)?.unit(unit)
    }

    /// Whether a page of metadata is on the disk, and in which version and slot.
    pub(crate) fn stored_page(&self, key: PageKey) -> Option<(u32, u32)> {
        let (fragment, page) = crate::shape::place_of_page(key.page);
        let fragment = self.objects.get(&key.oid)?.fragments.get(fragment)?;
        let version = fragment.versions[page];
        let slot = fragment.slot?;
        (version != 0).then_some((slot, version))
    }

    /// Up to `limit` objects above `after`, in order, but at least one.
    pub(crate) fn list(&self, after: Option<Oid>, limit: usize) -> Listing {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut listing = Listing::default();
        let lower = after.map_or(Unbounded, Excluded);
        let above = self.objects.range((lower, Unbounded)).filter(|(_, object)| object.exists());
        let mut last = None;
        for (count, (oid, object)) in above.enumerate() {
            if count == limit.max(1) {
                listing.next = last;
                break;
            }
            match self.rotten.get(oid) {
                Some(why) => listing.rotten.push((*oid, why.clone())),
                None => listing.objects.push(ObjectSummary {
                    oid: *oid,
                    object_shift: object.shape.shift(),
                    base: object.base,
                    modified: object.modified,
                    blocks: object.present(),
                }),
            }
            last = Some(*oid);
        }
        listing
    }

    /// Bytes that wait to be put in place, and memory of metadata that a checkpoint frees.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        self.overlay.bytes() + self.pages.dirty_bytes()
    }
}

/// An entry as others see it: an absent block carries the object's base.
pub(crate) fn seen_from(entry: Entry, base: Stamp) -> Block {
    let stamp = if entry.state == BlockState::Absent { base } else { entry.stamp };
    Block { stamp, state: entry.state }
}
