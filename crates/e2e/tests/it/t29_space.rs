//! Space: what is deleted is given back, whoever is away or dies meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::wait;

const OBJECT: u64 = 1 << 20;
const OBJECTS: u64 = 48;
const LIMIT: Duration = Duration::from_secs(60);

/// Makes a VDI with something in each object.
async fn fill(herd: &Herd, name: &str, fill: u8) -> Result<()> {
    herd.create(name, OBJECTS * OBJECT).await?;
    let disk = Disk::open(herd.sheep(0), Face::Nbd, name).await?;
    for object in 0..OBJECTS {
        disk.write(object * OBJECT, &vec![fill; OBJECT as usize]).await?;
    }
    disk.close().await
}

/// Bytes of objects on each sheep, as it says.
async fn used(herd: &Herd) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for index in 0..herd.count() {
        all.push(herd.admin(index).disks().await?.iter().map(|disk| disk.used).sum());
    }
    Ok(all)
}

#[tokio::test]
async fn w08_what_is_deleted_gives_its_space_back_though_the_sweep_is_cut_off() -> Result<()> {
    let mut herd = Herd::of(3).object_shift(20).format().await?;
    fill(&herd, "kept", 1).await?;
    let before = used(&herd).await?;
    fill(&herd, "deleted", 2).await?;
    let full = used(&herd).await?;
    let grown = |now: &[u64]| now.iter().zip(&before).all(|(n, b)| *n >= b + OBJECTS * OBJECT);
    ensure!(grown(&full), "each sheep has a copy: {before:?}, {full:?}");
    // One is away, the others die while they sweep.
    herd.kill(2)?;
    herd.admin(0).delete("deleted").await?;
    herd.kill(1)?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    herd.kill(0)?;
    herd.start_all().await?;
    wait::until("the space of what was deleted", LIMIT, async || {
        Ok((used(&herd).await? == before).then_some(()))
    })
    .await?;
    let disk = Disk::open(herd.sheep(1), Face::Nbd, "kept").await?;
    for object in 0..OBJECTS {
        let bytes = disk.read(object * OBJECT, OBJECT as usize).await?;
        ensure!(bytes.iter().all(|byte| *byte == 1), "object {object} of what was kept");
    }
    disk.close().await?;
    herd.end().await
}
