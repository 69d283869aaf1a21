//! Objects in memory: about 170 bytes for one of 4 MiB; what the index has of them.

use sheepdog_proto::{Oid, Stamp, View};

use crate::format::index_page::Slot;
use crate::shape::{FRAGMENT_PAGES, FRAGMENT_UNITS, Shape};

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) shape: Shape,
    /// Stamp of the last reset.
    pub(crate) base: Stamp,
    /// No block has a newer stamp.
    pub(crate) newest: Stamp,
    /// Newest view under which it was changed, or under which a duplicate arrived.
    pub(crate) modified: View,
    /// Up to the last one that has blocks.
    pub(crate) fragments: Vec<Fragment>,
}

/// 4 MiB of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Its place in the index and in the metadata file; none before it has blocks.
    pub(crate) slot: Option<u32>,
    /// Each plus one; zero for none.
    pub(crate) units: [u32; FRAGMENT_UNITS],
    /// Versions of the metadata pages on the disk; zero for none.
    pub(crate) versions: [u32; FRAGMENT_PAGES],
    /// Blocks of each page that are data or hole.
    pub(crate) present: [u16; FRAGMENT_PAGES],
}

impl Object {
    pub(crate) fn new(shape: Shape, base: Stamp, modified: View) -> Self {
        Self { shape, base, newest: Stamp::NONE, modified, fragments: Vec::new() }
    }

    /// Whether it has a block (CT2).
    pub(crate) fn exists(&self) -> bool {
        self.fragments.iter().any(Fragment::exists)
    }

    /// Blocks that are data or hole.
    pub(crate) fn present(&self) -> u32 {
        self.fragments.iter().flat_map(|fragment| fragment.present).map(u32::from).sum()
    }

    /// A fragment, made if need be.
    pub(crate) fn fragment(&mut self, number: usize) -> &mut Fragment {
        if self.fragments.len() <= number {
            // Exactly: most objects have one, and a vector that grows begins with room for four.
            self.fragments.reserve_exact(number + 1 - self.fragments.len());
            self.fragments.resize_with(number + 1, Fragment::default);
        }
        &mut self.fragments[number]
    }

    /// What the index says of one fragment.
    pub(crate) fn slot(&self, oid: Oid, number: u16) -> Option<Slot> {
        let fragment = self.fragments.get(usize::from(number))?;
        fragment.exists().then_some(Slot {
            oid,
            shape: self.shape,
            base: self.base,
            newest: self.newest,
            modified: self.modified,
            fragment: number,
            units: fragment.units,
            versions: fragment.versions,
            present: fragment.present,
        })
    }

    /// Takes over what the index says of one fragment.
    pub(crate) fn take_slot(&mut self, number: u32, slot: &Slot) {
        self.base = self.base.max(slot.base);
        self.newest = self.newest.max(slot.newest);
        self.modified = self.modified.max(slot.modified);
        *self.fragment(usize::from(slot.fragment)) = Fragment {
            slot: Some(number),
            units: slot.units,
            versions: slot.versions,
            present: slot.present,
        };
    }
}

impl Fragment {
    pub(crate) fn exists(&self) -> bool {
        self.present.iter().any(|count| *count > 0)
    }

    pub(crate) fn unit(&self, number: usize) -> Option<u32> {
        self.units[number].checked_sub(1)
    }

    pub(crate) fn set_unit(&mut self, number: usize, unit: Option<u32>) {
        self.units[number] = unit.map_or(0, |unit| unit + 1);
    }

    pub(crate) fn used_units(&self) -> impl Iterator<Item = u32> + '_ {
        self.units.iter().filter_map(|unit| unit.checked_sub(1))
    }
}
