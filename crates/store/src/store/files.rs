//! Files of a store: where the bytes of a unit, a page, a checkpoint are.

use crate::disk::FileId;
use crate::disk::guarded::GuardedDisk;
use crate::error::StoreError;
use crate::shape::{UNIT_BLOCKS, UNIT_BYTES};
use sheepdog_proto::BLOCK_BYTES;

/// Directory of the slabs.
pub(crate) const DATA_DIR: &str = "data";
/// Metadata pages.
pub(crate) const META_PATH: &str = "meta";
/// Index pages.
pub(crate) const INDEX_PATH: &str = "index";
/// The two checkpoints.
pub(crate) const CHECKPOINT_PATHS: [&str; 2] = ["checkpoint.a", "checkpoint.b"];
/// The store's superblock.
pub(crate) const SUPER_PATH: &str = "super";
/// Units of a slab: 64 GiB.
pub(crate) const SLAB_UNITS: u32 = 1 << 18;

/// Open files.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) slabs: Vec<FileId>,
    pub(crate) meta: FileId,
    pub(crate) index: FileId,
    pub(crate) checkpoints: [FileId; 2],
}

/// Name of a slab.
pub(crate) fn slab_path(number: u32) -> String {
    format!("{DATA_DIR}/{number:04}")
}

impl Files {
    /// File and byte of a block of a unit. A slab that is missing is made; its name is durable
    /// on return.
    pub(crate) fn place(
        &mut self,
        disk: &mut GuardedDisk,
        unit: u32,
        block: u32,
    ) -> Result<(FileId, u64), StoreError> {
        let slab = unit / SLAB_UNITS;
        while self.slabs.len() <= slab as usize {
            let file = disk.create(&slab_path(self.slabs.len() as u32))?;
            disk.sync_dir(DATA_DIR)?;
            self.slabs.push(file);
        }
        Ok((self.slabs[slab as usize], offset_in_slab(unit, block)))
    }
}

/// Byte of a block of a unit in its slab.
pub(crate) const fn offset_in_slab(unit: u32, block: u32) -> u64 {
    (unit % SLAB_UNITS) as u64 * UNIT_BYTES + (block % UNIT_BLOCKS) as u64 * BLOCK_BYTES as u64
}
