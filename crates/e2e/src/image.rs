//! Image: a file system with real content in a raw file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tool::Tool;

/// Makes an ext4 image of `size` bytes with this repository's own sources in it.
///
/// # Errors
/// If mkfs fails.
pub async fn make(path: &Path, size: u64) -> Result<()> {
    let sources = sources()?;
    std::fs::File::create(path)?.set_len(size)?;
    let tool = Tool::new("mkfs.ext4").args(["-q", "-F", "-L", "sheepdog", "-d"]);
    tool.arg(sources).arg(path).succeed().await?;
    check(path).await
}

/// Has fsck look at an image without changing it.
///
/// # Errors
/// If it finds anything.
pub async fn check(path: &Path) -> Result<()> {
    Tool::new("e2fsck").args(["-f", "-n"]).arg(path).succeed().await.map(drop)
}

/// SHA-256 of a file.
///
/// # Errors
/// If it cannot be read.
pub async fn checksum(path: &Path) -> Result<String> {
    let line = Tool::new("sha256sum").arg(path).succeed().await?;
    Ok(line.split(' ').next().context("sha256sum printed nothing")?.to_owned())
}

/// The folder of all crates.
fn sources() -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let files = Command::new("find").arg(&path).args(["-name", "*.rs"]).output()?;
    let count = files.stdout.split(|byte| *byte == b'\n').count();
    ensure!(count > 100, "{} has only {count} sources", path.display());
    Ok(path)
}
