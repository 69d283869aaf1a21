//! Floors of the store: the same pattern on a plain file that was written once.
//!
//! Way: 4 KiB at depth 32: 32 writes, then one flush; at depth 1: one write at the next place,
//!      then a flush; large writes: past the page cache, one flush for as many as the store has
//!      under way; reads through the page cache, as the store's, into as many buffers as the
//!      store has reads under way. A cold case ends after as many reads as there are places.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::fs::{OFlags, fdatasync};
use sheepdog_proto::{BLOCK_BYTES, Buffer};
use sheepdog_store::disk::fake::Dice;

use super::Figures;
use super::case::{Case, Kind, forget};
use crate::account::Usage;

/// Runs the floor of a case.
pub(crate) fn run(case: &Case, directory: &Path, size: u32, seconds: u64) -> Result<Figures> {
    let path = directory.join("floor");
    let bytes = u64::from(size) << 20;
    let file = prepare(&path, bytes)?;
    if case.is_cold {
        forget(&path)?;
    }
    let is_direct = case.kind == Kind::Write && case.blocks >= 16;
    let direct = OFlags::DIRECT.bits() as i32;
    let file = if is_direct {
        OpenOptions::new().read(true).write(true).custom_flags(direct).open(&path).unwrap_or(file)
    } else {
        file
    };
    let len = case.blocks as usize * BLOCK_BYTES;
    let mut buffers: Vec<Buffer> = (0..case.depth).map(|_| Buffer::zeroed(len)).collect();
    let places = bytes / len as u64;
    let mut dice = Dice::new(9);
    let appends = case.kind == Kind::Write && case.depth == 1;
    let (start, cpu) = (Instant::now(), Usage::of(std::process::id())?);
    let end = start + Duration::from_secs(seconds);
    let mut done = 0_u64;
    while Instant::now() < end && !(case.is_cold && done >= places) {
        for buffer in &mut buffers {
            let is_random = case.is_random && !appends;
            let place = if is_random { dice.below(places) } else { done % places };
            match case.kind {
                Kind::Write => {
                    buffer[..8].copy_from_slice(&done.to_le_bytes());
                    file.write_all_at(buffer, place * len as u64)?;
                }
                Kind::Read => file.read_exact_at(buffer, place * len as u64)?,
            }
            done += 1;
        }
        if case.kind == Kind::Write {
            fdatasync(&file)?;
        }
    }
    let took = start.elapsed().as_secs_f64();
    let cpu = Usage::of(std::process::id())?.since(cpu).processor.as_secs_f64();
    Ok(Figures { rate: done as f64 / took, cpu_us: cpu * 1e6 / done.max(1) as f64 })
}

/// A file whose space is there and was written once.
fn prepare(path: &Path, bytes: u64) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if file.metadata()?.len() < bytes {
        let chunk = vec![5_u8; 1 << 20];
        for offset in (0..bytes).step_by(1 << 20) {
            file.write_all_at(&chunk, offset)?;
        }
        file.sync_all()?;
    }
    Ok(file)
}
