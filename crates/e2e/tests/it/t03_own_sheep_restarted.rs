//! The client's own sheep is killed and comes back on the same ports: the client goes on without
//! an error.
//!
//! What QEMU 5.2's own driver can do is limited by a mistake of its own: when it loses its
//! connection, a coroutine goes on being used after its end. QEMU aborts ("self != co", "already
//! scheduled in 'qemu_co_sleep_ns'") or stops sending if it is given a command while it pauses
//! before it reconnects, and again when the coroutine's memory comes to be used anew: some requests
//! later, the sooner the more were in flight. The requests and answers on the wire are right all
//! the time. So each QEMU 5.2 here writes one by one, lives through one kill, is left alone until
//! it has reconnected, and goes on for a while.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::qemu_io::QemuIo;
use sheepdog_e2e::setting;
use sheepdog_e2e::stepper::{Stepper, Written};
use sheepdog_e2e::workload::{Mix, SharedHistory, Traffic};

const OWN: usize = 1;
const OTHER: usize = 2;
const OBJECTS: u64 = 16;
const SIZE: u64 = OBJECTS << 20;
const KILLS: u64 = 3;
const STALL: Duration = Duration::from_secs(60);

/// Writes by stock QEMU while its own sheep is killed again and again, with writes in flight.
async fn stock_qemu(herd: &mut Herd, io: QemuIo) -> Result<()> {
    let mut stepper = Stepper::new(io, Written::nothing(OBJECTS));
    for kill in 0..KILLS {
        stepper.steps(15, STALL).await?;
        stepper.begin(STALL).await?;
        herd.kill(OWN)?;
        herd.start(OWN).await?;
        stepper.end(STALL).await.with_context(|| format!("the step with kill {kill}"))?;
    }
    stepper.steps(15, STALL).await.context("after the last kill")?;
    stepper.verify().await?;
    let written = stepper.close().await?;
    let disk = Disk::open(herd.sheep(OTHER), Face::Nbd, "disk").await?;
    written.compare(&disk).await.context("through another sheep")?;
    disk.close().await
}

/// The same by a client of our own that reconnects by itself.
async fn traffic(herd: &mut Herd, disk: Disk) -> Result<()> {
    let history = SharedHistory::new(SIZE as usize, 512, 3);
    let disk = Arc::new(disk);
    let mix = Mix { writers: 8, zeros: 0, bytes_max: 64 << 10, seed: 3 };
    let mut traffic = Traffic::start(&disk, &history, mix);
    for kill in 0..KILLS {
        traffic.more(100, STALL).await?;
        herd.kill(OWN)?;
        herd.start(OWN).await?;
        traffic.more(100, STALL).await.with_context(|| format!("after kill {kill}"))?;
    }
    traffic.stop().await?;
    history.check(&disk).await?;
    Ok(())
}

#[tokio::test]
async fn qemu_5_2_reconnects_and_goes_on() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let uris = [herd.sheep(OWN).sheepdog_uri("disk"), herd.sheep(OWN).sheepdog_unix_uri("disk")];
    let mut written = Written::nothing(OBJECTS);
    for kill in 0..2 * KILLS {
        let words = ["-f", "raw", "-t", "none", &uris[kill as usize % 2]];
        let io = QemuIo::open(setting::qemu52("qemu-io")?, words).await?;
        let mut stepper = Stepper::new(io, written).one_by_one();
        stepper.steps(100, STALL).await?;
        stepper.begin(STALL).await?;
        herd.kill(OWN)?;
        herd.start(OWN).await?;
        herd.sheep(OWN).legacy_client().await?;
        stepper.end(STALL).await.with_context(|| format!("the step with kill {kill}"))?;
        stepper.steps(30, STALL).await.with_context(|| format!("after kill {kill}"))?;
        written = stepper.close().await?;
        let disk = Disk::open(herd.sheep(OTHER), Face::Nbd, "disk").await?;
        written.compare(&disk).await.context("through another sheep")?;
        disk.close().await?;
    }
    herd.end().await
}

#[tokio::test]
async fn stock_qemu_reconnects_through_nbd_and_goes_on() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let sheep = herd.sheep(OWN);
    for server in [
        format!("server.type=inet,server.host=127.0.0.1,server.port={}", sheep.nbd_port()),
        format!("server.type=unix,server.path={}", sheep.directory().join("nbd.sock").display()),
    ] {
        let options = format!("driver=nbd,{server},export=disk,reconnect-delay=60");
        let words = ["-t", "none", "--image-opts", &options];
        let io = QemuIo::open("qemu-io", words).await?;
        stock_qemu(&mut herd, io).await.context(server)?;
        // The next turn begins with an empty disk.
        herd.admin(OTHER).delete("disk").await?;
        herd.create("disk", SIZE).await?;
    }
    herd.end().await
}

#[tokio::test]
async fn tgt_reconnects_and_goes_on() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let mut tgt = herd.tgt().await?;
    let store = format!("tcp:127.0.0.1:{}:disk", herd.sheep(OWN).legacy_port());
    let target = tgt.offer(&store).await?;
    let disk = Disk::Iscsi(target.log_in().await?);
    traffic(&mut herd, disk).await?;
    tgt.withdraw(&target).await?;
    herd.end().await
}

#[tokio::test]
async fn many_overlapping_writes_go_on_through_the_legacy_protocol() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let disk = Disk::open(herd.sheep(OWN), Face::Legacy, "disk").await?;
    traffic(&mut herd, disk).await?;
    herd.end().await
}

#[tokio::test]
async fn a_planned_restart_gives_no_client_an_error() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let disk = Arc::new(Disk::open(herd.sheep(OWN), Face::LegacyUnix, "disk").await?);
    let history = SharedHistory::new(SIZE as usize, 512, 4);
    let mix = Mix { writers: 8, zeros: 0, bytes_max: 64 << 10, seed: 4 };
    let mut traffic = Traffic::start(&disk, &history, mix);
    for restart in 0..KILLS {
        traffic.more(100, STALL).await?;
        let status = herd.sheep_mut(OWN).terminate().await?;
        ensure!(status.success(), "{status}");
        herd.start(OWN).await?;
        traffic.more(100, STALL).await.with_context(|| format!("after restart {restart}"))?;
    }
    traffic.stop().await?;
    history.check(&disk).await?;
    herd.end().await
}

#[tokio::test]
async fn a_planned_restart_gives_qemu_no_error() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let socket = herd.sheep(OWN).directory().join("nbd.sock");
    let server = format!("server.type=unix,server.path={}", socket.display());
    let options = format!("driver=nbd,{server},export=disk,reconnect-delay=60");
    let io = QemuIo::open("qemu-io", ["-t", "none", "--image-opts", &options]).await?;
    let mut stepper = Stepper::new(io, Written::nothing(OBJECTS));
    for restart in 0..KILLS {
        stepper.steps(15, STALL).await?;
        stepper.begin(STALL).await?;
        let status = herd.sheep_mut(OWN).terminate().await?;
        ensure!(status.success(), "{status}");
        herd.start(OWN).await?;
        let ended = stepper.end(STALL).await;
        ended.with_context(|| format!("the step with restart {restart}"))?;
    }
    stepper.verify().await?;
    stepper.close().await?;
    herd.end().await
}

/// As with systemd: sockets outlive the sheep, so that nobody is turned away meanwhile.
#[tokio::test]
async fn with_sockets_that_are_kept_clients_wait_instead_of_being_turned_away() -> Result<()> {
    let mut herd = Herd::of(3).hold_sockets().format().await?;
    herd.create("disk", SIZE).await?;
    for (face, kill) in [
        (Face::Legacy, true),
        (Face::Legacy, false),
        (Face::LegacyUnix, true),
        (Face::LegacyUnix, false),
    ] {
        let kept = Disk::open(herd.sheep(OWN), face, "disk").await?;
        kept.write(0, &[7; 4096]).await?;
        if kill {
            herd.kill(OWN)?;
        } else {
            herd.sheep_mut(OWN).terminate().await?;
        }
        // Nobody answers, but nobody refuses either.
        let mut reader = Box::pin(kept.read(0, 4096));
        let early = tokio::time::timeout(Duration::from_secs(1), &mut reader).await;
        ensure!(early.is_err(), "without a sheep: {early:?}");
        herd.start(OWN).await?;
        let bytes = tokio::time::timeout(STALL, &mut reader).await??;
        ensure!(bytes == [7; 4096], "what was written");
        drop(reader);
        kept.close().await?;
    }
    herd.sheep_mut(OWN).terminate().await?;
    let endpoints = [herd.sheep(OWN).nbd(), herd.sheep(OWN).nbd_unix()];
    for endpoint in endpoints {
        let waiting = tokio::spawn(async move { Disk::open_nbd(&endpoint, "disk").await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        ensure!(!waiting.is_finished(), "a client of a sheep that is not there was turned away");
        herd.start(OWN).await?;
        let disk = tokio::time::timeout(STALL, waiting).await???;
        ensure!(disk.read(0, 4096).await? == [7; 4096], "what was written");
        disk.close().await?;
        herd.sheep_mut(OWN).terminate().await?;
    }
    herd.start(OWN).await?;
    herd.end().await
}
