//! A sheep that is not the client's is killed under verified writes: no client sees an error.
//!
//! Way: the client's sheep is number 1. Either 0, which serves the coordination log, or 2 is
//!      killed with writes in flight; the writing goes on; then everything is read and compared by
//!      the client itself, through the sheep that remains, and through the killed one, which
//!      comes back and must not serve what it missed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::qemu_io::QemuIo;
use sheepdog_e2e::setting;
use sheepdog_e2e::stepper::{Stepper, WRITES, Written};
use sheepdog_e2e::workload::{Mix, SharedHistory, Traffic};

const NAME: &str = "disk";
const OWN: usize = 1;
const LOG_SERVER: usize = 0;
const LAST: usize = 2;
const OBJECTS: u64 = 16;
const SIZE: u64 = OBJECTS << 20;
const STEPS_BEFORE: u64 = 20;
const STEPS_AFTER: u64 = 60;
/// Writes of the clients of our own.
const WRITES_AFTER: u64 = WRITES * STEPS_AFTER;
const STALL: Duration = Duration::from_secs(30);

/// Fails if the sheep holds nothing of the VDI: then its death would prove nothing.
async fn held(herd: &Herd, victim: usize) -> Result<()> {
    let admin = format!(":{}", herd.sheep(victim).admin_port());
    let nodes = herd.admin(OWN).nodes().await?;
    let node = nodes.iter().find(|node| node.addresses.admin.ends_with(&admin));
    let node = node.context("the victim is no node")?.node;
    for index in 0..OBJECTS as u32 {
        let place = herd.admin(OWN).object(NAME, index).await?;
        if place.copies.iter().any(|copy| copy.node == node && copy.held == Some(true)) {
            return Ok(());
        }
    }
    bail!("sheep {victim} holds nothing of {NAME}")
}

/// Who is neither the client's own sheep nor the killed one.
const fn other(victim: usize) -> usize {
    if victim == LAST { LOG_SERVER } else { LAST }
}

/// Writes by QEMU through sheep 1, and kills another one.
async fn qemu(herd: &mut Herd, io: QemuIo, victim: usize) -> Result<()> {
    let mut stepper = Stepper::new(io, Written::nothing(OBJECTS));
    stepper.steps(STEPS_BEFORE, STALL).await?;
    held(herd, victim).await?;
    stepper.begin(STALL).await?;
    herd.kill(victim)?;
    stepper.end(STALL).await.context("the step with the kill")?;
    stepper.steps(STEPS_AFTER, STALL).await.context("after the kill")?;
    stepper.verify().await?;
    let written = stepper.close().await?;
    herd.start(victim).await?;
    for index in [other(victim), victim] {
        let disk = Disk::open(herd.sheep(index), Face::Nbd, NAME).await?;
        written.compare(&disk).await.with_context(|| format!("through sheep {index}"))?;
        disk.close().await?;
    }
    Ok(())
}

/// Writes by a client of our own through sheep 1, and kills another one.
async fn traffic(herd: &mut Herd, disk: Disk, victim: usize) -> Result<SharedHistory> {
    let history = SharedHistory::new(SIZE as usize, 512, victim as u32 + 1);
    let disk = Arc::new(disk);
    let mix = Mix { writers: 8, zeros: 5, bytes_max: 128 << 10, seed: victim as u64 };
    let mut traffic = Traffic::start(&disk, &history, mix);
    traffic.more(WRITES * STEPS_BEFORE, STALL).await?;
    held(herd, victim).await?;
    herd.kill(victim)?;
    traffic.more(WRITES_AFTER, STALL).await.context("after the kill")?;
    traffic.stop().await?;
    history.check(&disk).await?;
    let disk = Arc::into_inner(disk).context("somebody still has the disk")?;
    disk.close().await?;
    Ok(history)
}

/// Compares through the sheep that remains, and through the one that was killed.
async fn compare(herd: &mut Herd, history: &SharedHistory, victim: usize) -> Result<()> {
    herd.start(victim).await?;
    for index in [other(victim), victim] {
        let disk = Disk::open(herd.sheep(index), Face::Nbd, NAME).await?;
        history.check(&disk).await.with_context(|| format!("through sheep {index}"))?;
        disk.close().await?;
    }
    Ok(())
}

/// Two herds: in one the sheep that serves the log is killed, in the other one that does not.
async fn both(test: impl AsyncFn(&mut Herd, usize) -> Result<()>) -> Result<()> {
    for victim in [LOG_SERVER, LAST] {
        let mut herd = Herd::of(3).format().await?;
        herd.create(NAME, SIZE).await?;
        let tested = test(&mut herd, victim).await;
        tested.with_context(|| format!("sheep {victim} was killed"))?;
        herd.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn qemu_5_2_writes_on() -> Result<()> {
    both(async |herd, victim| {
        let words = ["-f", "raw", "-t", "none", &herd.sheep(OWN).sheepdog_uri(NAME)];
        let io = QemuIo::open(setting::qemu52("qemu-io")?, words).await?;
        qemu(herd, io, victim).await
    })
    .await
}

#[tokio::test]
async fn stock_qemu_writes_on_through_nbd() -> Result<()> {
    both(async |herd, victim| {
        let words = ["-f", "raw", "-t", "none", &herd.sheep(OWN).nbd_uri(NAME)];
        let io = QemuIo::open("qemu-io", words).await?;
        qemu(herd, io, victim).await
    })
    .await
}

#[tokio::test]
async fn tgt_writes_on() -> Result<()> {
    both(async |herd, victim| {
        let mut tgt = herd.tgt().await?;
        let store = format!("tcp:127.0.0.1:{}:{NAME}", herd.sheep(OWN).legacy_port());
        let target = tgt.offer(&store).await?;
        let disk = Disk::Iscsi(target.log_in().await?);
        let history = traffic(herd, disk, victim).await?;
        tgt.withdraw(&target).await?;
        compare(herd, &history, victim).await
    })
    .await
}

#[tokio::test]
async fn many_overlapping_writes_go_on_through_nbd_and_the_legacy_protocol() -> Result<()> {
    for face in [Face::NbdUnix, Face::LegacyUnix] {
        both(async |herd, victim| {
            let disk = Disk::open(herd.sheep(OWN), face, NAME).await?;
            let history = traffic(herd, disk, victim).await?;
            compare(herd, &history, victim).await
        })
        .await
        .with_context(|| format!("{face:?}"))?;
    }
    Ok(())
}
