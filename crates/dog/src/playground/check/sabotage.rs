//! Sabotage: one byte of one written block is flipped in every copy, below the sheep, as a disk
//! that rots would. The check must find it.
//!
//! Way: a block of the check is like no other, so it is found by its bytes in the object files
//!      (`docs/formats/object-file.md`: files are named by object id, blocks lie on borders of
//!      4096 bytes), whatever stands around it.

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
        let in_sheep = flip_below(&sheep.directory, &place.oid, &bytes).map_err(|error| {
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

/// Flips a byte of `block` wherever a file named `oid` has it. Returns how often.
fn flip_below(directory: &Path, oid: &str, block: &[u8]) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            count += flip_below(&entry.path(), oid, block)?;
        } else if kind.is_file() && entry.file_name() == oid {
            let file = OpenOptions::new().read(true).write(true).open(entry.path())?;
            count += usize::from(flip(&file, block)?);
        }
    }
    Ok(count)
}

fn flip(file: &File, block: &[u8]) -> io::Result<bool> {
    let mut bytes = vec![0; block.len()];
    let mut offset = 0;
    while file.read_at(&mut bytes, offset)? == bytes.len() {
        if bytes == block {
            let place = BLOCK_BYTES / 2;
            file.write_all_at(&[block[place] ^ 1], offset + place as u64)?;
            file.sync_data()?;
            return Ok(true);
        }
        offset += BLOCK_BYTES as u64;
    }
    Ok(false)
}
