//! One writer: a second one is refused by name of the first, and a dead one makes room.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_client::admin::AdminError;
use sheepdog_client::admin::types::ErrorCode;
use sheepdog_client::legacy::LegacyError;
use sheepdog_client::nbd::{self, NbdError};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::qemu_io::QemuIo;
use sheepdog_e2e::setting;
use sheepdog_e2e::tool::Tool;
use sheepdog_e2e::wait;
use sheepdog_proto::legacy::ResultCode;

const SIZE: u64 = 8 << 20;
/// A released VDI is free after ten seconds without a client; more is allowed on a busy machine.
const FREE: Duration = Duration::from_secs(40);

/// Tries to write through one sheep by each face; all must be refused, and tell who has the VDI.
async fn refuse_all(herd: &Herd, asked: usize, holder: &str) -> Result<()> {
    let sheep = herd.sheep(asked);
    for endpoint in [sheep.nbd(), sheep.nbd_unix()] {
        match nbd::Connection::open(&endpoint, "disk", nbd::Options::default()).await {
            Err(NbdError::Refused { text, .. }) => {
                ensure!(text.contains("locked by") && text.contains(holder), "NBD says: {text}");
                ensure!(text.contains(" since "), "NBD says: {text}");
            }
            Err(error) => return Err(error.into()),
            Ok(_) => anyhow::bail!("a second NBD client was let in through sheep {asked}"),
        }
    }
    match sheepdog_client::legacy::Disk::open(sheep.legacy(), "disk").await {
        Err(error @ LegacyError::Refused { .. }) => {
            ensure!(error.code() == Some(ResultCode::VdiLocked), "legacy: {error}");
        }
        Err(error) => return Err(error.into()),
        Ok(_) => anyhow::bail!("a second legacy client was let in through sheep {asked}"),
    }
    match sheep.admin().write("disk", 0, vec![9; 4096].into()).await {
        Err(AdminError::Refused(failure)) => {
            ensure!(failure.code == ErrorCode::Locked, "{failure:?}");
            ensure!(failure.code.status() == 423, "{failure:?}");
            let node = failure.holder.as_ref().context("no holder is named")?.node;
            ensure!(usize::from(node) == 0, "node {node} is named as holder");
        }
        other => anyhow::bail!("admin write through sheep {asked}: {other:?}"),
    }
    let qemu = || -> Result<Tool> { Ok(Tool::new(setting::qemu52("qemu-io")?)) };
    let uri = sheep.sheepdog_uri("disk");
    let said = qemu()?.args(["-f", "raw", "-c", "write 0 4k", &uri]).fail().await?;
    ensure!(said.contains("locked"), "QEMU 5.2 says: {said}");
    let uri = sheep.nbd_uri("disk");
    let said = Tool::new("qemu-io").args(["-f", "raw", "-c", "write 0 4k", &uri]).fail().await?;
    ensure!(said.contains("locked by") && said.contains(holder), "QEMU says: {said}");
    Ok(())
}

/// The bytes that the holder wrote must still be there.
async fn untouched(disk: &Disk) -> Result<()> {
    let bytes = disk.read(0, 4096).await?;
    ensure!(bytes.iter().all(|byte| *byte == 7), "a refused writer has written");
    Ok(())
}

#[tokio::test]
async fn a_second_writer_is_refused_and_told_who_holds_the_vdi() -> Result<()> {
    let herd = Herd::of(2).format().await?;
    herd.create("disk", SIZE).await?;
    for face in [Face::Nbd, Face::Legacy] {
        let disk = Disk::open(herd.sheep(0), face, "disk").await?;
        disk.write(0, &[7; 4096]).await?;
        let own = refuse_all(&herd, 0, "127.0.0.1").await;
        own.with_context(|| format!("{face:?}, through the holder's own sheep"))?;
        let other = refuse_all(&herd, 1, "node 0").await;
        other.with_context(|| format!("{face:?}, through another sheep"))?;
        untouched(&disk).await?;
        disk.close().await?;
    }
    let disk = Disk::open(herd.sheep(1), Face::Nbd, "disk").await?;
    untouched(&disk).await?;
    disk.close().await?;
    herd.end().await
}

#[tokio::test]
async fn qemu_5_2_locks_as_long_as_it_lives() -> Result<()> {
    let herd = Herd::of(2).format().await?;
    herd.create("disk", SIZE).await?;
    let words = ["-f", "raw", &herd.sheep(0).sheepdog_uri("disk")];
    let mut io = QemuIo::open(setting::qemu52("qemu-io")?, words).await?;
    // Its lock came by a connection that is closed already, its data connection is silent.
    refuse_all(&herd, 0, "127.0.0.1").await.context("before its first write")?;
    io.write(0, 4096, 7).await?;
    refuse_all(&herd, 1, "node 0").await.context("through another sheep")?;
    io.verify(0, 4096, 7).await?;
    io.close().await?;
    let disk = Disk::open(herd.sheep(1), Face::Nbd, "disk").await?;
    untouched(&disk).await?;
    disk.close().await?;
    herd.end().await
}

#[tokio::test]
async fn a_killed_client_makes_room_for_another_one() -> Result<()> {
    let herd = Herd::of(2).format().await?;
    herd.create("disk", SIZE).await?;
    let qemu52 = setting::qemu52("qemu-io")?;
    for (program, uri) in [
        (qemu52.clone(), herd.sheep(0).sheepdog_uri("disk")),
        (qemu52, herd.sheep(0).sheepdog_unix_uri("disk")),
        ("qemu-io".into(), herd.sheep(0).nbd_uri("disk")),
        ("qemu-io".into(), herd.sheep(0).nbd_unix_uri("disk")),
    ] {
        let mut io = QemuIo::open(program, ["-f", "raw", &uri]).await?;
        io.write(0, 4096, 7).await?;
        io.kill().await?;
        for sheep in [1, 0] {
            let what = format!("room after the death of the client of {uri}");
            let disk = wait::until(&what, FREE, async || {
                Ok(Disk::open(herd.sheep(sheep), Face::Nbd, "disk").await.ok())
            })
            .await?;
            untouched(&disk).await?;
            disk.close().await?;
        }
    }
    herd.end().await
}

#[tokio::test]
async fn a_locked_vdi_is_not_deleted() -> Result<()> {
    let herd = Herd::of(2).format().await?;
    herd.create("disk", SIZE).await?;
    let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk").await?;
    disk.write(0, &[7; 4096]).await?;
    for sheep in [0, 1] {
        let refused = herd.admin(sheep).delete("disk").await;
        let failure = refused.as_ref().err().and_then(|error| error.failure());
        let code = failure.map(|failure| failure.code);
        ensure!(code == Some(ErrorCode::Locked), "delete through {sheep}: {refused:?}");
    }
    untouched(&disk).await?;
    disk.close().await?;
    herd.admin(1).delete("disk").await?;
    ensure!(Disk::open(herd.sheep(0), Face::Nbd, "disk").await.is_err(), "a deleted VDI opens");
    // A new VDI of the old name is empty.
    herd.create("disk", SIZE).await?;
    let disk = Disk::open(herd.sheep(0), Face::Nbd, "disk").await?;
    ensure!(disk.read(0, 4096).await?.iter().all(|byte| *byte == 0), "old data came back");
    disk.close().await?;
    herd.end().await
}
