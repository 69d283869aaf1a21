//! Rot: a bit that changes on a disk by itself.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sheepdog_client::admin::types::Vdi;
use sheepdog_proto::Oid;

use crate::sheep::Sheep;

/// Bytes before the first block of an object of 2^shift bytes: header, then its pages.
const fn blocks_start(shift: u8) -> u64 {
    let pages = (1_u64 << shift) / 4096 / 32;
    (4096 + 512 * pages).next_multiple_of(4096)
}

/// The file in which a sheep keeps its copy of a data object, if it has one.
///
/// # Errors
/// If its directories cannot be read.
pub fn object_file(sheep: &Sheep, vdi: &Vdi, index: u32) -> Result<Option<PathBuf>> {
    let name = Oid::data(vdi.vid.0, index).to_string();
    let stores = sheep.directory().join("store");
    for store in folders(&stores)? {
        for partition in folders(&store.join("obj"))? {
            let path = partition.join(&name);
            if path.is_file() {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// Changes one bit of byte `offset` of the object's data in a sheep's own copy.
///
/// # Errors
/// If the sheep has no copy.
pub fn flip(sheep: &Sheep, vdi: &Vdi, index: u32, offset: u64) -> Result<()> {
    let path = object_file(sheep, vdi, index)?;
    let path = path.with_context(|| format!("sheep {} has no object {index}", sheep.index))?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let at = blocks_start(vdi.object_shift) + offset;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).with_context(|| path.display().to_string())?;
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at)?;
    Ok(())
}

fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|e| e.path())).collect();
    Ok(paths?.into_iter().filter(|path| path.is_dir()).collect())
}
