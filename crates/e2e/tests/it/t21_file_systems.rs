//! Other file systems, and threads in place of io_uring: write, kill, look.

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::kills::{Field, Form, Scale};
use sheepdog_e2e::mount::FileSystem;

const SCALE: Scale = Scale { mib: 4, changes_max: 150 };
const BYTES: u64 = 320 << 20;
const ROUNDS: u64 = 3;

async fn rounds(herd: Herd) -> Result<()> {
    let mut field = Field::with(herd, Form::Alone, SCALE, 21).await?;
    for round in 0..ROUNDS {
        field.round().await.with_context(|| format!("round {round}"))?;
    }
    field.end().await
}

async fn on(system: FileSystem) -> Result<()> {
    rounds(Herd::of(1).file_system(0, system, BYTES).format().await?).await
}

#[tokio::test]
async fn xfs() -> Result<()> {
    on(FileSystem::Xfs).await
}

#[tokio::test]
async fn btrfs() -> Result<()> {
    on(FileSystem::Btrfs).await
}

#[tokio::test]
async fn ext4_on_a_loop_device() -> Result<()> {
    on(FileSystem::Ext4).await
}

#[tokio::test]
async fn tmpfs() -> Result<()> {
    on(FileSystem::Tmpfs).await
}

#[tokio::test]
async fn threads_in_place_of_io_uring() -> Result<()> {
    let herd = Herd::of(1).arguments(&["--disk-engine", "threads"]).format().await?;
    let log = herd.sheep(0).log();
    ensure!(log.contains("engine=Threads"), "another engine: {log}");
    rounds(herd).await
}
