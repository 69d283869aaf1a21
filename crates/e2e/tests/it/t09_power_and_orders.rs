//! Orders and power cuts: sheep that stop when told, and all that die at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::types::NewVdi;
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::workload::{Mix, SharedHistory, Traffic};

const SIZE: usize = 8 << 20;
const STALL: Duration = Duration::from_secs(30);
const MIX: Mix = Mix { writers: 6, zeros: 10, bytes_max: 64 << 10, seed: 9 };

/// Reads the whole disk through each sheep; all must tell the same, and nothing may be missing.
async fn check_all(herd: &Herd, history: &SharedHistory, sheep: &[usize]) -> Result<()> {
    let mut images = Vec::new();
    for index in sheep {
        let disk = Disk::open(herd.sheep(*index), Face::Nbd, "disk").await?;
        let (checked, image) =
            history.check(&disk).await.with_context(|| format!("through sheep {index}"))?;
        ensure!(checked.acknowledged > 0, "nothing was compared");
        disk.close().await?;
        images.push(image);
    }
    ensure!(images.windows(2).all(|pair| pair[0] == pair[1]), "sheep tell different things");
    Ok(())
}

#[tokio::test]
async fn all_sheep_lose_power_at_once_and_come_back_without_help() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE as u64).await?;
    let history = SharedHistory::new(SIZE, 512, 1);
    for cut in 0..3 {
        let disk = Arc::new(Disk::open(herd.sheep(cut), Face::NbdUnix, "disk").await?);
        let mut traffic = Traffic::start(&disk, &history, Mix { seed: cut as u64, ..MIX });
        traffic.more(150, STALL).await?;
        herd.cut_power()?;
        traffic.abandon().await;
        drop(disk);
        herd.start_all().await?;
        check_all(&herd, &history, &[0, 1, 2]).await.with_context(|| format!("cut {cut}"))?;
    }
    herd.end().await
}

#[tokio::test]
async fn a_sheep_told_to_stop_stops_and_the_clients_of_others_go_on() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE as u64).await?;
    let history = SharedHistory::new(SIZE, 512, 2);
    let disk = Arc::new(Disk::open(herd.sheep(1), Face::Nbd, "disk").await?);
    let mut traffic = Traffic::start(&disk, &history, MIX);
    traffic.more(50, STALL).await?;
    let status = herd.sheep_mut(2).terminate().await?;
    ensure!(status.success(), "{status}");
    traffic.more(100, STALL).await?;
    traffic.stop().await?;
    drop(disk);
    check_all(&herd, &history, &[1]).await?;
    herd.end().await
}

#[tokio::test]
async fn the_sheep_that_serves_the_log_dies_and_the_others_go_on() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE as u64).await?;
    let history = SharedHistory::new(SIZE, 512, 3);
    let disk = Arc::new(Disk::open(herd.sheep(1), Face::Nbd, "disk").await?);
    let mut traffic = Traffic::start(&disk, &history, MIX);
    traffic.more(50, STALL).await?;
    herd.kill(0)?; // the first one started: it serves the log
    traffic.more(150, STALL).await?;
    traffic.stop().await?;
    drop(disk);
    let another =
        NewVdi { name: "another".to_owned(), size: 1 << 20, copies: None, object_shift: None };
    herd.admin(2).create(&another).await?;
    check_all(&herd, &history, &[1]).await?;
    herd.end().await
}

#[tokio::test]
async fn the_whole_cluster_stops_when_told_and_starts_with_all_data() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE as u64).await?;
    let history = SharedHistory::new(SIZE, 512, 4);
    let disk = Arc::new(Disk::open(herd.sheep(0), Face::Nbd, "disk").await?);
    let mut traffic = Traffic::start(&disk, &history, MIX);
    traffic.more(100, STALL).await?;
    traffic.stop().await?;
    drop(disk);
    herd.admin(0).shutdown().await?;
    for index in 0..3 {
        let status = herd.sheep_mut(index).wait_end().await?;
        ensure!(status.success(), "sheep {index}: {status}");
    }
    herd.start_all().await?;
    check_all(&herd, &history, &[2, 0, 1]).await?;
    let cluster = herd.admin(1).cluster().await?;
    let clean = cluster.classes.iter().all(|class| class.clean == class.total);
    ensure!(clean, "an orderly stop cost copies: {:?}", cluster.classes);
    herd.end().await
}

#[tokio::test]
async fn a_client_waits_through_a_power_cut_of_all_and_goes_on_without_an_error() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE as u64).await?;
    let history = SharedHistory::new(SIZE, 512, 5);
    let disk = Arc::new(Disk::open(herd.sheep(1), Face::Legacy, "disk").await?);
    let mut traffic = Traffic::start(&disk, &history, Mix { zeros: 0, ..MIX });
    // One after the other: while the first is alone, the client must wait.
    for order in [[1, 0, 2], [0, 2, 1], [2, 1, 0]] {
        traffic.more(60, STALL).await?;
        herd.cut_power()?;
        for index in order {
            herd.start(index).await?;
        }
        traffic.more(60, STALL).await.with_context(|| format!("started in order {order:?}"))?;
    }
    traffic.stop().await?;
    history.check(&disk).await?;
    match Arc::into_inner(disk) {
        Some(disk) => disk.close().await?,
        None => anyhow::bail!("somebody still has the disk"),
    }
    check_all(&herd, &history, &[2, 0, 1]).await?;
    herd.end().await
}

#[tokio::test]
async fn the_clients_of_a_sheep_told_to_stop_go_elsewhere_at_once() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE as u64).await?;
    let history = SharedHistory::new(SIZE, 512, 6);
    let disk = Arc::new(Disk::open(herd.sheep(1), Face::Nbd, "disk").await?);
    let mut traffic = Traffic::start(&disk, &history, MIX);
    traffic.more(50, STALL).await?;
    let status = herd.sheep_mut(1).terminate().await?;
    ensure!(status.success(), "{status}");
    traffic.abandon().await;
    drop(disk);
    check_all(&herd, &history, &[0, 2]).await?;
    herd.end().await
}

#[tokio::test]
async fn whichever_sheep_serves_the_log_may_die() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    let mut seen = Vec::new();
    for round in 0..6 {
        // The newest of the lines by which sheep say that they serve the log.
        let line = |index: usize| {
            let log = herd.sheep(index).log();
            let mut lines =
                log.lines().filter(|line| line.contains("serving the coordination log"));
            lines.next_back().map(str::to_owned)
        };
        let server = (0..3).max_by_key(|index| line(*index)).unwrap_or(0);
        herd.kill(server)?;
        seen.push(server);
        herd.create(&format!("disk{round}"), 1 << 20).await?;
        herd.start(server).await?;
    }
    seen.sort_unstable();
    seen.dedup();
    ensure!(seen.len() > 1, "sheep {seen:?} served the log all the time");
    let vdis = herd.admin(0).vdis().await?;
    ensure!(vdis.len() == 6, "{} of 6 VDIs", vdis.len());
    herd.end().await
}
