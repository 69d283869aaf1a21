//! The unstable list: changes not known to be on every copy, by VDI.
//!
//! Why: when the writer of a VDI dies, its copies can differ only in these changes.
//! Way: filled by every applied change, emptied by watermarks and settlements; rebuilt from
//!      the log after a crash, copied into each segment from which replay may begin.
//! Holds:
//!   U1 a watermark covers its own generation only: older ones leave by `settle`.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{Generation, Oid, Stamp, Vid};

use crate::home::bucket_of;
use crate::request::Unstable;

/// The lists of all VDIs.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnstableList {
    changes: BTreeMap<Vid, Changes>,
    count: usize,
}

/// Changes of one VDI. One stamp can name several: the parts of a write that were applied.
type Changes = BTreeMap<Stamp, BTreeSet<Unstable>>;

impl UnstableList {
    pub(crate) fn insert(&mut self, change: Unstable) {
        let changes = self.changes.entry(change.oid.vid()).or_default();
        let is_new = changes.entry(change.stamp).or_default().insert(change);
        self.count += usize::from(is_new);
    }

    /// One change leaves.
    pub(crate) fn remove(&mut self, change: &Unstable) {
        let vid = change.oid.vid();
        let Some(changes) = self.changes.get_mut(&vid) else { return };
        let Some(parts) = changes.get_mut(&change.stamp) else { return };
        self.count -= usize::from(parts.remove(change));
        if parts.is_empty() {
            changes.remove(&change.stamp);
        }
        if changes.is_empty() {
            self.changes.remove(&vid);
        }
    }

    /// Changes to objects of a bucket leave.
    pub(crate) fn forget(&mut self, bucket: u8) {
        let gone: Vec<Unstable> = self.of_bucket(bucket).collect();
        for change in gone {
            self.remove(&change);
        }
    }

    /// Changes to objects of a bucket.
    pub(crate) fn of_bucket(&self, bucket: u8) -> impl Iterator<Item = Unstable> + '_ {
        self.iter().filter(move |change| bucket_of(change.oid) == bucket)
    }

    /// Changes of `stable`'s generation up to it leave (U1).
    pub(crate) fn watermark(&mut self, vid: Vid, stable: Stamp) {
        let Some(changes) = self.changes.get_mut(&vid) else {
            return;
        };
        let first = Stamp::new(stable.generation(), 0);
        let gone: Vec<Stamp> = changes.range(first..=stable).map(|(stamp, _)| *stamp).collect();
        for stamp in gone {
            self.count -= changes.remove(&stamp).map_or(0, |parts| parts.len());
        }
        if changes.is_empty() {
            self.changes.remove(&vid);
        }
    }

    /// Changes of generations below `below` to `oids` leave.
    pub(crate) fn settle(&mut self, vid: Vid, below: Generation, oids: &[Oid]) {
        let Some(changes) = self.changes.get_mut(&vid) else {
            return;
        };
        let oids: BTreeSet<Oid> = oids.iter().copied().collect();
        changes.retain(|stamp, parts| {
            if stamp.generation() >= below {
                return true;
            }
            let before = parts.len();
            parts.retain(|change| !oids.contains(&change.oid));
            self.count -= before - parts.len();
            !parts.is_empty()
        });
        if changes.is_empty() {
            self.changes.remove(&vid);
        }
    }

    /// The list of one VDI, in the order of stamps.
    pub(crate) fn of(&self, vid: Vid) -> Vec<Unstable> {
        self.changes.get(&vid).into_iter().flat_map(BTreeMap::values).flatten().copied().collect()
    }

    /// The list of one object, in the order of stamps.
    pub(crate) fn of_object(&self, oid: Oid) -> Vec<Unstable> {
        let changes = self.changes.get(&oid.vid()).into_iter().flat_map(BTreeMap::values);
        changes.flatten().filter(|change| change.oid == oid).copied().collect()
    }

    /// Changes to some objects leave.
    pub(crate) fn forget_objects(&mut self, oids: &[Oid]) {
        let gone: Vec<Unstable> = oids.iter().flat_map(|oid| self.of_object(*oid)).collect();
        for change in gone {
            self.remove(&change);
        }
    }

    /// Changes of all VDIs.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// Every change of every VDI.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Unstable> + '_ {
        self.changes.values().flat_map(BTreeMap::values).flatten().copied()
    }
}

#[cfg(test)]
#[path = "unstable/tests.rs"]
mod tests;
