//! Several disks in one sheep: what is on them is found again, and one that fails costs its own
//! copies and nothing else.
//!
//! Way: three sheep, of which number 1 has disks of its own; clients write through it and through
//!      another one while a disk fails.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::types::{Copies, Disk as NodeDisk, DiskState};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::loop_disk::LoopDisk;
use sheepdog_e2e::setting;
use sheepdog_e2e::tool::Tool;
use sheepdog_e2e::wait;
use sheepdog_e2e::workload::{Mix, SharedHistory, Traffic};

const NAME: &str = "disk";
/// The sheep with the disks.
const OWN: usize = 1;
const SIZE: u64 = 32 << 20;
const DISK_MIB: u64 = 1024;
const STALL: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(60);
/// So long an operation without its copy has time to be wrong.
const WAITED: Duration = Duration::from_millis(1500);

fn loop_disks(count: usize) -> Result<Vec<LoopDisk>> {
    (0..count).map(|_| LoopDisk::make(DISK_MIB)).collect()
}

/// Three sheep, of which one has disks.
async fn herd(disks: &[LoopDisk], copies: Copies) -> Result<Herd> {
    let paths = disks.iter().map(LoopDisk::path).collect();
    let plan = Herd::of(3).arguments(&["--shards", "2"]).copies(copies);
    let herd = plan.disks(OWN, paths).format().await?;
    herd.create(NAME, SIZE).await?;
    Ok(herd)
}

/// A client that writes and reads.
struct Client {
    disk: Arc<Disk>,
    history: SharedHistory,
    traffic: Traffic,
}

impl Client {
    async fn start(herd: &Herd, through: usize, seed: u64) -> Result<Self> {
        let history = SharedHistory::new(SIZE as usize, 4096, seed as u32);
        Self::go_on(herd, through, history, seed).await
    }

    async fn go_on(herd: &Herd, through: usize, history: SharedHistory, seed: u64) -> Result<Self> {
        let disk = Arc::new(Disk::open(herd.sheep(through), Face::Nbd, NAME).await?);
        let mix = Mix { writers: 6, zeros: 10, bytes_max: 512 << 10, seed };
        let traffic = Traffic::start(&disk, &history, mix);
        Ok(Self { disk, history, traffic })
    }

    async fn stop(self) -> Result<SharedHistory> {
        self.traffic.stop().await?;
        close(self.disk).await?;
        Ok(self.history)
    }
}

async fn close(disk: Arc<Disk>) -> Result<()> {
    Arc::into_inner(disk).context("somebody still has the disk")?.close().await
}

/// Every byte is what was written, through each sheep.
async fn compare(herd: &Herd, history: &SharedHistory) -> Result<()> {
    for index in [OWN, 0, 2] {
        let disk = Disk::open(herd.sheep(index), Face::Nbd, NAME).await?;
        history.check(&disk).await.with_context(|| format!("through sheep {index}"))?;
        disk.close().await?;
    }
    Ok(())
}

async fn node_disks(herd: &Herd) -> Result<Vec<NodeDisk>> {
    let disks = herd.admin(OWN).disks().await?;
    let buckets: u32 = disks.iter().map(|disk| disk.buckets).sum();
    ensure!(buckets == 256, "a bucket is nowhere: {disks:?}");
    Ok(disks)
}

/// Waits until the disk of that directory has failed and holds no bucket.
async fn out_of_use(herd: &Herd, path: &str) -> Result<()> {
    wait::until("the failed disk to be out of use", LIMIT, async || {
        let disks = node_disks(herd).await?;
        let disk = disks.iter().find(|disk| disk.path == path).context("it is not listed")?;
        Ok((disk.state == DiskState::Failed && disk.buckets == 0).then_some(()))
    })
    .await
}

/// Waits for that, and looks whether people are told.
async fn failed(herd: &Herd, failed: &LoopDisk) -> Result<()> {
    let path = text(&failed.path());
    out_of_use(herd, &path).await?;
    let warnings = herd.admin(OWN).cluster().await?.warnings;
    let told = |text: &str| warnings.iter().any(|warning| warning.message.contains(text));
    ensure!(told(&path) && told("are not complete"), "nobody is told: {warnings:?}");
    let troubles = herd.admin(OWN).node().await?.troubles;
    ensure!(troubles.iter().any(|trouble| trouble.contains(&path)), "{troubles:?}");
    let elsewhere = herd.admin(0).cluster().await?.warnings;
    ensure!(elsewhere.iter().any(|w| w.message.contains("Node 1 is up")), "{elsewhere:?}");
    Ok(())
}

#[tokio::test]
async fn objects_are_spread_over_the_disks_and_found_again() -> Result<()> {
    let disks = loop_disks(3)?;
    let mut herd = herd(&disks, Copies::Auto).await?;
    let mut client = Client::start(&herd, OWN, 1).await?;
    client.traffic.more(300, STALL).await?;
    let history = client.stop().await?;
    for disk in node_disks(&herd).await? {
        ensure!((50..120).contains(&disk.buckets), "uneven: {disk:?}");
        ensure!(disk.used > 0 && disk.state == DiskState::Ok && disk.moving == 0, "{disk:?}");
    }
    let directory = herd.sheep(OWN).directory();
    ensure!(!directory.join("store").exists(), "objects in the sheep's own directory");
    compare(&herd, &history).await?;
    herd.kill(OWN)?;
    // The table knows the disks.
    herd.sheep_mut(OWN).disks.clear();
    herd.start(OWN).await?;
    compare(&herd, &history).await?;
    herd.end().await
}

#[tokio::test]
async fn w12_a_disk_that_fails_under_load_costs_its_copies_alone() -> Result<()> {
    for (through, seed) in [(OWN, 2), (0, 3)] {
        let mut disks = loop_disks(2)?;
        let mut herd = herd(&disks, Copies::Auto).await?;
        let mut client = Client::start(&herd, through, seed).await?;
        client.traffic.more(200, STALL).await?;
        disks[1].fail()?;
        client.traffic.more(600, STALL).await.context("after the failure")?;
        let history = client.stop().await?;
        failed(&herd, &disks[1]).await?;
        compare(&herd, &history).await?;
        // The same after a restart, with the disk gone; the empty directory is not taken for it.
        herd.kill(OWN)?;
        disks[1].unmount()?;
        herd.start(OWN).await?;
        failed(&herd, &disks[1]).await?;
        compare(&herd, &history).await?;
        ensure!(std::fs::read_dir(disks[1].path())?.next().is_none(), "something was made there");
        herd.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_sheep_starts_without_a_disk_that_is_missing() -> Result<()> {
    let mut disks = loop_disks(2)?;
    let mut herd = herd(&disks, Copies::Auto).await?;
    let mut client = Client::start(&herd, 0, 4).await?;
    client.traffic.more(100, STALL).await?;
    let history = client.stop().await?;
    herd.kill(OWN)?;
    disks[0].unmount()?;
    herd.start(OWN).await?;
    failed(&herd, &disks[0]).await?;
    compare(&herd, &history).await?;
    // What it missed meanwhile it must not serve when the disk is back.
    let mut client = Client::go_on(&herd, 2, history, 5).await?;
    client.traffic.more(300, STALL).await?;
    let history = client.stop().await?;
    herd.kill(OWN)?;
    disks[0].put_back()?;
    herd.start(OWN).await?;
    compare(&herd, &history).await?;
    herd.end().await
}

#[tokio::test]
async fn the_last_copies_wait_for_their_disk() -> Result<()> {
    let mut disks = loop_disks(2)?;
    let mut herd = herd(&disks, Copies::Exactly(1)).await?;
    let image: Vec<u8> = (0..SIZE).map(|at| (at >> 12) as u8 | 1).collect();
    let disk = Arc::new(Disk::open(herd.sheep(0), Face::Nbd, NAME).await?);
    disk.write(0, &image).await?;
    disks[1].fail()?;
    // Something must be written for the failure to show; whether it can be is not known.
    let writer = disk.clone();
    let same = image.clone();
    let write = tokio::spawn(async move { writer.write(0, &same).await });
    let path = disks[1].path().display().to_string();
    wait::until("the failure to be told", LIMIT, async || {
        let all = node_disks(&herd).await?;
        let found = all.iter().find(|disk| disk.path == path).context("it is not listed")?;
        let reason = found.reason.as_deref().unwrap_or_default();
        Ok((found.buckets > 0 && reason.contains("last complete copies")).then_some(()))
    })
    .await?;
    let warnings = herd.admin(OWN).cluster().await?.warnings;
    ensure!(warnings.iter().any(|w| w.action.contains("Bring")), "{warnings:?}");
    let reader = disk.clone();
    let mut read = tokio::spawn(async move { reader.read(0, SIZE as usize).await });
    let early = tokio::time::timeout(WAITED, &mut read).await;
    ensure!(early.is_err(), "a read without its only copy: {early:?}");
    herd.kill(OWN)?;
    disks[1].put_back()?;
    herd.start(OWN).await?;
    wait::within("the write, with the disk back", LIMIT, write).await??;
    let bytes = wait::within("the read, with the disk back", LIMIT, read).await??;
    ensure!(bytes == image, "wrong bytes");
    close(disk).await?;
    herd.end().await
}

#[tokio::test]
async fn a_disk_that_cannot_be_meant_is_refused() -> Result<()> {
    let disks = loop_disks(2)?;
    let mut herd = herd(&disks, Copies::Auto).await?;
    let refused = async |herd: &Herd, index: usize, disks: &[&LoopDisk], wanted: &[&str]| {
        let mut command = herd.sheep(index).command()?.get_args().map(Into::into).collect();
        let words: &mut Vec<std::ffi::OsString> = &mut command;
        let mut word = herd.sheep(index).directory().into_os_string();
        for disk in disks {
            word.push(",");
            word.push(disk.path());
        }
        words.pop();
        words.push(word);
        let tool = Tool::new(setting::program("sheep")?).args(&command).limit(LIMIT);
        let said = tool.fail().await?;
        for text in wanted {
            ensure!(said.contains(text), "{text:?} is not in {said}");
        }
        ensure!(!said.contains("panicked"), "{said}");
        Ok(())
    };
    // Another sheep's; in use, too, but that does not matter.
    let fresh = herd.add(&[]);
    refused(&herd, fresh, &[&disks[0]], &["is a disk of sheep"]).await?;
    herd.kill(OWN)?;
    refused(&herd, fresh, &[&disks[0]], &["is a disk of sheep"]).await?;
    // New ones only by `dog node md plug`.
    let other = LoopDisk::make(DISK_MIB)?;
    refused(&herd, OWN, &[&disks[0], &other], &["no disk of this sheep", "md plug"]).await?;
    herd.kill(2)?;
    refused(&herd, 2, &[&other], &["keeps its data in", "md plug"]).await?;
    herd.start(OWN).await?;
    herd.start(2).await?;
    herd.end().await
}

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// Waits until every bucket is where it shall be, and gives the disks then.
async fn settled(herd: &Herd, count: usize) -> Result<Vec<NodeDisk>> {
    wait::until("buckets to have moved", LIMIT, async || {
        let disks = node_disks(herd).await?;
        let is_settled = disks.len() == count && disks.iter().all(|disk| disk.moving == 0);
        Ok(is_settled.then_some(disks))
    })
    .await
}

/// With one copy only, so that what is lost on the way is missing.
#[tokio::test]
async fn disks_are_put_in_and_taken_out_under_load() -> Result<()> {
    for through in [OWN, 0] {
        let disks = loop_disks(3)?;
        let mut herd = herd(&disks[..2], Copies::Exactly(1)).await?;
        let mut client = Client::start(&herd, through, 7).await?;
        client.traffic.more(300, STALL).await?;
        herd.admin(OWN).plug(&text(&disks[2].path())).await?;
        let now = settled(&herd, 3).await?;
        ensure!(now.iter().all(|disk| disk.buckets > 40), "{now:?}");
        client.traffic.more(100, STALL).await.context("after the plug")?;
        for round in 0..4 {
            herd.admin(OWN).unplug(&text(&disks[2].path())).await?;
            settled(&herd, 2).await.with_context(|| format!("round {round}"))?;
            herd.admin(OWN).plug(&text(&disks[2].path())).await?;
            settled(&herd, 3).await.with_context(|| format!("round {round}"))?;
        }
        herd.admin(OWN).unplug(&text(&disks[0].path())).await?;
        let now = settled(&herd, 2).await?;
        ensure!(now.iter().all(|disk| disk.path != text(&disks[0].path())), "{now:?}");
        client.traffic.more(100, STALL).await.context("after the unplug")?;
        let history = client.stop().await?;
        compare(&herd, &history).await?;
        ensure!(!disks[0].path().join("store").exists(), "stores were left");
        herd.kill(OWN)?;
        herd.sheep_mut(OWN).disks.clear();
        herd.start(OWN).await?;
        compare(&herd, &history).await.context("after a restart")?;
        // It is free, also for another sheep: one whose own directory was its only disk.
        herd.admin(2).plug(&text(&disks[0].path())).await?;
        let home = text(&herd.sheep(2).directory());
        herd.admin(2).unplug(&home).await?;
        wait::until("the sheep's own directory to be empty", LIMIT, async || {
            let now = herd.admin(2).disks().await?;
            Ok((now.len() == 1 && now[0].buckets == 256).then_some(()))
        })
        .await?;
        compare(&herd, &history).await.context("without the own directory")?;
        herd.kill(2)?;
        herd.start(2).await?;
        compare(&herd, &history).await.context("without it after a restart")?;
        herd.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn w10_a_sheep_that_is_killed_while_buckets_move_starts_and_loses_nothing() -> Result<()> {
    let disks = loop_disks(3)?;
    let mut herd = herd(&disks[..2], Copies::Exactly(1)).await?;
    let mut client = Client::start(&herd, 0, 8).await?;
    client.traffic.more(300, STALL).await?;
    herd.admin(OWN).plug(&text(&disks[2].path())).await?;
    for round in 0..6 {
        let moved = node_disks(&herd).await?.iter().map(|disk| disk.moving).sum::<u32>();
        wait::until("a few buckets to move", LIMIT, async || {
            let left = node_disks(&herd).await?.iter().map(|disk| disk.moving).sum::<u32>();
            Ok((left == 0 || left + 8 < moved).then_some(()))
        })
        .await?;
        herd.kill(OWN)?;
        herd.start(OWN).await.with_context(|| format!("round {round}"))?;
        if round == 2 {
            herd.admin(OWN).unplug(&text(&disks[0].path())).await?;
        }
    }
    settled(&herd, 2).await?;
    client.traffic.more(100, LIMIT).await?;
    let history = client.stop().await?;
    compare(&herd, &history).await?;
    herd.end().await
}

#[tokio::test]
async fn a_new_disk_that_fails_or_is_too_small_holds_up_nobody() -> Result<()> {
    let mut disks = loop_disks(2)?;
    let herd = herd(&disks[..1], Copies::Auto).await?;
    let mut client = Client::start(&herd, OWN, 9).await?;
    client.traffic.more(300, STALL).await?;
    herd.admin(OWN).plug(&text(&disks[1].path())).await?;
    disks[1].fail()?;
    client.traffic.more(300, STALL).await.context("after the failure")?;
    // It may have got some buckets before, or none.
    out_of_use(&herd, &text(&disks[1].path())).await?;
    herd.admin(OWN).unplug(&text(&disks[1].path())).await?;
    ensure!(settled(&herd, 1).await?.len() == 1, "the failed disk is still listed");
    // What is on it may be all that somebody has left.
    disks[1].put_back()?;
    let again = herd.admin(OWN).plug(&text(&disks[1].path())).await;
    let said = again.err().context("a disk with data was taken for an empty one")?.to_string();
    ensure!(said.contains("was a disk of this sheep"), "{said}");
    ensure!(disks[1].path().join("store").exists(), "what was on it is gone");
    let small = LoopDisk::make(150)?;
    herd.admin(OWN).plug(&text(&small.path())).await?;
    client.traffic.more(300, STALL).await.context("with a small disk")?;
    let last = herd.admin(OWN).unplug(&text(&disks[0].path())).await;
    ensure!(last.is_err(), "there is no room for what is on it: {:?}", node_disks(&herd).await?);
    let history = client.stop().await?;
    compare(&herd, &history).await?;
    herd.end().await
}
