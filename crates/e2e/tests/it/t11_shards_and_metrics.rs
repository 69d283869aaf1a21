//! One shard and several, and what the metrics say of their work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::wait;

const SIZE: u64 = 8 << 20;

/// Value of the first series that begins so.
fn value(text: &str, series: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.with_context(|| format!("{series} is missing in\n{text}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

#[tokio::test]
async fn every_number_of_shards_serves_every_face_and_counts_it() -> Result<()> {
    for shards in ["1", "2", "3"] {
        let mut herd = Herd::of(3).arguments(&["--shards", shards]).format().await?;
        for (number, face) in [Face::Nbd, Face::LegacyUnix, Face::Admin].into_iter().enumerate() {
            let name = format!("disk{number}");
            herd.create(&name, SIZE).await?;
            let disk = Disk::open(herd.sheep(0), face, &name).await?;
            disk.write(5000, &vec![number as u8 + 1; 3 << 20]).await?;
            let bytes = disk.read(4999, (3 << 20) + 2).await?;
            let right = bytes[0] == 0
                && bytes[bytes.len() - 1] == 0
                && bytes[1..bytes.len() - 1].iter().all(|byte| *byte == number as u8 + 1);
            ensure!(right, "{shards} shards, {face:?}");
            disk.close().await?;
        }
        let text = herd.admin(0).metrics().await?;
        for series in [
            "sheep_face_seconds_count{face=\"nbd\",kind=\"write\"}",
            "sheep_face_seconds_count{face=\"legacy\",kind=\"write\"}",
            "sheep_face_seconds_count{face=\"admin\",kind=\"write\"}",
            "sheep_face_bytes_total{face=\"nbd\",kind=\"read\"}",
            "sheep_peer_seconds_count{node=\"1\"}",
            "sheep_peer_seconds_count{node=\"2\"}",
            "sheep_replica_seconds_count",
            "sheep_store_batches_total",
        ] {
            ensure!(value(&text, series)? > 0.0, "{series} is zero");
        }
        ensure!(value(&text, "sheep_waits_total{reason=\"activate\"}")? == 0.0, "{text}");
        herd.kill(2)?;
        let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk0").await?;
        disk.write(0, &[9; 4096]).await?;
        disk.close().await?;
        wait::until("the wait for Act to be counted", Duration::from_secs(10), async || {
            let text = herd.admin(0).metrics().await?;
            Ok((value(&text, "sheep_waits_total{reason=\"activate\"}")? > 0.0).then_some(()))
        })
        .await?;
        herd.end().await?;
    }
    Ok(())
}
