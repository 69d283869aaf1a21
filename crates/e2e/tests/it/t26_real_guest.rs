//! A real guest writes files while sheep die, reboots, and finds every file that it had synced.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::guest::{self, Guest};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::image;
use sheepdog_e2e::tool::Tool;

const BYTES: u64 = 128 << 20;
/// The kernel has to start under emulation.
const BOOT: Duration = Duration::from_secs(240);
const STALL: Duration = Duration::from_secs(120);
const OWN: usize = 1;
const REPLICA: usize = 2;
const LOG_SERVER: usize = 0;

/// Number of a file and its checksum.
type Files = BTreeMap<String, String>;

/// Waits until so many more files are on the disk.
async fn synced(guest: &mut Guest, files: &mut Files, more: usize, limit: Duration) -> Result<()> {
    let goal = files.len() + more;
    while files.len() < goal {
        note(&guest.line(limit).await?, "synced ", files);
    }
    Ok(())
}

fn note(line: &str, what: &str, files: &mut Files) {
    let words = line.strip_prefix(what).and_then(|words| words.split_once(' '));
    if let Some((number, sum)) = words {
        files.insert(number.to_owned(), sum.to_owned());
    }
}

/// Copies between a file and the VDI, through one sheep.
async fn convert(words: [&str; 2], options: &[&str]) -> Result<()> {
    let tool = Tool::new("qemu-img").arg("convert").args(options);
    tool.args(["-f", "raw", "-O", "raw"]).args(words).succeed().await.map(drop)
}

#[tokio::test]
async fn it_finds_all_its_files_after_sheep_died_and_it_rebooted() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    let vid = herd.create("vm", BYTES).await?.vid.0.get();
    let (place, image) = (herd.place().to_owned(), herd.place().join("image"));
    guest::make_root(&place, &image, BYTES).await?;
    let file = image.display().to_string();
    convert([&file, &herd.sheep(OWN).nbd_unix_uri("vm")], &["-n"]).await?;
    let socket = herd.sheep(OWN).directory().join("nbd.sock");
    let mut guest = Guest::start(&place, &socket, "vm").await?;
    let mut files = Files::new();
    synced(&mut guest, &mut files, 5, BOOT).await.context("the first boot")?;
    herd.kill(REPLICA)?;
    synced(&mut guest, &mut files, 5, STALL).await.context("without a replica")?;
    herd.start(REPLICA).await?;
    synced(&mut guest, &mut files, 5, STALL).await.context("with the replica back")?;
    let status = herd.sheep_mut(OWN).terminate().await?;
    ensure!(status.success(), "{status}");
    herd.start(OWN).await?;
    synced(&mut guest, &mut files, 5, STALL).await.context("after a planned restart")?;
    herd.kill(OWN)?;
    herd.start(OWN).await?;
    synced(&mut guest, &mut files, 5, STALL).await.context("after its own sheep was killed")?;
    herd.kill(LOG_SERVER)?;
    herd.start(LOG_SERVER).await?;
    synced(&mut guest, &mut files, 5, STALL).await.context("after another was killed")?;

    guest.stop_writing().await?;
    let mut found = Files::new();
    loop {
        let line = guest.line(BOOT).await.context("the second boot")?;
        if line == "checked" {
            break;
        }
        note(&line, "synced ", &mut files);
        note(&line, "found ", &mut found);
    }
    ensure!(guest.disk_errors().is_empty(), "{:?}", guest.disk_errors());
    println!("{} files synced, {} found", files.len(), found.len());
    for (number, sum) in &files {
        ensure!(found.get(number) == Some(sum), "file {number}: {sum}, {:?}", found.get(number));
    }
    let status = guest.off(STALL).await?;
    ensure!(status.success(), "QEMU ended with {status}");

    convert([&herd.sheep(OWN).nbd_unix_uri("vm"), &file], &[]).await?;
    image::check(&image).await?;
    herd.until_clean().await?;
    herd.end_with_equal_copies(&[vid]).await
}
