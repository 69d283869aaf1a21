//! Machine: what a figure depends on besides the program, for the head of every report.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What is known about this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Release of the kernel.
    pub kernel: String,
    /// Processors that this program may use.
    pub processors: usize,
    /// Their model.
    pub processor: String,
    /// Type of the file system of the run, and its options.
    pub file_system: String,
    /// Load averages of 1, 5 and 15 minutes when the run began.
    pub load_before: String,
    /// And when it ended.
    pub load_after: String,
}

impl Machine {
    /// Of the machine that has this directory.
    ///
    /// # Errors
    /// If `/proc` is not there.
    pub fn of(folder: &Path) -> Result<Self> {
        let mounts = read("/proc/self/mountinfo")?;
        let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
        let file_system = file_system(&mounts, &folder.to_string_lossy());
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: model(&read("/proc/cpuinfo")?).unwrap_or("unknown").to_owned(),
            file_system: file_system.unwrap_or_else(|| "unknown".to_owned()),
            load_before: load()?,
            load_after: String::new(),
        })
    }
}

/// Load averages now.
///
/// # Errors
/// If `/proc` is not there.
pub fn load() -> Result<String> {
    let text = read("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<&str>>().join(" "))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

/// Type and options of the file system that is mounted nearest above a folder.
fn file_system(mountinfo: &str, folder: &str) -> Option<String> {
    let above = |mount: &str| {
        let rest = folder.strip_prefix(mount.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = mountinfo.lines().filter_map(|line| {
        // ID PARENT DEVICE ROOT MOUNT OPTIONS ... - TYPE SOURCE OPTIONS
        let (before, after) = line.split_once(" - ")?;
        let before: Vec<&str> = before.split(' ').collect();
        let (mount, options) = (before.get(4)?, before.get(5)?);
        let kind = after.split(' ').next()?;
        above(mount).then(|| (mount.len(), format!("{kind} ({options})")))
    });
    // Of two at one place, the later one hides the earlier.
    found.max_by_key(|(length, _)| *length).map(|(_, text)| text)
}

#[cfg(test)]
#[path = "machine/tests.rs"]
mod tests;
