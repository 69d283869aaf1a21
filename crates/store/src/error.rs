//! What can go wrong, sorted by what the caller can do about it.

use std::io;
use std::sync::Arc;

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{Oid, Stamp};

use crate::disk::DiskError;

/// Why a request, an open or a checkpoint did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space for what the request adds; nothing was changed and the store goes on.
    /// Free something, or write elsewhere.
    #[error("no space left on the disk")]
    Full,
    /// The request itself is wrong; nothing was changed.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Bytes on the disk are not what was written; read another copy.
    #[error("corrupt: {0}")]
    Corrupt(#[from] Corruption),
    /// The disk could not read; the store goes on.
    #[error("{operation} {path}: {message}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Inside the store's directory.
        path: String,
        /// For decisions.
        kind: io::ErrorKind,
        /// For people, from the operating system.
        message: String,
    },
    /// An earlier write or sync failed, so nobody knows what is on the disk (ST5). Every
    /// request is answered with this until the store is opened again.
    #[error("the store has stopped: {cause}")]
    Failed {
        /// The first error.
        cause: Arc<StoreError>,
    },
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full { .. } => Self::Full,
            DiskError::NotFound { operation, path } => Self::Io {
                operation,
                path,
                kind: io::ErrorKind::NotFound,
                message: "no such file or directory".to_owned(),
            },
            DiskError::Io { operation, path, source } => {
                Self::Io { operation, path, kind: source.kind(), message: source.to_string() }
            }
        }
    }
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Objects have 2^20 to 2^26 bytes.
    #[error("object size 2^{0} is not between 2^20 and 2^26")]
    Shift(u8),
    /// The object exists with another size.
    #[error("object {oid} has 2^{have} bytes, not 2^{want}")]
    ShiftMismatch {
        /// The object.
        oid: Oid,
        /// Its size on the disk.
        have: u8,
        /// The size that the request names.
        want: u8,
    },
    /// No blocks, or blocks beyond the end of the object.
    #[error("blocks {first_block}+{count} do not lie inside object {oid}")]
    Range {
        /// The object.
        oid: Oid,
        /// First block of the request.
        first_block: u32,
        /// Blocks of the request.
        count: u32,
    },
    /// Data and checksums do not describe the same number of whole blocks.
    #[error("{bytes} bytes of data come with {checksums} checksums")]
    Length {
        /// Bytes of data.
        bytes: usize,
        /// Checksums.
        checksums: usize,
    },
    /// The data do not match their checksum: they changed on the way here.
    #[error("block {block} of object {oid} does not match the checksum it came with")]
    Checksum {
        /// The object.
        oid: Oid,
        /// The first block that does not match.
        block: u32,
    },
    /// The zero stamp means "never written" and orders nothing.
    #[error("a change needs a stamp")]
    NoStamp,
}

/// What is wrong with the bytes on the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The bytes of a block do not match its checksum.
    #[error("block {block} of object {oid} does not match its checksum")]
    Block {
        /// The object.
        oid: Oid,
        /// Block number inside the object.
        block: u32,
    },
    /// A metadata page is unreadable: what is known of its blocks is lost.
    #[error("metadata page {page} of object {oid}: {why}")]
    Page {
        /// The object.
        oid: Oid,
        /// Page number inside the object.
        page: u32,
        /// What its check said.
        why: WireError,
    },
    /// An object file's header is unreadable.
    #[error("header of object {oid}: {why}")]
    Header {
        /// The object.
        oid: Oid,
        /// What its check said.
        why: WireError,
    },
    /// There are objects but no journal segment.
    #[error("there are objects, but the journal is gone")]
    NoJournal,
    /// There is a journal, but the directory of the objects is gone.
    #[error("there is a journal, but the objects are gone")]
    NoObjects,
    /// The header of the newest journal segment is unreadable.
    #[error("journal segment {segment:016x}: {why}")]
    Segment {
        /// The number in the file's name.
        segment: u64,
        /// What its check said.
        why: WireError,
    },
    /// A batch is bad although a later one follows, so it is no torn tail (ST4).
    #[error(
        "journal segment {segment:016x}: bad batch at byte {offset} before a good one at {later}"
    )]
    Batch {
        /// The number in the file's name.
        segment: u64,
        /// Where the bad batch begins.
        offset: u64,
        /// Where the good one begins.
        later: u64,
    },
    /// A batch passes its checksums but makes no sense, or does not follow the one before.
    #[error("journal segment {segment:016x}, batch at byte {offset}: {why}")]
    Records {
        /// The number in the file's name.
        segment: u64,
        /// Where the batch begins.
        offset: u64,
        /// What is wrong.
        why: WireError,
    },
    /// The superblock has no good copy.
    #[error("superblock: first copy: {first}; second copy: {second}")]
    Superblock {
        /// What the check of the first copy said.
        first: WireError,
        /// What the check of the second copy said.
        second: WireError,
    },
}

impl StoreError {
    /// Whether the store has stopped for good (ST5).
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// Refuses the zero stamp.
pub(crate) fn check_stamp(stamp: Stamp) -> Result<(), Refusal> {
    if stamp == Stamp::NONE { Err(Refusal::NoStamp) } else { Ok(()) }
}
