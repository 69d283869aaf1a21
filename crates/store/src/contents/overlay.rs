//! The overlay: committed blocks that are not in place yet.
//!
//! Holds: OV1 a block that is here is newer than what is in place, and is in the log, too.

use std::collections::BTreeMap;

use sheepdog_proto::{BLOCK_BYTES, Oid, Payload, Stamp};

/// Bytes of a block, and which change they are.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    pub(crate) stamp: Stamp,
    pub(crate) bytes: Payload,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    blocks: BTreeMap<(Oid, u32), Recent>,
}

impl Overlay {
    pub(crate) fn get(&self, oid: Oid, block: u32) -> Option<&Recent> {
        self.blocks.get(&(oid, block))
    }

    pub(crate) fn insert(&mut self, oid: Oid, block: u32, recent: Recent) {
        self.blocks.insert((oid, block), recent);
    }

    pub(crate) fn remove(&mut self, oid: Oid, block: u32) {
        self.blocks.remove(&(oid, block));
    }

    /// Forgets a block that is in place now, unless a newer change came meanwhile.
    pub(crate) fn settle(&mut self, oid: Oid, block: u32, stamp: Stamp) {
        if self.get(oid, block).is_some_and(|recent| recent.stamp == stamp) {
            self.remove(oid, block);
        }
    }

    pub(crate) fn remove_object(&mut self, oid: Oid) {
        let gone: Vec<u32> = self.blocks_of(oid).collect();
        for block in gone {
            self.remove(oid, block);
        }
    }

    /// Numbers of an object's blocks that are here.
    pub(crate) fn blocks_of(&self, oid: Oid) -> impl Iterator<Item = u32> + '_ {
        self.blocks.range((oid, 0)..=(oid, u32::MAX)).map(|((_, block), _)| *block)
    }

    /// Object, block and stamp of everything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Oid, u32, Stamp)> + '_ {
        self.blocks.iter().map(|((oid, block), recent)| (*oid, *block, recent.stamp))
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.blocks.len() * BLOCK_BYTES) as u64
    }
}
