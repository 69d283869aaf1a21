//! Reader: records of the log file, one after the other, each checked.
//!
//! Why: every member reads the shared file itself, so the server tells only how far the log is
//!      durable, and no member depends on another one's memory.
//! Way: `driver` and `delivery` call [`LogReader::next`] up to a durable position; `recovery`
//!      calls [`LogReader::step`] up to the end of the file.
//! Holds:
//!   D1 `next` never goes beyond the durable position it is given, and before it accepts no
//!      flaw at all.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sheepdog_proto::LogIndex;
use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;

use super::record::{HEADER_BYTES, Header};
use super::trail::{Position, Trail};
use crate::{Entry, LogError};

const READ_AHEAD_BYTES: usize = 256 << 10;

/// A record that passed every check.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub header: Header,
    pub payload: Arc<[u8]>,
}

impl Record {
    pub(super) fn entry(self) -> Entry {
        let Header { index, session, .. } = self.header;
        Entry { index: LogIndex(index), session, payload: self.payload }
    }
}

/// What stands at a position.
#[derive(Debug)]
pub(super) enum Step {
    Record(Record),
    End,
    /// Bytes that are no record, as a crash or damage leaves them.
    Bad(&'static str),
}

/// A window on a file, read ahead.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<File>,
    path: PathBuf,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    pub(super) fn new(file: Arc<File>, path: &Path) -> Self {
        Self { file, path: path.to_owned(), start: 0, bytes: Vec::new() }
    }

    /// The bytes from `offset` on: `count` of them, or fewer if the file ends at `end`.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` if the file ends before `end`.
    pub(super) fn bytes(&mut self, offset: u64, count: usize, end: u64) -> Result<&[u8], LogError> {
        let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = count.min(left);
        let held =
            offset >= self.start && offset + count as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            self.fill(offset, count.max(READ_AHEAD_BYTES).min(left))?;
        }
        let skip = (offset - self.start) as usize;
        Ok(&self.bytes[skip..skip + count])
    }

    fn fill(&mut self, offset: u64, count: usize) -> Result<(), LogError> {
        self.start = offset;
        self.bytes.resize(count, 0);
        match self.file.read_exact_at(&mut self.bytes, offset) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.bytes.clear();
                if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    let reason = "the file is shorter than what was durable";
                    return Err(LogError::Corrupt { path: self.path.clone(), offset, reason });
                }
                Err(LogError::io(&self.path, error))
            }
        }
    }
}

/// Reads the log from its first record, or from where another reader stood.
#[derive(Debug)]
pub(super) struct LogReader {
    window: Window,
    trail: Trail,
}

impl LogReader {
    pub(super) fn new(file: Arc<File>, path: &Path, trail: Trail) -> Self {
        Self { window: Window::new(file, path), trail }
    }

    pub(super) const fn trail(&self) -> &Trail {
        &self.trail
    }

    pub(super) const fn window(&mut self) -> &mut Window {
        &mut self.window
    }

    pub(super) fn into_trail(self) -> Trail {
        self.trail
    }

    /// The next record before the durable position `end`; `None` when that is reached.
    ///
    /// # Errors
    /// `Truncated` if `end` lies behind what was read, `Corrupt` for any flaw before it (D1),
    /// `Version`, `Io`. The reader cannot be used after an error.
    pub(super) fn next(&mut self, end: Position) -> Result<Option<Record>, LogError> {
        let at = self.trail.position;
        if end.index < at.index {
            return Err(LogError::Truncated {
                have: LogIndex(end.index),
                want: LogIndex(at.index),
            });
        }
        if end.index == at.index || end.offset <= at.offset {
            let reason = "the log is not the one that was read before";
            return if end == at { Ok(None) } else { Err(self.corrupt(reason)) };
        }
        match self.step(end.offset)? {
            Step::Record(record) => Ok(Some(record)),
            Step::End => Err(self.corrupt("the log ends before what was durable")),
            Step::Bad(reason) => Err(self.corrupt(reason)),
        }
    }

    /// What stands at the position, in a file that ends at byte `end`.
    ///
    /// # Errors
    /// `Corrupt` for a sound record that does not belong here, `Version`, `Io`.
    pub(super) fn step(&mut self, end: u64) -> Result<Step, LogError> {
        let at = self.trail.position.offset;
        let bytes = self.window.bytes(at, HEADER_BYTES, end)?;
        if bytes.is_empty() {
            return Ok(Step::End);
        }
        let header = match Header::parse(bytes) {
            Ok(header) => header,
            Err(WireError::Short) => return Ok(Step::Bad("a record header is cut off")),
            Err(WireError::Checksum(_)) => return Ok(Step::Bad("a record header is damaged")),
            Err(WireError::Version(version)) => {
                let what = self.window.path.display().to_string();
                return Err(LogError::Version { what, version });
            }
            Err(WireError::Invalid(reason)) => return Err(self.corrupt(reason)),
        };
        let padded = header.padded_bytes();
        let body = self.window.bytes(at + HEADER_BYTES as u64, padded, end)?;
        if body.len() < padded {
            return Ok(Step::Bad("a record body is cut off"));
        }
        if checksum(body) != header.body_checksum {
            return Ok(Step::Bad("a record body is damaged"));
        }
        let (payload, padding) = body.split_at(header.body_bytes as usize);
        if padding.iter().any(|byte| *byte != 0) {
            return Err(self.corrupt("the padding of a record is not zero"));
        }
        let payload = Arc::from(payload);
        self.trail.accept(&header).map_err(|reason| self.corrupt(reason))?;
        Ok(Step::Record(Record { header, payload }))
    }

    pub(super) fn corrupt(&self, reason: &'static str) -> LogError {
        let offset = self.trail.position.offset;
        LogError::Corrupt { path: self.window.path.clone(), offset, reason }
    }
}
