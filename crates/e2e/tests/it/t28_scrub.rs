//! Copies that have rotted, or lost a change, without anybody reading them: found and healed, on
//! request and by themselves.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::types::Vdi;
use sheepdog_e2e::copies;
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::{rot, wait};
use sheepdog_proto::{Oid, View};
use sheepdog_store::Request;

const OBJECT: u64 = 1 << 20;
const SIZE: u64 = 4 * OBJECT;
const BLOCK: u64 = 4096;

/// A disk full of sevens, and nothing of it only in logs.
async fn written(herd: &Herd) -> Result<Vdi> {
    let vdi = herd.create("disk", SIZE).await?;
    let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk").await?;
    disk.write(0, &vec![7; SIZE as usize]).await?;
    disk.close().await?;
    for index in 0..herd.count() {
        herd.admin(index).checkpoint().await?;
    }
    Ok(vdi)
}

/// Runs `dog vdi check`: what it says as JSON, and whether it ended well.
async fn check(herd: &Herd) -> Result<(serde_json::Value, bool)> {
    let port = herd.sheep(0).admin_port().to_string();
    let dog = sheepdog_e2e::setting::program("dog")?;
    let mut command = Command::new(dog);
    command.args(["vdi", "check", "disk", "--json", "-p", &port]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let text = String::from_utf8(output.stdout)?;
    let report = serde_json::from_str(&text).with_context(|| format!("dog said {text:?}"))?;
    Ok((report, output.status.success()))
}

fn sum(report: &serde_json::Value, field: &str) -> u64 {
    let nodes = report["nodes"].as_array();
    nodes.into_iter().flatten().filter_map(|node| node[field].as_u64()).sum()
}

/// Every block of every copy is read and verified.
async fn all_good(mut herd: Herd, vdi: &Vdi) -> Result<()> {
    for index in 0..herd.count() {
        ensure!(herd.sheep_mut(index).terminate().await?.success(), "sheep {index}");
        let copies = copies::all(&mut copies::open(herd.sheep(index))?, vdi.vid.0.get());
        copies.with_context(|| format!("sheep {index} was not healed"))?;
    }
    herd.end().await
}

#[tokio::test]
async fn a_check_finds_and_heals_what_nobody_reads() -> Result<()> {
    let herd = Herd::of(3).arguments(&["--scrub", "0"]).format().await?;
    let vdi = written(&herd).await?;
    let (report, is_good) = check(&herd).await?;
    ensure!(is_good && sum(&report, "bad") == 0, "{report}");
    ensure!(sum(&report, "bytes") >= 3 * SIZE, "not all was read: {report}");
    // Nobody has the disk open; one block of each sheep, in objects of their own.
    for index in 0..3 {
        rot::flip(herd.sheep(index), &vdi, index as u32, 5 * BLOCK + 9)?;
    }
    let (report, is_good) = check(&herd).await?;
    ensure!(is_good && sum(&report, "bad") == 3 && sum(&report, "healed") == 3, "{report}");
    // Somebody has it open: the owner heals, also what is bad elsewhere.
    let disk = Disk::open(herd.sheep(1), Face::Nbd, "disk").await?;
    disk.write(3 * OBJECT, &[7; BLOCK as usize]).await?;
    for index in 0..3 {
        rot::flip(herd.sheep(index), &vdi, index as u32, 9 * BLOCK + 9)?;
    }
    let (report, is_good) = check(&herd).await?;
    ensure!(is_good && sum(&report, "bad") == 3 && sum(&report, "healed") == 3, "{report}");
    let bytes = disk.read(0, SIZE as usize).await?;
    ensure!(bytes.iter().all(|byte| *byte == 7), "the client sees something else");
    disk.close().await?;
    let (report, is_good) = check(&herd).await?;
    ensure!(is_good && sum(&report, "bad") == 0, "{report}");
    all_good(herd, &vdi).await
}

/// Stops all sheep, has one forget an object as if its disk had never been told, starts all.
async fn forget(herd: &mut Herd, vdi: &Vdi) -> Result<()> {
    for index in 0..3 {
        ensure!(herd.sheep_mut(index).terminate().await?.success(), "sheep {index}");
    }
    let oid = Oid::data(vdi.vid.0, 1);
    for store in &mut copies::open(herd.sheep(2))? {
        store.execute(vec![Request::Drop { oids: vec![oid], before: View(u64::MAX) }]);
        store.checkpoint()?;
    }
    herd.start_all().await
}

#[tokio::test]
async fn a_copy_that_lost_an_object_gets_it_back() -> Result<()> {
    let mut herd = Herd::of(3).arguments(&["--scrub", "0"]).format().await?;
    let vdi = written(&herd).await?;
    forget(&mut herd, &vdi).await?;
    let (report, is_good) = check(&herd).await?;
    ensure!(!is_good && sum(&report, "behind") == OBJECT / BLOCK, "{report}");
    let is_whole = async || {
        let (report, is_good) = check(&herd).await?;
        Ok((is_good && sum(&report, "behind") == 0).then_some(()))
    };
    wait::until("the object to be back", Duration::from_secs(30), is_whole).await?;
    herd.until_clean().await?;
    herd.end_with_equal_copies(&[vdi.vid.0.get()]).await
}

#[tokio::test]
async fn what_has_rotted_is_healed_though_nobody_asks() -> Result<()> {
    let scrub = ["--scrub", "64", "--scrub-rest", "1"];
    let herd = Herd::of(3).arguments(&scrub).format().await?;
    let vdi = written(&herd).await?;
    for index in 0..3 {
        rot::flip(herd.sheep(index), &vdi, index as u32, 7 * BLOCK + 1)?;
    }
    let is_healed = async || {
        let mut healed = 0;
        for index in 0..3 {
            let metrics = herd.admin(index).metrics().await?;
            let line = metrics.lines().find_map(|line| {
                line.strip_prefix("sheep_scrub_healed_blocks_total ")?.parse::<u64>().ok()
            });
            healed += line.context("no such counter")?;
        }
        Ok((healed >= 3).then_some(()))
    };
    wait::until("three blocks to be healed", Duration::from_secs(60), is_healed).await?;
    all_good(herd, &vdi).await
}

#[tokio::test]
async fn a_copy_that_lost_an_object_gets_it_back_though_nobody_asks() -> Result<()> {
    let scrub = ["--scrub", "64", "--scrub-rest", "1"];
    let mut herd = Herd::of(3).arguments(&scrub).format().await?;
    let vdi = written(&herd).await?;
    forget(&mut herd, &vdi).await?;
    let oid = format!("{:016x}", Oid::data(vdi.vid.0, 1).get());
    ensure!(!herd.admin(2).holds(&oid).await?, "it was forgotten");
    let is_back = async || Ok(herd.admin(2).holds(&oid).await?.then_some(()));
    wait::until("the object to be back", Duration::from_secs(60), is_back).await?;
    herd.until_clean().await?;
    herd.end_with_equal_copies(&[vdi.vid.0.get()]).await
}
