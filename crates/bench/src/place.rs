//! Place: the directory that a run works in, and that goes away with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A directory below the one that the user chose.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// Makes it, if its file system has `bytes` of room.
    ///
    /// # Errors
    /// If it has not, or nothing can be made there.
    pub fn make(below: &Path, bytes: u64) -> Result<Self> {
        let shown = || below.display().to_string();
        fs::create_dir_all(below).with_context(shown)?;
        let below = below.canonicalize().with_context(shown)?;
        let room = rustix::fs::statvfs(&below).with_context(shown)?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        ensure!(
            free >= bytes,
            "this run may need {} MiB in {} and {} are free: choose a smaller --size or another \
             --dir",
            bytes >> 20,
            below.display(),
            free >> 20
        );
        let folder = tempfile::Builder::new().prefix("sheepdog-bench-").tempdir_in(&below);
        Ok(Self { folder: folder.with_context(shown)? })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A name in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Waits until its file system has written everything, so that what one cell left in the page
    /// cache falls on that cell and not on the next. Returns how long that took.
    ///
    /// # Errors
    /// If the file system fails.
    pub async fn settle(&self) -> Result<Duration> {
        let folder = File::open(self.path()).context("open the place of the run")?;
        let started = Instant::now();
        let synced = tokio::task::spawn_blocking(move || rustix::fs::syncfs(&folder));
        synced.await?.context("syncfs")?;
        Ok(started.elapsed())
    }
}
