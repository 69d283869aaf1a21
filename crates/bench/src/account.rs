//! What the kernel says a process has used: processor time, bytes to disks, memory.
//!
//! Way: a [`Usage`] before and one after; the difference is the cost of what was between them.
//! Not here: whose cost a kernel thread's work is (the kernel does not tell).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of all its threads.
    pub processor: Duration,
    /// Bytes that it caused to be written to a disk: counted when a folio (one page or many) of
    /// the page cache becomes dirty, or when a write goes past the page cache.
    pub written: u64,
}

impl Usage {
    /// Of a running process.
    ///
    /// # Errors
    /// If there is no such process, or it belongs to somebody else.
    pub fn of(pid: u32) -> Result<Self> {
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let ticks = parse_ticks(&read(pid, "stat")?).with_context(|| broken(pid, "stat"))?;
        let written = parse_field(&read(pid, "io")?, "write_bytes:");
        Ok(Self {
            processor: Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64),
            written: written.with_context(|| broken(pid, "io"))?,
        })
    }

    /// What was used since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(before.processor),
            written: self.written.saturating_sub(before.written),
        }
    }
}

/// Bytes written so far to the disk or partition below a directory, by anybody; `None` where a
/// file system has no device of its own or none that counts.
#[must_use]
pub fn disk_written(folder: &Path) -> Option<u64> {
    let device = fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    parse_sectors(&fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?)
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident bytes now.
    pub resident: u64,
    /// The most that ever were.
    pub resident_max: u64,
}

impl Memory {
    /// Of a running process.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let status = read(pid, "status")?;
        let bytes = |field| {
            let kilobytes = parse_field(&status, field).with_context(|| broken(pid, "status"))?;
            Ok::<u64, anyhow::Error>(kilobytes << 10)
        };
        Ok(Self { resident: bytes("VmRSS:")?, resident_max: bytes("VmHWM:")? })
    }
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).context(path)
}

fn broken(pid: u32, file: &str) -> String {
    format!("/proc/{pid}/{file} is not as expected")
}

/// `utime` and `stime` of `/proc/PID/stat` together. The name of the program, in brackets, may
/// itself have spaces and brackets.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    // Behind the name: state is field 3, utime 14, stime 15.
    let mut fields = fields.split_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Bytes written, of a block device's `stat`: field 7, in units of 512 bytes on every device.
fn parse_sectors(stat: &str) -> Option<u64> {
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    sectors.checked_mul(512)
}

/// The number behind a field's name at the beginning of a line.
fn parse_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
#[path = "account/tests.rs"]
mod tests;
