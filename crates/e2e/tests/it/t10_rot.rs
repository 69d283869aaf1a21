//! Bits that change on a disk: never wrong bytes.

use anyhow::{Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::rot;

const SIZE: u64 = 4 << 20;

/// A disk full of sevens, whose sheep were stopped so that every copy is in its file.
async fn written() -> Result<Herd> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk").await?;
    disk.write(0, &vec![7; SIZE as usize]).await?;
    disk.close().await?;
    for index in 0..3 {
        ensure!(herd.sheep_mut(index).terminate().await?.success(), "did not stop");
    }
    Ok(herd)
}

async fn spoil(herd: &mut Herd, copies: &[usize]) -> Result<()> {
    herd.start_all().await?;
    let vdi = herd.admin(0).vdi("disk").await?;
    for index in 0..3 {
        ensure!(herd.sheep_mut(index).terminate().await?.success(), "did not stop");
    }
    for index in copies {
        rot::flip(herd.sheep(*index), &vdi, 1, 8192 + 77)?;
    }
    herd.start_all().await
}

#[tokio::test]
async fn one_bad_copy_is_passed_over() -> Result<()> {
    let mut herd = written().await?;
    spoil(&mut herd, &[1]).await?;
    for index in 0..3 {
        let disk = Disk::open(herd.sheep(index), Face::Nbd, "disk").await?;
        let bytes = disk.read(0, SIZE as usize).await?;
        ensure!(bytes.iter().all(|byte| *byte == 7), "wrong bytes through sheep {index}");
        disk.close().await?;
    }
    herd.end().await
}

#[tokio::test]
async fn a_block_without_a_good_copy_is_an_error_and_its_neighbours_are_served() -> Result<()> {
    let mut herd = written().await?;
    spoil(&mut herd, &[0, 1, 2]).await?;
    let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk").await?;
    let object = 1 << 20;
    ensure!(disk.read(object + 8192, 4096).await.is_err(), "a spoiled block was served");
    for offset in [object + 4096, object + 12288] {
        ensure!(disk.read(offset, 4096).await? == vec![7; 4096], "neighbour at {offset}");
    }
    disk.write(object + 8192, &[8; 4096]).await?;
    ensure!(disk.read(object + 8192, 4096).await? == vec![8; 4096], "not healed by a write");
    disk.close().await?;
    herd.end().await
}
