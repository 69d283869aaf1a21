//! SIGSTOP and SIGCONT: a sheep that does nothing for a while, and then goes on with what it knew.
//!
//! Why: a stopped sheep keeps its connections and its part of the log, and when it goes on it
//!      believes what was true long ago. Nothing of that may reach a client or a copy.
//! Way: the others go on without a replica. A gateway's disks are free for others when the log's
//!      patience has ended, not sooner; when it goes on, it begins another life, and its clients
//!      find it again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::wait;
use sheepdog_e2e::workload::{Mix, SharedHistory, Traffic};

const SIZE: usize = 8 << 20;
const STALL: Duration = Duration::from_secs(120);
const MIX: Mix = Mix { writers: 6, zeros: 10, bytes_max: 64 << 10, seed: 24 };
/// Longer than ten seconds, after which what a silent sheep owns is free.
const STOPPED: Duration = Duration::from_secs(13);
/// How long somebody tries to open a VDI that is in use; with the time before, less than that.
const TRIED: Duration = Duration::from_secs(5);
const LOG_SERVER: usize = 0;
const OWN: usize = 1;
const REPLICA: usize = 2;

/// Stops a sheep under a load through sheep 1, has somebody else try to open the VDI, goes on.
async fn stopped(victim: usize, face: Face) -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    let vid = herd.create("disk", SIZE as u64).await?.vid.0.get();
    let history = SharedHistory::new(SIZE, 512, 24);
    let disk = Arc::new(Disk::open(herd.sheep(OWN), face, "disk").await?);
    let mut traffic = Traffic::start(&disk, &history, MIX);
    traffic.more(100, STALL).await?;
    let until = tokio::time::Instant::now() + STOPPED;
    herd.sheep_mut(victim).pause()?;
    let before = traffic.acknowledged();
    let other = herd.sheep(if victim == REPLICA { LOG_SERVER } else { REPLICA });
    let tried = tokio::time::timeout(TRIED, Disk::open(other, Face::Nbd, "disk")).await;
    ensure!(!matches!(tried, Ok(Ok(_))), "a second client was let in beside the first");
    tokio::time::sleep_until(until).await;
    let done = traffic.acknowledged() - before;
    println!("{done} changes while sheep {victim} was stopped");
    if victim == OWN {
        let second = Disk::open(other, Face::Nbd, "disk").await.context("the VDI is free")?;
        history.check(&second).await.context("as the second owner sees it")?;
        second.close().await?;
    } else {
        ensure!(done > 0, "the others do not go on without a replica");
    }
    herd.sheep_mut(victim).go_on().await?;
    if victim == OWN && face == Face::Nbd {
        // Its connection ends with the life of the sheep, and this client does not come back.
        traffic.abandon().await;
        drop(disk);
        let own = herd.sheep(OWN);
        wait::until("another life of the gateway to serve", STALL, async || {
            let Ok(disk) = Disk::open(own, face, "disk").await else { return Ok(None) };
            // The life before lets clients in for a moment still, but answers no read.
            if disk.read(0, 512).await.is_err() {
                return Ok(None);
            }
            history.check(&disk).await?;
            disk.close().await.map(Some)
        })
        .await?;
    } else {
        traffic.more(100, STALL).await.context("after SIGCONT")?;
        traffic.stop().await?;
        history.check(&disk).await?;
        Arc::into_inner(disk).context("somebody still has the disk")?.close().await?;
    }
    herd.until_clean().await?;
    history.check_everywhere(&herd, "disk").await?;
    herd.end_with_equal_copies(&[vid]).await
}

#[tokio::test]
async fn a_replica() -> Result<()> {
    stopped(REPLICA, Face::Nbd).await
}

#[tokio::test]
async fn a_replica_that_serves_the_log() -> Result<()> {
    stopped(LOG_SERVER, Face::Legacy).await
}

#[tokio::test]
async fn the_gateway() -> Result<()> {
    stopped(OWN, Face::Nbd).await
}

#[tokio::test]
async fn the_gateway_of_a_client_of_the_legacy_protocol() -> Result<()> {
    stopped(OWN, Face::Legacy).await
}

#[tokio::test]
async fn one_of_two_that_does_not_serve_the_log() -> Result<()> {
    let mut herd = Herd::of(2).format().await?;
    let vid = herd.create("disk", SIZE as u64).await?.vid.0.get();
    let history = SharedHistory::new(SIZE, 512, 25);
    let disk = Arc::new(Disk::open(herd.sheep(LOG_SERVER), Face::Nbd, "disk").await?);
    let mut traffic = Traffic::start(&disk, &history, MIX);
    traffic.more(100, STALL).await?;
    herd.sheep_mut(OWN).pause()?;
    // One complaint alone expels nobody; the log's patience decides.
    traffic.more(100, STALL).await.context("without the other one")?;
    herd.sheep_mut(OWN).go_on().await?;
    traffic.more(100, STALL).await.context("after SIGCONT")?;
    traffic.stop().await?;
    Arc::into_inner(disk).context("somebody still has the disk")?.close().await?;
    herd.until_clean().await?;
    history.check_everywhere(&herd, "disk").await?;
    herd.end_with_equal_copies(&[vid]).await
}

#[tokio::test]
async fn one_that_was_asked_to_end_meanwhile_ends() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.sheep_mut(REPLICA).pause()?;
    herd.sheep_mut(REPLICA).signal(Signal::TERM)?;
    tokio::time::sleep(STOPPED).await;
    herd.sheep_mut(REPLICA).resume()?;
    let status = herd.sheep_mut(REPLICA).wait_end().await?;
    ensure!(status.success(), "{status}");
    herd.end().await
}

#[tokio::test]
async fn the_operator_is_told_whom_the_others_do_not_hear() -> Result<()> {
    let mut herd = Herd::of(2).format().await?;
    herd.sheep_mut(1).pause()?;
    // Of two sheep none is expelled, but the log's patience ends in the end.
    let told = async || {
        let warnings = herd.admin(0).cluster().await?.warnings;
        let hears = |text: &str| text.contains("Node 0 hears nothing of node 1");
        Ok(warnings.iter().any(|warning| hears(&warning.message)).then_some(()))
    };
    wait::until("a warning", Duration::from_secs(8), told).await?;
    herd.sheep_mut(1).go_on().await?;
    herd.end().await
}
