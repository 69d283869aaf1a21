//! Mount: a small file system of its own, for as long as the value lives.
//!
//! Holds:
//!   MO1 it is unmounted when the value is dropped, also by a test that fails; what a test left
//!       that was itself killed is unmounted before the next one is made;
//!   MO2 where mounting is refused the test fails and says so: it needs root, as packages do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::tool::Tool;

/// Whose mounts are in a directory.
const OWNER: &str = "mounts.pid";
/// What directories of tests are called.
const PREFIX: &str = "/sheepdog-e2e-";
/// How often the unmounting is tried, while the last user goes away.
const TRIES: u32 = 100;
/// What is too little to be taken.
const STEP_MIN: u64 = 4096;

/// Which file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// On a file, by a loop device; so are the next two.
    Ext4,
    /// At least 300 MiB.
    Xfs,
    /// At least 114 MiB.
    Btrfs,
    /// In memory.
    Tmpfs,
}

/// A mounted file system.
#[derive(Debug)]
pub struct Mount {
    point: PathBuf,
}

impl Mount {
    /// Makes a file system of `bytes` and mounts it on a directory, which is made.
    ///
    /// # Errors
    /// If it cannot be made, or mounting is refused (MO2).
    pub async fn make(system: FileSystem, bytes: u64, point: &Path) -> Result<Self> {
        unmount_what_the_dead_left()?;
        fs::create_dir(point).with_context(|| point.display().to_string())?;
        fs::write(point.with_file_name(OWNER), std::process::id().to_string())?;
        let mount = match system {
            FileSystem::Tmpfs => {
                let size = format!("size={bytes}");
                Tool::new("mount").args(["-t", "tmpfs", "-o", &size, "sheepdog"]).arg(point)
            }
            _ => {
                let image = point.with_extension("image");
                File::create_new(&image)?.set_len(bytes)?;
                let (program, words): (_, &[&str]) = match system {
                    FileSystem::Xfs => ("mkfs.xfs", &["-q"]),
                    FileSystem::Btrfs => ("mkfs.btrfs", &["-q"]),
                    _ => ("mkfs.ext4", &["-q", "-m", "0", "-b", "4096"]),
                };
                Tool::new(program).args(words).arg(&image).succeed().await?;
                Tool::new("mount").args(["-o", "loop"]).arg(image).arg(point)
            }
        };
        let mounted = mount.succeed().await;
        mounted.context("a test of file systems must be allowed to mount one: run it as root")?;
        Ok(Self { point: point.to_owned() })
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn free(&self) -> Result<u64> {
        let space = statvfs(&self.point)?;
        Ok(space.f_bavail * space.f_frsize)
    }

    /// Takes all space away, also from whoever wants some at the same time, until
    /// [`Mount::give_back`].
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn take_space(&self) -> Result<()> {
        let file = File::options().create(true).append(true).open(self.hog())?;
        let mut step = self.free()?;
        while step >= STEP_MIN {
            let taken = file.metadata()?.len();
            match fallocate(&file, FallocateFlags::empty(), taken, step) {
                Ok(()) => step = self.free()?,
                Err(Errno::NOSPC) => step /= 2,
                Err(error) => return Err(error).context("take space"),
            }
        }
        Ok(())
    }

    /// Gives back what was taken.
    ///
    /// # Errors
    /// If nothing was.
    pub fn give_back(&self) -> Result<()> {
        fs::remove_file(self.hog()).context("nothing was taken")
    }

    fn hog(&self) -> PathBuf {
        self.point.join("somebody-elses-file")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            if umount(&self.point, &[]) {
                return; // MO1
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} is busy; it goes when its last user does", self.point.display());
        umount(&self.point, &["-l"]);
    }
}

fn umount(point: &Path, words: &[&str]) -> bool {
    let mut command = Command::new("umount");
    command.args(words).arg(point).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// MO1.
fn unmount_what_the_dead_left() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| point.contains(PREFIX)).map(Path::new) {
        let owner = fs::read_to_string(point.with_file_name(OWNER)).unwrap_or_default();
        let owner = owner.trim().parse().ok().and_then(Pid::from_raw);
        if owner.is_none_or(|owner| test_kill_process(owner).is_err()) {
            umount(point, &["-l"]);
        }
    }
    Ok(())
}
