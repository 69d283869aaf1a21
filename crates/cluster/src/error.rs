//! Why the log refused or failed, by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sheepdog_proto::LogIndex;

/// An error of the coordination log.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A payload above the limit; nothing was done.
    #[error("an entry of {bytes} bytes is more than the log takes ({bytes_max})")]
    TooLarge {
        /// Bytes of the refused payload.
        bytes: usize,
        /// Bytes that an entry may have.
        bytes_max: usize,
    },
    /// Too much is waiting already; nothing was done. Try again later.
    #[error("too many appends are waiting for the coordination log")]
    Busy,
    /// The session was closed, or its driver is gone.
    #[error("this session on the coordination log is closed")]
    Closed,
    /// Another living process has this session.
    #[error("session {session:032x} is in use by another running process")]
    SessionInUse {
        /// The session that was to be opened.
        session: u128,
    },
    /// The others hold this session for ended. The process must start anew.
    #[error("session {session:032x} was declared ended while it lived")]
    SessionEnded {
        /// This session.
        session: u128,
    },
    /// The log lacks entries that are known to have been in it.
    #[error("the log ends at entry {have}, but entry {want} is known to exist")]
    Truncated {
        /// Last entry of the log as it is.
        have: LogIndex,
        /// An entry that must be there.
        want: LogIndex,
    },
    /// Stored bytes are damaged in a way that no crash explains. An operator must decide.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// Which rule is broken.
        reason: &'static str,
    },
    /// Written by a newer Sheepdog.
    #[error("{what} has version {version}, which this sheep does not know")]
    Version {
        /// A file or a protocol.
        what: String,
        /// The version found.
        version: u16,
    },
    /// Others may look into the directory.
    #[error(
        "{} is open to others (mode {mode:o}); use an empty directory or make it private (chmod 700)",
        path.display()
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: Arc<io::Error>,
    },
}

impl LogError {
    pub(crate) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.to_owned(), source: Arc::new(source.into()) }
    }
}
