//! Writer: the only place that adds to the log file.
//!
//! Holds:
//!   A1 the writer owns the server's lock, so the lock is not free while a write is under way;
//!   A2 after a failed write or sync the writer is of no use any more: only a new take-over,
//!      which writes the doubtful records again, may continue (recovery, V2).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::directory::ServerLock;
use super::record::{Place, Token, emit};
use super::trail::Position;
use crate::LogError;

/// An entry that has no place yet.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub session: u128,
    pub token: Token,
    pub payload: Arc<[u8]>,
}

/// Appends batches of entries.
#[derive(Debug)]
pub(super) struct LogWriter {
    file: Arc<File>,
    path: PathBuf,
    /// Where the next record begins; everything before is durable.
    position: Position,
    failed: bool,
    _lock: ServerLock, // A1
}

impl LogWriter {
    pub(super) const fn new(
        file: Arc<File>,
        path: PathBuf,
        lock: ServerLock,
        position: Position,
    ) -> Self {
        Self { file, path, position, failed: false, _lock: lock }
    }

    /// Appends the drafts in order. On return all of them are durable.
    ///
    /// # Errors
    /// `Io`: some, all or none of them may be in the file; nobody may be told of any.
    pub(super) fn append<'a>(
        &mut self,
        drafts: impl Iterator<Item = &'a Draft>,
    ) -> Result<Position, LogError> {
        assert!(!self.failed, "A2: a log writer was used after it failed");
        let mut bytes = Vec::new();
        let mut next = self.position;
        for draft in drafts {
            next.index += 1;
            let place =
                Place { index: next.index, synced: self.position.index, previous: next.chain };
            next.chain = emit(&mut bytes, place, draft.session, draft.token, &draft.payload);
        }
        if bytes.is_empty() {
            return Ok(next);
        }
        next.offset += bytes.len() as u64;
        self.failed = true;
        let written = self.file.write_all_at(&bytes, self.position.offset);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|error| LogError::io(&self.path, error))?;
        self.failed = false;
        self.position = next;
        Ok(next)
    }
}
