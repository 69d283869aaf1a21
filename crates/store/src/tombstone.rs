//! Tombstones: the bases of objects that were reset.
//!
//! Why: an object of which nothing is left has no file that could carry its base, and a late
//!      write that is older than the reset must not bring it back.
//! Holds:
//!   TS1 a tombstone stays as long as its reset is unstable, and as long as its record is in
//!       the log: so replay finds the base that was in force, whatever it finds in files;
//!   TS2 an object that is made anew begins with its tombstone's base and view.

use std::collections::BTreeMap;

use sheepdog_proto::{Oid, Stamp, View};

use crate::home::bucket_of;
use crate::request::{Unstable, UnstableKind};

/// What is remembered of a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) base: Stamp,
    pub(crate) modified: View,
}

/// Tombstones by object, of objects that exist, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    resets: BTreeMap<Oid, Tombstone>,
}

impl Tombstones {
    /// Remembers a reset.
    pub(crate) fn insert(&mut self, oid: Oid, base: Stamp, modified: View) {
        let tombstone = self.resets.entry(oid).or_default();
        tombstone.base = tombstone.base.max(base);
        tombstone.modified = tombstone.modified.max(modified);
    }

    /// The newest reset of an object; zeros if none is remembered.
    pub(crate) fn of(&self, oid: Oid) -> Tombstone {
        self.resets.get(&oid).copied().unwrap_or_default()
    }

    /// Forgets the resets of a bucket's objects.
    pub(crate) fn forget(&mut self, bucket: u8) {
        self.resets.retain(|oid, _| bucket_of(*oid) != bucket);
    }

    /// Forgets under which view an object was changed: it lacks something since.
    pub(crate) fn forget_view(&mut self, oid: Oid) {
        if let Some(tombstone) = self.resets.get_mut(&oid) {
            tombstone.modified = View(0);
        }
    }

    /// Forgets the resets of an object.
    pub(crate) fn remove(&mut self, oid: Oid) {
        self.resets.remove(&oid);
    }

    /// Keeps what the log's new segment says: the unstable resets (TS1).
    pub(crate) fn begin_segment(&mut self, unstable: impl Iterator<Item = Unstable>) {
        self.resets.clear();
        for change in unstable.filter(|change| change.kind == UnstableKind::Reset) {
            self.insert(change.oid, change.stamp, View(0));
        }
    }
}

#[cfg(test)]
#[path = "tombstone/tests.rs"]
mod tests;
