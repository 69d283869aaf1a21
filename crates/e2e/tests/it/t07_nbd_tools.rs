//! Tools of others over NBD against a real cluster: what they list, map, copy and give back.

use anyhow::{Result, ensure};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::tool::Tool;
use sheepdog_e2e::wait;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn exports_are_listed_mapped_and_copied() -> Result<()> {
    let herd = Herd::of(3).format().await?;
    herd.create("alpha", 32 * MIB).await?;
    herd.create("beta", 32 * MIB).await?;
    let port = herd.sheep(0).nbd_port().to_string();
    let list = Tool::new("qemu-nbd").args(["--list", "-b", "127.0.0.1", "-p", &port]);
    let list = list.succeed().await?;
    ensure!(list.contains("'alpha'") && list.contains("'beta'"), "{list}");
    let alpha = herd.sheep(0).nbd_uri("alpha");
    let write = ["-f", "raw", "-c", "write -P 5 8M 2M", "-c", "write -P 6 31M 1M"];
    Tool::new("qemu-io").args(write).arg(&alpha).succeed().await?;
    let map = Tool::new("qemu-img").args(["map", "--output=json", "-f", "raw", &alpha]);
    let map = map.succeed().await?;
    ensure!(map.contains("\"start\": 8388608, \"length\": 2097152"), "{map}");
    let info = Tool::new("nbdinfo").args(["--size", &alpha]).succeed().await?;
    ensure!(info.trim() == (32 * MIB).to_string(), "{info}");
    let beta = herd.sheep(1).nbd_unix_uri("beta");
    Tool::new("nbdcopy").args([&alpha, &beta]).succeed().await?;
    let file = herd.place().join("copy.raw").display().to_string();
    Tool::new("nbdcopy").args([&beta, &file]).succeed().await?;
    let compare = ["compare", "-f", "raw", "-F", "raw", &file, &alpha];
    let compared = Tool::new("qemu-img").args(compare).succeed().await?;
    ensure!(compared.contains("identical"), "{compared}");
    herd.end().await
}

/// Bytes that a sheep's objects use, but for the VDI's map (one block).
async fn used(herd: &Herd) -> Result<u64> {
    Ok(herd.admin(0).node().await?.used.saturating_sub(4096))
}

#[tokio::test]
async fn discard_and_delete_give_space_back_and_a_disk_grows() -> Result<()> {
    let herd = Herd::of(3).format().await?;
    herd.create("disk", 16 * MIB).await?;
    let uri = herd.sheep(0).nbd_unix_uri("disk");
    let io = |commands: &[&str]| {
        let words = commands.iter().flat_map(|command| ["-c", command]);
        Tool::new("qemu-io").args(["-f", "raw", "-d", "unmap"]).args(words).arg(&uri)
    };
    io(&["write -P 9 0 16M"]).succeed().await?;
    ensure!(used(&herd).await? == 16 * MIB, "{} bytes in use", used(&herd).await?);
    io(&["discard 0 8M", "write -z -u 8M 4M", "read -P 0 0 12M", "read -P 9 12M 4M"])
        .succeed()
        .await?;
    ensure!(used(&herd).await? == 4 * MIB, "{} bytes in use", used(&herd).await?);
    herd.admin(0).resize("disk", 20 * MIB).await?;
    io(&["write -P 3 19M 1M", "read -P 0 16M 3M", "read -P 3 19M 1M"]).succeed().await?;
    herd.admin(0).delete("disk").await?;
    let limit = std::time::Duration::from_secs(20);
    wait::until("the space of a deleted VDI", limit, async || {
        Ok((used(&herd).await? == 0).then_some(()))
    })
    .await?;
    herd.end().await
}
