//! A disk that hangs: it does not fail, it just does not answer, and every write waits for it.
//!
//! Why: dying disks do that for minutes. The others must go on, and when it answers again its
//!      copies must take part again by themselves.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::loop_disk::LoopDisk;
use sheepdog_e2e::wait;
use sheepdog_e2e::workload::{Mix, SharedHistory, Traffic};

const NAME: &str = "disk";
/// The sheep whose disk hangs.
const OWN: usize = 1;
const SIZE: u64 = 32 << 20;
const MIX: Mix = Mix { writers: 6, zeros: 10, bytes_max: 64 << 10, seed: 31 };
/// It hangs after five seconds; the log says so, and everything starts again, a little later.
const STALL: Duration = Duration::from_secs(25);
const LIMIT: Duration = Duration::from_secs(90);

/// What sheep 1 says of its disk, and the cluster through it.
async fn told(herd: &Herd) -> Result<Option<String>> {
    let disks = herd.admin(OWN).disks().await?;
    let reason = disks.iter().find_map(|disk| disk.reason.clone());
    let warnings = herd.admin(OWN).cluster().await?.warnings;
    let is_told = |text: &str| warnings.iter().any(|warning| warning.message.contains(text));
    Ok(reason.filter(|reason| is_told(reason.split(';').next().unwrap_or_default())))
}

async fn hangs(through: usize) -> Result<()> {
    let disk = LoopDisk::make(1024)?;
    let plan = Herd::of(3).arguments(&["--shards", "2"]).disks(OWN, vec![disk.path()]);
    let herd = plan.format().await?;
    herd.create(NAME, SIZE).await?;
    let history = SharedHistory::new(SIZE as usize, 4096, 31);
    let client = Arc::new(Disk::open(herd.sheep(through), Face::Nbd, NAME).await?);
    let mut traffic = Traffic::start(&client, &history, MIX);
    traffic.more(200, STALL).await?;
    let life = herd.admin(0).nodes().await?[OWN].incarnation;
    let hang = disk.hang()?;
    traffic.more(300, STALL).await.context("while it hangs")?;
    let reason = wait::until("the operator to be told", STALL, async || told(&herd).await).await?;
    ensure!(reason.contains("take no part"), "{reason}");
    drop(hang);
    traffic.more(100, STALL).await.context("after it hung")?;
    wait::until("every copy to be in sync again", LIMIT, async || {
        let classes = herd.admin(0).cluster().await?.classes;
        Ok(classes.iter().all(|class| class.clean == class.total).then_some(()))
    })
    .await?;
    let now = herd.admin(0).nodes().await?[OWN].incarnation;
    println!("the sheep went on in the same life: {}", now == life);
    traffic.more(100, STALL).await?;
    traffic.stop().await?;
    history.check(&client).await?;
    Arc::into_inner(client).context("somebody still has the disk")?.close().await?;
    history.check_everywhere(&herd, NAME).await?;
    herd.end().await
}

#[tokio::test]
async fn a_replica_whose_disk_hangs_holds_up_nobody_for_long() -> Result<()> {
    hangs(0).await
}

#[tokio::test]
async fn a_gateway_whose_disk_hangs_serves_its_clients_from_the_others() -> Result<()> {
    hangs(OWN).await
}
