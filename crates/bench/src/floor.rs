//! Floors: what the same machine does without Sheepdog, in the same run.
//!
//! Why: a cluster cannot be faster than the disk it stands on and the sockets it goes through,
//!      and both change from hour to hour on a machine that is shared.
//! Way: [`fio`] on files, [`qemu`] for a server that is everywhere, [`echo`] for sockets alone.

pub mod echo;
pub mod fio;
pub mod qemu;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::payload::Payload;

/// Makes a file of `size` bytes that has been written once, so that no later write has to make
/// room.
///
/// # Errors
/// If the disk is full or fails.
pub fn make_file(path: &Path, size: u64, seed: u64) -> Result<()> {
    let mut payload = Payload::new(seed);
    let mut file = File::create(path).with_context(|| path.display().to_string())?;
    let mut bytes = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < size {
        let length = (size - offset).min(1 << 20);
        let part = &mut bytes[..length as usize];
        payload.fill(part, offset);
        file.write_all(part).with_context(|| path.display().to_string())?;
        offset += length;
    }
    file.sync_all().with_context(|| path.display().to_string())
}
