//! Loop disk: a small file system of its own for a sheep, which can fail or hang.
//!
//! Way: ext4 in a sparse file, mounted by `mount -o loop`; it fails by `remount,abort`, after which
//!      nothing can be written and what is read may be old; it hangs by `fsfreeze`, which lets
//!      every write wait.
//! Holds:
//!   L1 what was mounted is unmounted when the value is dropped, however the test ends. Declare
//!      it before the herd, so that the sheep end first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// A disk.
#[derive(Debug)]
pub struct LoopDisk {
    place: TempDir,
    is_mounted: bool,
}

impl LoopDisk {
    /// An empty one of so many MiB.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make(mib: u64) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("sheepdog-disk-").tempdir()?;
        let mut disk = Self { place, is_mounted: false };
        fs::create_dir(disk.path())?;
        fs::File::create(disk.image())?.set_len(mib << 20)?;
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &disk.image()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.place.path().join("image")
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.place.path().join("disk")
    }

    /// From now on nothing can be written.
    ///
    /// # Errors
    /// If it works on.
    pub fn fail(&mut self) -> Result<()> {
        run("mount", &["-o".as_ref(), "remount,abort".as_ref(), &self.path()])
    }

    /// From now on every write waits, until the value is dropped: declare it after the herd, for
    /// a process that waits for the disk cannot end.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn hang(&self) -> Result<Hang> {
        run("fsfreeze", &["-f".as_ref(), &self.path()])?;
        Ok(Hang(self.path()))
    }

    /// Takes it out: its directory is empty. No process may use it.
    ///
    /// # Errors
    /// If something uses it.
    pub fn unmount(&mut self) -> Result<()> {
        run("umount", &[&self.path()])?;
        self.is_mounted = false;
        Ok(())
    }

    /// Puts it back after `unmount` or `fail`, and repairs what the failure did.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn put_back(&mut self) -> Result<()> {
        if self.is_mounted {
            self.unmount()?;
        }
        // 1 means: errors were corrected.
        let status = Command::new("e2fsck").arg("-fy").arg(self.image()).output()?.status;
        if status.code().is_none_or(|code| code > 1) {
            bail!("e2fsck: {status}");
        }
        self.mount()
    }

    fn mount(&mut self) -> Result<()> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), &self.image(), &self.path()])?;
        self.is_mounted = true;
        Ok(())
    }
}

/// A disk hangs as long as this lives.
#[derive(Debug)]
pub struct Hang(PathBuf);

impl Drop for Hang {
    fn drop(&mut self) {
        let _ = run("fsfreeze", &["-u".as_ref(), &self.0]);
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            // L1: also if something still has a file open.
            let _ = run("umount", &["-l".as_ref(), &self.path()]);
        }
    }
}

fn run(program: &str, words: &[&Path]) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(words)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr).trim())
}
