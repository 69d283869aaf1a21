//! Recovery: what a new server makes of the end of the log before it serves.
//!
//! Why: a crash may leave any part of the last batch on the disk; bytes that were durable must
//!      never be taken for such a remainder and cut.
//! Way: `driver` wins the lock -> [`take_over`] -> `server`.
//! Holds:
//!   V1 a bad record is cut only if no sound record behind it proves that it was durable (R3);
//!   V2 on return every record of the log is durable: those that nothing proves so are written
//!      once more and synced, because a failed sync of the server before may have left them in
//!      memory only, marked as written.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::directory::{Directory, ServerLock};
use super::reader::{LogReader, Step, Window};
use super::record::{ALIGN_BYTES, HEADER_BYTES, Header};
use super::trail::Trail;
use super::writer::LogWriter;
use crate::LogError;

/// Makes the log ready to be appended to. `known` is a trail whose position was durable.
///
/// # Errors
/// `Corrupt` and `Version`: this log must not be served. `Io`: it may be tried again.
pub(super) fn take_over(
    directory: &Directory,
    lock: ServerLock,
    known: Trail,
) -> Result<(LogWriter, Trail), LogError> {
    let path = directory.log_path();
    let file = Arc::new(directory.open_log()?);
    let end = file.metadata().map_err(|error| LogError::io(&path, error))?.len();
    if end < known.position.offset {
        let reason = "the file is shorter than what was durable";
        return Err(LogError::Corrupt { path, offset: end, reason });
    }
    let mut reader = LogReader::new(file.clone(), &path, known);
    let proved = scan(&mut reader, end)?;
    let sound = reader.trail().position.offset;
    if sound < end {
        tracing::warn!(path = %path.display(), from = sound, bytes = end - sound,
            "cutting the torn end of the coordination log");
        file.set_len(sound).map_err(|error| LogError::io(&path, error))?;
    }
    if proved < sound || sound < end {
        rewrite(&file, proved, sound).map_err(|error| LogError::io(&path, error))?;
    }
    let trail = reader.into_trail();
    Ok((LogWriter::new(file, path, lock, trail.position), trail))
}

/// Reads to the last sound record; gives the byte up to which the log is proved durable.
fn scan(reader: &mut LogReader, end: u64) -> Result<u64, LogError> {
    let mut unproved: VecDeque<(u64, u64)> = VecDeque::new();
    loop {
        let at = reader.trail().position;
        match reader.step(end)? {
            Step::Record(record) => {
                while unproved.front().is_some_and(|(index, _)| *index <= record.header.synced) {
                    unproved.pop_front();
                }
                unproved.push_back((record.header.index, at.offset));
            }
            Step::Bad(reason) if was_durable(reader.window(), at.offset, end, at.index + 1)? => {
                return Err(reader.corrupt(reason)); // V1
            }
            Step::Bad(_) | Step::End => {
                return Ok(unproved.front().map_or(at.offset, |(_, offset)| *offset));
            }
        }
    }
}

/// Whether a sound header behind `start` says that entry `index` was durable before it (R3).
fn was_durable(window: &mut Window, start: u64, end: u64, index: u64) -> Result<bool, LogError> {
    let mut offset = start;
    while offset + HEADER_BYTES as u64 <= end {
        match Header::parse(window.bytes(offset, HEADER_BYTES, end)?) {
            Ok(header) if header.synced >= index => return Ok(true),
            // A header of another kind was written, not torn: the safe side is to refuse.
            Err(sheepdog_proto::wire::WireError::Version(_)) => return Ok(true),
            Ok(_) | Err(_) => offset += ALIGN_BYTES as u64,
        }
    }
    Ok(false)
}

/// Writes the bytes of `from .. to` over themselves and makes them durable (V2).
fn rewrite(file: &File, from: u64, to: u64) -> std::io::Result<()> {
    let mut chunk = vec![0_u8; 256 << 10];
    let mut offset = from;
    while offset < to {
        let count = chunk.len().min((to - offset) as usize);
        file.read_exact_at(&mut chunk[..count], offset)?;
        file.write_all_at(&chunk[..count], offset)?;
        offset += count as u64;
    }
    file.sync_all()
}

#[cfg(test)]
#[path = "recovery/tests.rs"]
mod tests;
