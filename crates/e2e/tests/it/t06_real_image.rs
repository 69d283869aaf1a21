//! A file system with real content goes up over one face and comes down over another, while a
//! sheep is killed.

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::setting;
use sheepdog_e2e::{image, tool::Tool};

const SIZE: u64 = 96 << 20;
/// Bytes of one write by iSCSI.
const CHUNK_BYTES: usize = 128 << 10;

async fn copy(tool: Tool, source: &str, target: &str) -> Result<()> {
    let words = ["convert", "-n", "-f", "raw", "-O", "raw", source, target];
    tool.args(words).succeed().await.map(drop)
}

/// Uploads through sheep 0 while sheep 2 dies, downloads through sheep 1.
async fn round_trip(up_legacy: bool) -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let source = herd.place().join("source.img");
    let back = herd.place().join("back.img");
    image::make(&source, SIZE).await?;
    std::fs::File::create(&back)?.set_len(SIZE)?;
    let (source, back) = (source.display().to_string(), back.display().to_string());
    let old = || -> Result<Tool> { Ok(Tool::new(setting::qemu52("qemu-img")?)) };
    let (up, target) = if up_legacy {
        (old()?, herd.sheep(0).sheepdog_uri("disk"))
    } else {
        (Tool::new("qemu-img"), herd.sheep(0).nbd_unix_uri("disk"))
    };
    let written = |herd: &Herd| herd.admin(0);
    let upload = tokio::spawn(async move { copy(up, &source, &target).await });
    // Kill when some of it has arrived, so that it falls into the middle.
    let admin = written(&herd);
    for _ in 0..500 {
        if admin.node().await.is_ok_and(|node| node.objects.values().sum::<u64>() > 5) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    herd.kill(2)?;
    upload.await?.context("upload while a sheep died")?;
    let source = herd.place().join("source.img");
    let (down, from) = if up_legacy {
        (Tool::new("qemu-img"), herd.sheep(1).nbd_uri("disk"))
    } else {
        (old()?, herd.sheep(1).sheepdog_uri("disk"))
    };
    copy(down, &from, &back).await.context("download")?;
    let back = std::path::Path::new(&back);
    let same = image::checksum(&source).await? == image::checksum(back).await?;
    ensure!(same, "the image came back changed");
    image::check(back).await?;
    herd.end().await
}

#[tokio::test]
async fn up_by_nbd_and_down_by_the_old_driver() -> Result<()> {
    round_trip(false).await
}

#[tokio::test]
async fn up_by_the_old_driver_and_down_by_nbd() -> Result<()> {
    round_trip(true).await
}

#[tokio::test]
async fn up_by_iscsi_through_tgt_and_down_by_the_old_driver() -> Result<()> {
    let mut herd = Herd::of(3).format().await?;
    herd.create("disk", SIZE).await?;
    let source = herd.place().join("source.img");
    let back = herd.place().join("back.img");
    image::make(&source, SIZE).await?;
    std::fs::File::create(&back)?.set_len(SIZE)?;
    let mut tgt = herd.tgt().await?;
    let store = format!("tcp:127.0.0.1:{}:disk", herd.sheep(0).legacy_port());
    let target = tgt.offer(&store).await?;
    let disk = target.log_in().await?;
    let content = std::fs::read(&source)?;
    let chunks = content.chunks(CHUNK_BYTES).enumerate();
    let full: Vec<_> = chunks.filter(|(_, c)| c.iter().any(|byte| *byte != 0)).collect();
    for (number, (chunk, bytes)) in full.iter().enumerate() {
        if number == full.len() / 2 {
            herd.kill(2)?;
        }
        disk.write((chunk * CHUNK_BYTES) as u64, bytes).await.context("upload")?;
    }
    disk.flush().await?;
    drop(disk);
    tgt.withdraw(&target).await?;
    let old = Tool::new(setting::qemu52("qemu-img")?);
    let uri = herd.sheep(1).sheepdog_uri("disk");
    copy(old, &uri, &back.display().to_string()).await.context("download")?;
    let same = image::checksum(&source).await? == image::checksum(&back).await?;
    ensure!(same, "the image came back changed");
    image::check(&back).await?;
    herd.end().await
}
