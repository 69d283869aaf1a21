//! Bits that change on a disk: never wrong bytes.

use anyhow::{Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::rot;

const SIZE: u64 = 4 << 20;
/// A byte of block 2.
const PLACE: u64 = 8192 + 77;

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

/// Changes a bit in the copies of these sheep, each at its place in object 1.
async fn spoil(herd: &mut Herd, copies: &[(usize, u64)]) -> Result<()> {
    herd.start_all().await?;
    let vdi = herd.admin(0).vdi("disk").await?;
    for index in 0..3 {
        ensure!(herd.sheep_mut(index).terminate().await?.success(), "did not stop");
    }
    for (index, offset) in copies {
        rot::flip(herd.sheep(*index), &vdi, 1, *offset)?;
    }
    herd.start_all().await
}

#[tokio::test]
async fn one_bad_copy_is_passed_over() -> Result<()> {
    let mut herd = written().await?;
    spoil(&mut herd, &[(1, PLACE)]).await?;
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
    spoil(&mut herd, &[0, 1, 2].map(|copy| (copy, PLACE))).await?;
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

#[tokio::test]
async fn copies_that_are_bad_in_different_blocks_make_up_for_each_other() -> Result<()> {
    let mut herd = written().await?;
    spoil(&mut herd, &[0, 1, 2].map(|copy| (copy, copy as u64 * 65536 + 5))).await?;
    for face in [Face::Nbd, Face::Legacy] {
        let disk = Disk::open(herd.sheep(0), face, "disk").await?;
        for (offset, length) in [(0, SIZE as usize), (1 << 20, 1 << 20), (1 << 20, 4096)] {
            let bytes = disk.read(offset, length).await?;
            ensure!(bytes.iter().all(|byte| *byte == 7), "wrong bytes at {offset} by {face:?}");
        }
        disk.close().await?;
    }
    herd.end().await
}
