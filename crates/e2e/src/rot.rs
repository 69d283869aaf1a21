//! Rot: a bit that changes on a disk by itself.
//!
//! Way: the inspection of a sheep's directory says in which file and where a block lies.
//! Not here: blocks that are in the log only; a running sheep has them in memory.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::types::Vdi;
use sheepdog_proto::{BLOCK_BYTES, Oid};
use sheepdog_store::inspect::{HomeInspection, Inspection};

use crate::sheep::Sheep;

/// File and byte of a block of a data object in a sheep's own copy.
fn place(sheep: &Sheep, vdi: &Vdi, index: u32, block: u32) -> Result<(PathBuf, u64)> {
    let oid = Oid::data(vdi.vid.0, index);
    let home = HomeInspection::open(&sheep.directory(), true)?;
    for store in &home.stores {
        let Some(object) = Inspection::open(&store.path).object(oid) else { continue };
        let found = object.blocks.iter().find(|found| found.number == block);
        let found = found.with_context(|| format!("object {oid} has no block {block}"))?;
        ensure!(!found.is_in_log, "block {block} of object {oid} is in the log");
        let place = found.place.as_ref().context("a block without a place")?;
        return Ok((store.path.join(&place.file), place.offset));
    }
    anyhow::bail!("sheep {} has no object {index}", sheep.index)
}

/// Changes one bit of byte `offset` of the object's data in a sheep's own copy.
///
/// # Errors
/// If the sheep has no copy, or has it in the log only.
pub fn flip(sheep: &Sheep, vdi: &Vdi, index: u32, offset: u64) -> Result<()> {
    let block = BLOCK_BYTES as u64;
    let (path, start) = place(sheep, vdi, index, (offset / block) as u32)?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let at = start + offset % block;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).with_context(|| path.display().to_string())?;
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at)?;
    Ok(())
}
