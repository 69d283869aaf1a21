//! A node that was away: it fetches what changed meanwhile and nothing else, takes part again,
//! and brings nothing back.
//!
//! Way: a disk is filled, a sheep is killed, blocks are written, discarded, deleted; then it is
//!      started while a client writes on. When the cluster says that all is clean, all sheep are
//!      stopped and what their stores hold is compared block by block.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::types::Recovery;
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::wait;
use sheepdog_e2e::workload::Random;

const OBJECT: u64 = 4 << 20;
const BLOCK: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(60);
/// How much larger the disk is than what is written while the node is away.
const LARGER: u64 = 50;

/// Writes single blocks of a disk and remembers which.
struct Scribbler {
    disk: Arc<Disk>,
    blocks: u64,
    random: Random,
    written: BTreeSet<u64>,
}

impl Scribbler {
    fn new(disk: &Arc<Disk>, size: u64, seed: u64) -> Self {
        let (disk, random) = (disk.clone(), Random(seed));
        Self { disk, blocks: size / BLOCK, random, written: BTreeSet::new() }
    }

    async fn write(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            let block = self.random.below(self.blocks as usize) as u64;
            let fill = 1 + self.random.below(200) as u8;
            self.disk.write(block * BLOCK, &[fill; BLOCK as usize]).await?;
            self.written.insert(block);
        }
        Ok(())
    }
}

async fn fill(disk: &Disk, size: u64) -> Result<()> {
    for offset in (0..size).step_by(1 << 20) {
        disk.write(offset, &vec![250; 1 << 20]).await?;
    }
    Ok(())
}

async fn recovery(herd: &Herd, index: usize) -> Result<Recovery> {
    Ok(herd.admin(index).node().await?.recovery)
}

#[tokio::test]
async fn a_node_away_fetches_only_what_changed() -> Result<()> {
    let size = 64 * OBJECT;
    let mut herd = Herd::of(3).object_shift(22).format().await?;
    let vid = herd.create("disk", size).await?.vid.0.get();
    let gone = herd.create("gone", OBJECT).await?.vid.0.get();
    for name in ["gone", "disk"] {
        let disk = Disk::open(herd.sheep(0), Face::Nbd, name).await?;
        fill(&disk, if name == "gone" { OBJECT } else { size }).await?;
        disk.close().await?;
    }
    let disk = Arc::new(Disk::open(herd.sheep(0), Face::Nbd, "disk").await?);
    let mut scribbler = Scribbler::new(&disk, size - OBJECT, 7);
    herd.kill(2)?;
    let blocks = size / BLOCK / LARGER;
    scribbler.write(blocks).await?;
    // An object that the node has goes while it is away, and a whole VDI.
    disk.zero(size - OBJECT, OBJECT as usize).await?;
    herd.admin(0).delete("gone").await?;
    // Clients write on while it comes back.
    let scribbling = tokio::spawn(async move {
        scribbler.write(500).await?;
        Ok::<_, anyhow::Error>(scribbler)
    });
    herd.start(2).await?;
    herd.until_clean().await?;
    let mut scribbler = wait::within("the last writes", LIMIT, scribbling).await??;
    let recovery = recovery(&herd, 2).await?;
    let changed = scribbler.written.len() as u64 * BLOCK;
    println!("changed {changed} bytes of {size}: {recovery:?}");
    ensure!(recovery.bytes_fetched * 10 <= changed * 11, "{recovery:?} of {changed}");
    ensure!(recovery.bytes_fetched * 10 >= blocks * BLOCK * 8, "{recovery:?}: nothing was fetched");
    ensure!(recovery.objects_dropped >= 1, "the discarded object stayed: {recovery:?}");
    // It takes part: a write is acknowledged though another one is lost.
    herd.kill(1)?;
    scribbler.write(10).await?;
    herd.start(1).await?;
    herd.until_clean().await?;
    drop(scribbler);
    let disk = Arc::into_inner(disk).context("somebody still has the disk")?;
    disk.close().await?;
    herd.end_with_equal_copies(&[vid, gone]).await
}

#[tokio::test]
async fn each_node_in_turn_may_be_away_under_writes() -> Result<()> {
    let size = 8 * OBJECT;
    let mut herd = Herd::of(3).object_shift(22).format().await?;
    let vid = herd.create("disk", size).await?.vid.0.get();
    let disk = Arc::new(Disk::open(herd.sheep(0), Face::Legacy, "disk").await?);
    let mut scribbler = Scribbler::new(&disk, size, 9);
    for round in 0..4 {
        let away = 1 + round % 2;
        scribbler.write(40).await?;
        herd.kill(away)?;
        scribbler.write(40).await?;
        let scribbling = tokio::spawn(async move {
            scribbler.write(80).await?;
            Ok::<_, anyhow::Error>(scribbler)
        });
        herd.start(away).await?;
        scribbler = wait::within("the writes of a round", LIMIT, scribbling).await??;
        herd.until_clean().await?;
    }
    drop(scribbler);
    let disk = Arc::into_inner(disk).context("somebody still has the disk")?;
    disk.close().await?;
    herd.end_with_equal_copies(&[vid]).await
}
