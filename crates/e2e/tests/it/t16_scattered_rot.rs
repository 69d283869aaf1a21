//! Bits that change in different blocks of different copies: each block has a good copy somewhere.

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::rot;

const OBJECT: u64 = 1 << 20;
const SIZE: u64 = 4 * OBJECT;
const BLOCK: u64 = 4096;

async fn sevens(disk: &Disk, offset: u64, length: u64) -> Result<()> {
    let bytes = disk.read(offset, length as usize).await;
    let bytes = bytes.with_context(|| format!("{length} bytes from {offset}"))?;
    let wrong = bytes.iter().position(|byte| *byte != 7);
    ensure!(wrong.is_none(), "byte {wrong:?} after {offset} is wrong");
    Ok(())
}

#[tokio::test]
async fn copies_that_are_bad_in_different_blocks_make_up_for_each_other() -> Result<()> {
    let herd = Herd::of(3).format().await?;
    let vdi = herd.create("disk", SIZE).await?;
    let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk").await?;
    disk.write(0, &vec![7; SIZE as usize]).await?;
    disk.close().await?;
    // What the last writes left open is settled by the next owner, before the rot.
    let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk").await?;
    sevens(&disk, 0, SIZE).await.context("before the rot")?;
    for copy in 0..3 {
        rot::flip(herd.sheep(copy), &vdi, 1, copy as u64 * 4 * BLOCK)?;
    }
    for (offset, length) in [(OBJECT, BLOCK), (OBJECT, 16 * BLOCK), (OBJECT, OBJECT), (0, SIZE)] {
        sevens(&disk, offset, length).await?;
    }
    disk.close().await?;
    herd.end().await
}
