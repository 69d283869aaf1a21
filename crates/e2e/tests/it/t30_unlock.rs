//! A VDI is taken from a client that has it open: what that was told is there, what it says later
//! changes nothing, and others have it at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::types::Unlock;
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::qemu_io::QemuIo;
use sheepdog_e2e::setting;
use sheepdog_e2e::tool::Tool;

const SIZE: u64 = 8 << 20;
const BLOCK: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(30);
const PLAIN: Unlock = Unlock { here: false };

async fn is_filled(disk: &Disk, fill: u8) -> Result<()> {
    let bytes = disk.read(0, BLOCK as usize).await?;
    ensure!(bytes.iter().all(|byte| *byte == fill), "not {fill}: {}", bytes[0]);
    Ok(())
}

/// A write that must fail: nobody may think that it is on the disk.
async fn fails(io: &mut QemuIo) -> Result<()> {
    let said = io.ask("write -P 5 0 4096", LIMIT).await;
    ensure!(said.as_ref().is_ok_and(|said| !said.contains("wrote")), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn every_client_can_be_cut_off_and_others_have_the_vdi_at_once() -> Result<()> {
    let herd = Herd::of(2).format().await?;
    herd.create("disk", SIZE).await?;
    let qemu52 = setting::qemu52("qemu-io")?;
    for (asked, program, uri) in [
        (1, qemu52.clone(), herd.sheep(0).sheepdog_uri("disk")),
        (0, qemu52, herd.sheep(0).sheepdog_unix_uri("disk")),
        (1, "qemu-io".into(), herd.sheep(0).nbd_uri("disk")),
        (0, "qemu-io".into(), herd.sheep(0).nbd_unix_uri("disk")),
    ] {
        let mut io = QemuIo::open(&program, ["-f", "raw", &uri]).await?;
        io.write(0, BLOCK, 7).await.with_context(|| uri.clone())?;
        herd.admin(asked).unlock("disk", PLAIN).await?;
        // It connects again by itself.
        fails(&mut io).await.with_context(|| uri.clone())?;
        let disk = Disk::open(herd.sheep(1), Face::Nbd, "disk").await?;
        is_filled(&disk, 7).await.with_context(|| uri.clone())?;
        disk.write(0, &[9; BLOCK as usize]).await?;
        fails(&mut io).await.with_context(|| uri.clone())?;
        is_filled(&disk, 9).await?;
        disk.close().await?;
        // Nobody has it now, and the client that was cut off does not get it by going on.
        fails(&mut io).await.with_context(|| uri.clone())?;
        io.kill().await?;
    }
    herd.end().await
}

#[tokio::test]
async fn a_vdi_of_a_sheep_that_stands_still_is_free_when_its_time_is_over() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let disk = Disk::open(herd.sheep(1), Face::Nbd, "disk").await?;
    disk.write(0, &[7; BLOCK as usize]).await?;
    herd.sheep_mut(1).pause()?;
    herd.admin(2).unlock("disk", PLAIN).await?;
    let other = Disk::open(herd.sheep(2), Face::Nbd, "disk").await?;
    is_filled(&other, 7).await?;
    other.write(0, &[9; BLOCK as usize]).await?;
    other.close().await?;
    drop(disk);
    herd.sheep_mut(1).go_on().await?;
    herd.end().await
}

#[tokio::test]
async fn what_cannot_end_is_fenced_and_was_never_acknowledged() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let disk = Arc::new(Disk::open(herd.sheep(1), Face::Nbd, "disk").await?);
    disk.write(0, &[7; BLOCK as usize]).await?;
    herd.kill(0)?;
    herd.kill(2)?;
    let writer = disk.clone();
    let mut waiting =
        tokio::spawn(async move { writer.write(0, &[8; BLOCK as usize]).await.map(drop) });
    let early = tokio::time::timeout(Duration::from_secs(2), &mut waiting).await;
    ensure!(early.is_err(), "one of three copies is not enough: {early:?}");
    herd.admin(1).unlock("disk", PLAIN).await?;
    let write = tokio::time::timeout(LIMIT, waiting).await.context("it still waits")??;
    ensure!(write.is_err(), "a write of one that has lost the VDI");
    drop(disk);
    herd.start(0).await?;
    herd.start(2).await?;
    let other = Disk::open(herd.sheep(2), Face::Nbd, "disk").await?;
    let bytes = other.read(0, BLOCK as usize).await?;
    ensure!(bytes == [7; BLOCK as usize] || bytes == [8; BLOCK as usize], "{}", bytes[0]);
    other.close().await?;
    herd.until_clean().await?;
    herd.end().await
}

#[tokio::test]
async fn dog_asks_before_it_cuts_a_client_off() -> Result<()> {
    let herd = Herd::of(1).format().await?;
    herd.create("disk", SIZE).await?;
    let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk").await?;
    let port = herd.admin(0).endpoint().to_string();
    let dog = |words: &str| -> Result<Tool> {
        let (host, port) = port.rsplit_once(':').context("host and port")?;
        let words = words.split(' ').chain(["-a", host, "-p", port]);
        Ok(Tool::new(setting::program("dog")?).args(words))
    };
    let listed = dog("vdi lock list -r")?.succeed().await?;
    ensure!(listed.starts_with("disk ") && listed.lines().count() == 1, "{listed}");
    let said = dog("vdi lock unlock disk")?.fail().await?;
    ensure!(said.contains("Are you sure"), "{said}");
    disk.write(0, &[7; BLOCK as usize]).await?;
    dog("vdi lock unlock disk -y")?.succeed().await?;
    ensure!(disk.write(0, &[8; BLOCK as usize]).await.is_err(), "it was not cut off");
    ensure!(dog("vdi lock list -r")?.succeed().await?.is_empty(), "it is open");
    dog("vdi lock unlock disk")?.succeed().await?;
    herd.end().await
}
