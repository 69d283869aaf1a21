//! Links that are slow, each message by another while: what is sent on one connection overtakes
//! what was sent before on another. Sheep die and come back meanwhile, one by one and all at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::workload::{Mix, SharedHistory, Traffic};

const SIZE: usize = 8 << 20;
const STALL: Duration = Duration::from_secs(120);
const MIX: Mix = Mix { writers: 8, zeros: 0, bytes_max: 64 << 10, seed: 25 };
const DELAY: Duration = Duration::from_millis(20);
const OWN: usize = 1;
const REPLICA: usize = 2;

/// Everybody tells the same, nothing is missing, and all copies are equal.
async fn end(herd: Herd, history: &SharedHistory, vid: u32) -> Result<()> {
    herd.until_clean().await?;
    history.check_everywhere(&herd, "disk").await?;
    herd.end_with_equal_copies(&[vid]).await
}

#[tokio::test]
async fn sheep_die_one_by_one() -> Result<()> {
    let mut herd = Herd::of(3).delayed(DELAY).format().await?;
    let vid = herd.create("disk", SIZE as u64).await?.vid.0.get();
    let history = SharedHistory::new(SIZE, 512, 25);
    let disk = Arc::new(Disk::open(herd.sheep(OWN), Face::LegacyUnix, "disk").await?);
    let mut traffic = Traffic::start(&disk, &history, MIX);
    for victim in [REPLICA, OWN, 0, OWN] {
        traffic.more(60, STALL).await?;
        herd.kill(victim)?;
        herd.start(victim).await?;
        traffic.more(60, STALL).await.with_context(|| format!("sheep {victim} was killed"))?;
    }
    ensure!(herd.delayed_connections() > 0, "no connection was delayed");
    traffic.stop().await?;
    history.check(&disk).await?;
    Arc::into_inner(disk).context("somebody still has the disk")?.close().await?;
    end(herd, &history, vid).await
}

#[tokio::test]
async fn all_sheep_die_at_once() -> Result<()> {
    let mut herd = Herd::of(3).delayed(DELAY).format().await?;
    let vid = herd.create("disk", SIZE as u64).await?.vid.0.get();
    let history = SharedHistory::new(SIZE, 512, 26);
    for cut in 0..3 {
        let disk = Arc::new(Disk::open(herd.sheep(cut), Face::NbdUnix, "disk").await?);
        let mut traffic = Traffic::start(&disk, &history, Mix { seed: cut as u64, ..MIX });
        traffic.more(80, STALL).await?;
        herd.cut_power()?;
        traffic.abandon().await;
        drop(disk);
        herd.start_all().await.with_context(|| format!("cut {cut}"))?;
    }
    ensure!(herd.delayed_connections() > 0, "no connection was delayed");
    end(herd, &history, vid).await
}
