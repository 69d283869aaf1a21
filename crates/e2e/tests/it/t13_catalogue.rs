//! What one sheep says is done, every sheep knows soon: each follows the log at its own pace.

use std::time::Duration;

use anyhow::{Context, Result};
use sheepdog_client::admin::types::NewVdi;
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::wait;

const ROUNDS: usize = 40;
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_vdi_made_through_one_sheep_opens_through_any_other_soon() -> Result<()> {
    let herd = Herd::of(3).format().await?;
    for round in 0..ROUNDS {
        let (maker, user) = (round % 3, (round + 1) % 3);
        let name = format!("disk{round}");
        let new = NewVdi { name: name.clone(), size: 1 << 20, copies: None, object_shift: None };
        herd.admin(maker).create(&new).await?;
        let face = [Face::Nbd, Face::Legacy][round % 2];
        let opened = wait::until("the new VDI to open elsewhere", SOON, async || {
            Ok(Disk::open(herd.sheep(user), face, &name).await.ok())
        });
        let disk = opened.await.with_context(|| format!("made through {maker}"))?;
        disk.close().await?;
        // Closed here, so it may be opened there; deleted there, so it is gone here.
        let disk = Disk::open(herd.sheep(maker), face, &name).await.context("after a close")?;
        disk.close().await?;
        herd.admin(maker).delete(&name).await?;
        wait::until("the deleted VDI to be gone elsewhere", SOON, async || {
            Ok(Disk::open(herd.sheep(user), face, &name).await.err())
        })
        .await?;
    }
    herd.end().await
}
