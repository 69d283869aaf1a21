//! Every face, with its own client: what is written through one is read through another.

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::setting;
use sheepdog_e2e::tool::Tool;

const MIB: u64 = 1 << 20;

/// Reads through the given sheep and compares with the patterns that were written.
async fn compare(herd: &Herd, sheep: usize, name: &str, parts: &[(u64, u64, u8)]) -> Result<()> {
    let disk = Disk::open(herd.sheep(sheep), Face::Nbd, name).await?;
    for (offset, length, pattern) in parts {
        let bytes = disk.read(*offset, *length as usize).await?;
        let wrong = bytes.iter().position(|byte| byte != pattern);
        ensure!(wrong.is_none(), "{name}: byte {wrong:?} after {offset} is not {pattern:#x}");
    }
    disk.close().await
}

const PARTS: [(u64, u64, u8); 5] = [
    (0, 4096, 0xa1),
    (5 * MIB + 512, 512, 0xa2),
    (7 * MIB - 8192, 65536, 0xa3),
    (12 * MIB, 3 * MIB, 0xa4),
    (20 * MIB, 4096, 0),
];

/// Commands that write the parts, then read them with a check of every byte.
fn commands() -> Vec<String> {
    let mut words = Vec::new();
    for verb in ["write", "read"] {
        for (offset, length, pattern) in PARTS {
            if verb == "read" || pattern > 0 {
                words.push("-c".to_owned());
                words.push(format!("{verb} -P {pattern} {offset} {length}"));
            }
        }
    }
    words
}

#[tokio::test]
async fn stock_qemu_writes_and_reads_through_nbd() -> Result<()> {
    let herd = Herd::of(3).format().await?;
    for (name, uri) in
        [("tcp", herd.sheep(0).nbd_uri("tcp")), ("unix", herd.sheep(1).nbd_unix_uri("unix"))]
    {
        herd.create(name, 32 * MIB).await?;
        let info = Tool::new("qemu-img").args(["info", "-f", "raw", &uri]).succeed().await?;
        ensure!(info.contains("32 MiB"), "{info}");
        let io = Tool::new("qemu-io").args(["-f", "raw"]).args(commands()).arg(&uri);
        let out = io.succeed().await?;
        ensure!(!out.contains("failed"), "{out}");
        compare(&herd, 2, name, &PARTS).await.context("read through another sheep")?;
    }
    herd.end().await
}

#[tokio::test]
async fn qemu_5_2_writes_and_reads_through_its_own_driver() -> Result<()> {
    let herd = Herd::of(3).format().await?;
    for (name, uri) in [
        ("tcp", herd.sheep(0).sheepdog_uri("tcp")),
        ("unix", herd.sheep(1).sheepdog_unix_uri("unix")),
    ] {
        let image = || -> Result<Tool> { Ok(Tool::new(setting::qemu52("qemu-img")?)) };
        image()?.args(["create", "-f", "raw", &uri, "32M"]).succeed().await?;
        let again = image()?.args(["create", "-f", "raw", &uri, "32M"]).fail().await?;
        ensure!(again.contains("exists"), "{again}");
        let info = image()?.args(["info", &uri]).succeed().await?;
        ensure!(info.contains("32 MiB"), "{info}");
        let io = Tool::new(setting::qemu52("qemu-io")?).args(["-f", "raw"]);
        let out = io.args(commands()).arg(&uri).succeed().await?;
        ensure!(!out.contains("failed"), "{out}");
        compare(&herd, 2, name, &PARTS).await.context("read through another sheep")?;
    }
    herd.end().await
}

#[tokio::test]
async fn tgt_offers_a_vdi_by_iscsi() -> Result<()> {
    let herd = Herd::of(3).format().await?;
    let mut tgt = herd.tgt().await?;
    let socket = herd.sheep(1).directory().join("sock");
    let tcp = format!("tcp:127.0.0.1:{}:tcp", herd.sheep(0).legacy_port());
    for (name, store) in [("tcp", tcp), ("unix", format!("unix:{}:unix", socket.display()))] {
        herd.create(name, 32 * MIB).await?;
        let target = tgt.offer(&store).await?;
        let inquiry = Tool::new("iscsi-inq").arg(target.uri()).succeed().await?;
        ensure!(inquiry.contains("DIRECT_ACCESS"), "{inquiry}");
        let disk = target.log_in().await?;
        ensure!(disk.size() == 32 * MIB, "{} bytes", disk.size());
        for (offset, length, pattern) in PARTS.into_iter().filter(|part| part.2 > 0) {
            disk.write(offset, &vec![pattern; length as usize]).await?;
        }
        disk.flush().await?;
        for (offset, length, pattern) in PARTS {
            let bytes = disk.read(offset, length as usize).await?;
            ensure!(bytes.iter().all(|byte| *byte == pattern), "{name} at {offset}");
        }
        drop(disk);
        tgt.withdraw(&target).await?;
        compare(&herd, 2, name, &PARTS).await.context("read through another sheep")?;
    }
    herd.end().await
}

#[tokio::test]
async fn libiscsi_passes_its_own_tests_on_a_vdi_behind_tgt() -> Result<()> {
    let herd = Herd::of(3).format().await?;
    herd.create("disk", 16 * MIB).await?;
    let mut tgt = herd.tgt().await?;
    let store = format!("tcp:127.0.0.1:{}:disk", herd.sheep(0).legacy_port());
    let target = tgt.offer(&store).await?;
    for test in [
        "ReadCapacity16",
        "Read10.BeyondEol",
        "Write10.Simple",
        "Write10.BeyondEol",
        "Write10.Async",
        "Read10.Async",
    ] {
        let name = format!("ALL.{test}");
        let tool = Tool::new("iscsi-test-cu").args(["--dataloss", "--fail", "--test", &name]);
        let said = tool.arg(target.uri()).succeed().await?;
        ensure!(said.contains("passed") && !said.contains("SKIPPED"), "{test}: {said}");
    }
    tgt.withdraw(&target).await?;
    herd.end().await
}
