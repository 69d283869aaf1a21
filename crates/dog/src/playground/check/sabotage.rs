//! Sabotage: one byte of one written block is flipped in every copy, below the sheep, as a disk
//! that rots would. The check must find it.
//!
//! Way: every sheep puts in place what only the log of its store has; a block of the check is
//!      like no other, so it is found by its bytes in the slabs (`docs/formats/store-layout.md`:
//!      blocks lie on borders of 4096 bytes), whatever stands around it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sheepdog_proto::BLOCK_BYTES;

use super::super::herd::Herd;
use super::face::Face;
use super::pattern::{self, Tag};
use super::writer::Ledger;
use crate::trouble::Trouble;

/// Directory of the slabs of a store.
const SLABS: &str = "data";
const CHUNK_BYTES: usize = 1 << 20;

/// Damages one block of the VDI `name`.
pub(super) async fn run(
    herd: &Herd,
    name: &str,
    face: Face,
    ledger: &Ledger,
) -> Result<(), Trouble> {
    let last = ledger.iter().max_by_key(|(_, sequence)| **sequence);
    let (block, sequence) = last.ok_or_else(|| Trouble::failure("no block was written"))?;
    let mut bytes = vec![0; BLOCK_BYTES];
    pattern::fill(Tag { face: face.number(), block: *block, sequence: *sequence }, &mut bytes);
    let client = herd.sheep(1).admin();
    let shift = client.vdi(name).await?.object_shift;
    let index = (u64::from(*block) * BLOCK_BYTES as u64) >> shift;
    let place = client.object(name, index as u32).await?;
    let mut damaged = 0;
    for sheep in herd.all() {
        // The one that was killed cannot do it; its copy is not needed.
        let _ = sheep.admin().checkpoint().await;
        let in_sheep = flip_below(&sheep.directory, false, &bytes).map_err(|error| {
            Trouble::failure(format!("sabotage in {}: {error}", sheep.directory.display()))
        })?;
        damaged += in_sheep;
    }
    if damaged < place.in_sync.len() {
        let copies = place.in_sync.len();
        let message = format!("sabotage found only {damaged} of {copies} copies of block {block}");
        return Err(Trouble::failure(message));
    }
    eprintln!(
        "playground: sabotage: one byte of block {block} of {name} flipped in {damaged} copies"
    );
    Ok(())
}

/// Flips a byte of `block` wherever a slab has it. Returns how often.
fn flip_below(directory: &Path, is_data: bool, block: &[u8]) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let is_data = entry.file_name() == SLABS;
            count += flip_below(&entry.path(), is_data, block)?;
        } else if kind.is_file() && is_data {
            let file = OpenOptions::new().read(true).write(true).open(entry.path())?;
            count += flip(&file, block)?;
        }
    }
    Ok(count)
}

fn flip(file: &File, block: &[u8]) -> io::Result<usize> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut offset, mut count) = (0, 0);
    loop {
        let len = file.read_at(&mut chunk, offset)?;
        if len == 0 {
            return Ok(count);
        }
        for (number, bytes) in (0_u64..).zip(chunk[..len].chunks_exact(block.len())) {
            if bytes == block {
                let place = BLOCK_BYTES / 2;
                let at = offset + (number as usize * block.len() + place) as u64;
                file.write_all_at(&[block[place] ^ 1], at)?;
                file.sync_data()?;
                count += 1;
            }
        }
        offset += len as u64;
    }
}
