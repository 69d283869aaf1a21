//! Bits that change on a disk: never wrong bytes.
//!
//! Way: a disk is written, opened anew and read, so that nothing about it is left to settle; then
//!      bits change in the files of running sheep, and it is read again.

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::types::{ErrorCode, Vdi};
use sheepdog_client::legacy::LegacyError;
use sheepdog_client::nbd::NbdError;
use sheepdog_e2e::copies;
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::rot;
use sheepdog_proto::legacy::ResultCode;

const OBJECT: u64 = 1 << 20;
const SIZE: u64 = 4 * OBJECT;
const BLOCK: u64 = 4096;
/// Number of an I/O error in NBD.
const EIO: u32 = 5;

/// A herd with a disk full of sevens.
async fn written() -> Result<(Herd, Vdi)> {
    let herd = Herd::of(3).format().await?;
    let vdi = herd.create("disk", SIZE).await?;
    let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk").await?;
    disk.write(0, &vec![7; SIZE as usize]).await?;
    disk.close().await?;
    Ok((herd, vdi))
}

/// Opens the disk and reads all of it: whatever the last writes left open is settled then.
async fn settled(herd: &Herd, sheep: usize, face: Face) -> Result<Disk> {
    let disk = Disk::open(herd.sheep(sheep), face, "disk").await?;
    sevens(&disk, 0, SIZE).await.context("before the rot")?;
    Ok(disk)
}

async fn sevens(disk: &Disk, offset: u64, length: u64) -> Result<()> {
    let bytes = disk.read(offset, length as usize).await?;
    let wrong = bytes.iter().position(|byte| *byte != 7);
    ensure!(wrong.is_none(), "byte {wrong:?} after {offset} is wrong");
    Ok(())
}

#[tokio::test]
async fn one_bad_copy_is_passed_over_and_healed() -> Result<()> {
    let (mut herd, vdi) = written().await?;
    for (index, face) in [(0, Face::Nbd), (1, Face::Legacy), (2, Face::Admin)] {
        let disk = settled(&herd, index, face).await?;
        // Each sheep in an object of its own.
        rot::flip(herd.sheep(index), &vdi, index as u32, 3 * BLOCK + 77)?;
        let object = index as u64 * OBJECT;
        for (offset, length) in [(object + 3 * BLOCK, BLOCK), (object, OBJECT), (0, SIZE)] {
            let read = sevens(&disk, offset, length).await;
            read.with_context(|| format!("through sheep {index}, whose own copy is bad"))?;
        }
        disk.close().await?;
    }
    // What was read is good on every disk: each block of each copy is read and verified.
    for index in 0..herd.count() {
        ensure!(herd.sheep_mut(index).terminate().await?.success(), "sheep {index}");
        let copies = copies::all(&mut copies::open(herd.sheep(index))?, vdi.vid.0.get());
        copies.with_context(|| format!("sheep {index} was not healed"))?;
    }
    herd.end().await
}

#[tokio::test]
async fn a_block_without_a_good_copy_is_an_error_and_its_neighbours_are_served() -> Result<()> {
    let (herd, vdi) = written().await?;
    for (number, face) in [Face::Nbd, Face::Legacy, Face::Admin].into_iter().enumerate() {
        let disk = settled(&herd, number, face).await?;
        let place = number as u64 * 8 * BLOCK + 2 * BLOCK;
        for copy in 0..3 {
            rot::flip(herd.sheep(copy), &vdi, 1, place + 100 * copy as u64)?;
        }
        let bad = OBJECT + place;
        let error = match disk.read(bad, BLOCK as usize).await {
            Ok(_) => anyhow::bail!("a spoiled block was served by {face:?}"),
            Err(error) => error,
        };
        let right = match face {
            Face::Nbd => {
                let error = error.downcast_ref::<NbdError>();
                matches!(error, Some(NbdError::Failed { errno: EIO, .. }))
            }
            Face::Legacy => {
                let error = error.downcast_ref::<LegacyError>();
                error.is_some_and(|error| error.code() == Some(ResultCode::Io))
            }
            _ => {
                let error = error.downcast_ref::<sheepdog_client::admin::AdminError>();
                let failure = error.and_then(|error| error.failure());
                failure.is_some_and(|failure| failure.code == ErrorCode::Io)
            }
        };
        ensure!(right, "{face:?} says: {error:#}");
        for neighbour in [bad - BLOCK, bad + BLOCK] {
            sevens(&disk, neighbour, BLOCK).await.with_context(|| format!("{face:?}"))?;
        }
        // Whoever writes the whole block makes it good again.
        disk.write(bad, &[7; BLOCK as usize]).await?;
        sevens(&disk, 0, SIZE).await.with_context(|| format!("after a write by {face:?}"))?;
        disk.close().await?;
    }
    herd.end().await
}
