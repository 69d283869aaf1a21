//! Too few copies: reads go on, writes wait, and nobody gets old data or an error.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::types::{Copies, ObjectCopy};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::wait;

const SIZE: u64 = 4 << 20;
const LIMIT: Duration = Duration::from_secs(60);
/// So long an operation without enough copies has time to be wrong.
const WAITED: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn with_one_copy_of_three_reads_go_on_and_writes_wait() -> Result<()> {
    for face in [Face::Nbd, Face::Legacy] {
        let mut herd = Herd::of(3).format().await?;
        herd.create("disk", SIZE).await?;
        let disk = Arc::new(Disk::open(herd.sheep(0), face, "disk").await?);
        disk.write(0, &vec![1; SIZE as usize]).await?;
        herd.kill(1)?;
        herd.kill(2)?;
        let bytes = wait::within("a read", LIMIT, disk.read(0, SIZE as usize)).await?;
        ensure!(bytes.iter().all(|byte| *byte == 1), "wrong bytes by {face:?}");
        let writer = disk.clone();
        let mut write = tokio::spawn(async move { writer.write(5000, &[2; 9000]).await });
        let early = tokio::time::timeout(WAITED, &mut write).await;
        ensure!(early.is_err(), "a write with one copy of three: {early:?} by {face:?}");
        herd.start(1).await?;
        wait::within("the write, with a second copy", LIMIT, write).await??;
        let bytes = disk.read(0, SIZE as usize).await?;
        let right =
            |(at, byte): (usize, &u8)| *byte == if (5000..14_000).contains(&at) { 2 } else { 1 };
        ensure!(bytes.iter().enumerate().all(right), "wrong bytes by {face:?}");
        herd.start(2).await?;
        let disk = Arc::into_inner(disk).context("somebody still has the disk")?;
        disk.close().await?;
        // The last one missed the write, and must not serve what it has.
        for index in [2, 1] {
            let disk = Disk::open(herd.sheep(index), Face::Nbd, "disk").await?;
            let again = disk.read(0, SIZE as usize).await?;
            ensure!(again == bytes, "old data through sheep {index} by {face:?}");
            disk.close().await?;
        }
        herd.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_vdi_of_one_copy_waits_for_its_sheep() -> Result<()> {
    // So many objects that each of the two sheep has some.
    let size = 4 * SIZE;
    let mut herd = Herd::of(2).copies(Copies::Exactly(1)).format().await?;
    herd.create("disk", size).await?;
    let disk = Arc::new(Disk::open(herd.sheep(0), Face::Nbd, "disk").await?);
    disk.write(0, &vec![1; size as usize]).await?;
    let mut elsewhere = None;
    for index in 0..(size >> 20) as u32 {
        let place = herd.admin(0).object("disk", index).await?;
        let held = |copy: &&ObjectCopy| copy.held == Some(true);
        let nodes: Vec<u16> = place.copies.iter().filter(held).map(|copy| copy.node).collect();
        ensure!(nodes.len() == 1, "{} copies of object {index}", nodes.len());
        if nodes == [1] {
            elsewhere = Some(u64::from(index) << 20);
        }
    }
    let offset = elsewhere.context("the other sheep has no object at all")?;
    herd.kill(1)?;
    let reader = disk.clone();
    let mut read = tokio::spawn(async move { reader.read(offset, 4096).await });
    let early = tokio::time::timeout(WAITED, &mut read).await;
    ensure!(early.is_err(), "a read without any copy: {early:?}");
    herd.start(1).await?;
    let bytes = wait::within("the read, with its copy back", LIMIT, read).await??;
    ensure!(bytes.iter().all(|byte| *byte == 1), "wrong bytes");
    drop(disk);
    herd.end().await
}
