//! What one sheep says is done, every sheep knows.

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::types::NewVdi;
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;

const ROUNDS: usize = 40;

#[tokio::test]
async fn a_vdi_made_through_one_sheep_opens_through_any_other_at_once() -> Result<()> {
    let herd = Herd::of(3).format().await?;
    for round in 0..ROUNDS {
        let (maker, user) = (round % 3, (round + 1) % 3);
        let name = format!("disk{round}");
        let new = NewVdi { name: name.clone(), size: 1 << 20, copies: None, object_shift: None };
        herd.admin(maker).create(&new).await?;
        let face = [Face::Nbd, Face::Legacy][round % 2];
        let disk = Disk::open(herd.sheep(user), face, &name).await;
        let disk = disk.with_context(|| format!("made through {maker}"))?;
        disk.close().await?;
        // Closed here, so it may be opened there; deleted there, so it is gone here.
        let disk = Disk::open(herd.sheep(maker), face, &name).await.context("after a close")?;
        disk.close().await?;
        herd.admin(maker).delete(&name).await?;
        let gone = Disk::open(herd.sheep(user), face, &name).await;
        ensure!(gone.is_err(), "{name} was deleted through {maker} and opens through {user}");
    }
    herd.end().await
}
