//! Opening a store with many objects: how long it takes, and how much memory it needs.
//!
//! Way: one process makes the store, another opens it, so that its memory is its own.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sheepdog_proto::{Generation, Stamp, View};
use sheepdog_store::{Options as StoreOptions, RealDisk, Request, Store};

use super::case::{object, one_block};
use crate::account::Memory;

/// The hidden command that opens a store.
pub const COMMAND: &str = "open-store";
const BATCH: u32 = 512;

/// Makes a store of so many objects of 4 MiB with a block each, and opens it in a process of
/// its own.
pub(crate) fn measure(directory: &Path, objects: u32) -> Result<()> {
    let path = directory.join("many");
    std::fs::create_dir_all(&path)?;
    let options = StoreOptions { salt: 42, ..StoreOptions::default() };
    let (mut store, _) = Store::open(Box::new(RealDisk::new(&path)?), options)?;
    let start = Instant::now();
    for first in (0..objects).step_by(BATCH as usize) {
        let requests = (first..objects.min(first + BATCH)).map(|index| {
            let oid = object(index);
            let (checksums, data) = one_block(oid, 0);
            let stamp = Stamp::new(Generation(1), u64::from(index) + 1);
            let view = View(1);
            Request::Write { oid, object_shift: 22, first_block: 0, stamp, view, checksums, data }
        });
        for reply in store.execute(requests.collect()) {
            reply.context("a write was refused")?;
        }
        let stable = Stamp::new(Generation(1), u64::from(first + BATCH));
        store.execute(vec![Request::Watermark { vid: object(0).vid(), stable }]);
    }
    store.checkpoint().context("checkpoint")?;
    drop(store);
    let made = start.elapsed().as_secs_f64();
    println!("many objects: {objects} made in {made:.1} s");
    let program = std::env::current_exe()?;
    let status = Command::new(program).arg(COMMAND).arg(&path).status()?;
    ensure!(status.success(), "the store could not be opened");
    Ok(())
}

/// Opens a store and prints how long it took and how much memory there is after it.
///
/// # Errors
/// If the store cannot be opened.
pub fn open_and_report(path: &Path) -> Result<()> {
    let before = Memory::of(std::process::id())?.resident;
    let start = Instant::now();
    let options = StoreOptions { salt: 42, ..StoreOptions::default() };
    let (store, report) = Store::open(Box::new(RealDisk::new(path)?), options)?;
    let seconds = start.elapsed().as_secs_f64();
    let after = Memory::of(std::process::id())?.resident;
    let objects = store.object_count();
    let terabytes = objects as f64 * f64::from(4 << 20) / 1e12;
    let mib = (after.saturating_sub(before)) as f64 / f64::from(1 << 20);
    println!(
        "opened: {objects} objects ({terabytes:.2} TB of 4 MiB objects) in {seconds:.3} s = \
         {:.2} s per TB; memory {mib:.0} MiB = {:.0} MiB per TB, {:.0} bytes an object; {} \
         batches replayed",
        seconds / terabytes,
        mib / terabytes,
        mib * f64::from(1 << 20) / objects.max(1) as f64,
        report.batches
    );
    Ok(())
}
