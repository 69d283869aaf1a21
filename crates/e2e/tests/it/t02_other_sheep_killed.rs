//! A sheep that is not the client's is killed under verified writes: no client sees an error.
//!
//! Way: the client's sheep is number 1. Either 0, which serves the coordination log, or 2 is
//!      killed with writes in flight; the writing goes on; then everything is read and compared by
//!      the client itself, and through the sheep that remains.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::qemu_io::QemuIo;
use sheepdog_e2e::setting;
use sheepdog_e2e::stepper::{Stepper, WRITES, Written};
use sheepdog_e2e::workload::{Mix, SharedHistory, Traffic};

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

/// What the killed sheep held of a VDI, in objects: without any, the kill would prove nothing.
async fn held(herd: &Herd, name: &str, victim: usize) -> Result<usize> {
    let nodes = herd.admin(OWN).nodes().await?;
    let admin = herd.sheep(victim).admin_port().to_string();
    let node = nodes.iter().find(|node| node.addresses.admin.ends_with(&admin));
    let node = node.context("the victim is no node")?.node;
    let mut count = 0;
    for index in 0..OBJECTS as u32 {
        let place = herd.admin(OWN).object(name, index).await?;
        let holds = |copy: &&_| -> bool {
            let copy: &&sheepdog_client::admin::types::ObjectCopy = copy;
            copy.node == node && copy.held == Some(true)
        };
        count += place.copies.iter().filter(holds).count();
    }
    ensure!(count > 0, "sheep {victim} holds nothing of {name}");
    Ok(count)
}

/// Writes by QEMU through sheep 1, and kills another one.
async fn qemu(herd: &mut Herd, name: &str, io: QemuIo, victim: usize) -> Result<()> {
    let mut stepper = Stepper::new(io, Written::nothing(OBJECTS));
    stepper.steps(STEPS_BEFORE, STALL).await?;
    held(herd, name, victim).await?;
    stepper.begin(STALL).await?;
    herd.kill(victim)?;
    stepper.end(STALL).await.context("the step with the kill")?;
    stepper.steps(STEPS_AFTER, STALL).await.context("after the kill")?;
    stepper.verify().await?;
    let written = stepper.close().await?;
    let other = if victim == LAST { LOG_SERVER } else { LAST };
    let disk = Disk::open(herd.sheep(other), Face::Nbd, name).await?;
    written.compare(&disk).await.with_context(|| format!("through sheep {other}"))?;
    disk.close().await
}

/// Writes by a client of our own through sheep 1, and kills another one.
async fn traffic(herd: &mut Herd, name: &str, disk: Disk, victim: usize) -> Result<Arc<Disk>> {
    let history = SharedHistory::new(SIZE as usize, 512, victim as u32 + 1);
    let disk = Arc::new(disk);
    let mix = Mix { writers: 8, zeros: 5, bytes_max: 128 << 10, seed: victim as u64 };
    let mut traffic = Traffic::start(&disk, &history, mix);
    traffic.more(WRITES * STEPS_BEFORE, STALL).await?;
    held(herd, name, victim).await?;
    herd.kill(victim)?;
    traffic.more(WRITES_AFTER, STALL).await.context("after the kill")?;
    traffic.stop().await?;
    history.check(&disk).await?;
    Ok(disk)
}

/// Two herds: in one the sheep that serves the log is killed, in the other one that does not.
async fn both(name: &str, test: impl AsyncFn(&mut Herd, usize) -> Result<()>) -> Result<()> {
    for victim in [LOG_SERVER, LAST] {
        let mut herd = Herd::of(3).format().await?;
        herd.create(name, SIZE).await?;
        let tested = test(&mut herd, victim).await;
        tested.with_context(|| format!("sheep {victim} was killed"))?;
        herd.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn qemu_5_2_writes_on() -> Result<()> {
    both("disk", async |herd, victim| {
        let words = ["-f", "raw", "-t", "none", &herd.sheep(OWN).sheepdog_uri("disk")];
        let io = QemuIo::open(setting::qemu52("qemu-io")?, words).await?;
        qemu(herd, "disk", io, victim).await
    })
    .await
}

#[tokio::test]
async fn stock_qemu_writes_on_through_nbd() -> Result<()> {
    both("disk", async |herd, victim| {
        let words = ["-f", "raw", "-t", "none", &herd.sheep(OWN).nbd_uri("disk")];
        let io = QemuIo::open("qemu-io", words).await?;
        qemu(herd, "disk", io, victim).await
    })
    .await
}

#[tokio::test]
async fn tgt_writes_on() -> Result<()> {
    both("disk", async |herd, victim| {
        let mut tgt = herd.tgt().await?;
        let store = format!("tcp:127.0.0.1:{}:disk", herd.sheep(OWN).legacy_port());
        let target = tgt.offer(&store).await?;
        let disk = Disk::Iscsi(target.log_in().await?);
        drop(traffic(herd, "disk", disk, victim).await?);
        tgt.withdraw(&target).await
    })
    .await
}

#[tokio::test]
async fn many_overlapping_writes_go_on_through_nbd_and_the_legacy_protocol() -> Result<()> {
    for face in [Face::NbdUnix, Face::LegacyUnix] {
        both("disk", async |herd, victim| {
            let disk = Disk::open(herd.sheep(OWN), face, "disk").await?;
            drop(traffic(herd, "disk", disk, victim).await?);
            Ok(())
        })
        .await
        .with_context(|| format!("{face:?}"))?;
    }
    Ok(())
}
