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
    /// It was said to exist.
    #[error("object {0} does not exist here")]
    Missing(Oid),
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
    /// A metadata page is in neither copy what it should be: what is known of its blocks is lost.
    #[error("metadata page {page} of object {oid}: first copy: {first}; second copy: {second}")]
    Page {
        /// The object.
        oid: Oid,
        /// Page number inside the object.
        page: u32,
        /// What the check of the first copy said.
        first: WireError,
        /// What the check of the second copy said.
        second: WireError,
    },
    /// The disk could not read a metadata page.
    #[error("metadata page {page} of object {oid} cannot be read")]
    Unreadable {
        /// The object.
        oid: Oid,
        /// Page number inside the object.
        page: u32,
    },
    /// An index page is in neither copy what it should be.
    #[error("index page {page}: first copy: {first}; second copy: {second}")]
    Index {
        /// Page number.
        page: u32,
        /// What the check of the first copy said.
        first: WireError,
        /// What the check of the second copy said.
        second: WireError,
    },
    /// No checkpoint is whole.
    #[error("checkpoint: first file: {first}; second file: {second}")]
    Checkpoint {
        /// What the check of the first file said.
        first: WireError,
        /// What the check of the second file said.
        second: WireError,
    },
    /// There are files of a store, but its superblock is gone.
    #[error("the store is gone, or part of it: there is no superblock")]
    NoSuperblock,
    /// The store belongs to another sheep, or another shard.
    #[error("the store belongs to shard {shard} of sheep {node:032x}")]
    OtherOwner {
        /// The sheep whose store it is.
        node: u128,
        /// The shard of that sheep.
        shard: u16,
    },
    /// A segment of the log is missing or unreadable.
    #[error("log segment {segment}: {why}")]
    Segment {
        /// Its number; zero if that is unreadable, too.
        segment: u32,
        /// What its check said.
        why: WireError,
    },
    /// A file of the log is missing between others. What was in it is unknown: a file that was
    /// not in use, or the newest part of the log. Put it back.
    #[error("the file {path} of the log is gone")]
    LogFile {
        /// Inside the store's directory.
        path: String,
    },
    /// A batch is bad although a later one follows, so it is no torn tail (ST4).
    #[error("log segment {segment}: bad batch at byte {offset} before a good one at {later}")]
    Batch {
        /// The segment's number.
        segment: u32,
        /// Where the bad batch begins.
        offset: u64,
        /// Where the good one begins.
        later: u64,
    },
    /// A batch passes its checksums but makes no sense, or does not follow the one before.
    #[error("log segment {segment}, batch at byte {offset}: {why}")]
    Records {
        /// The segment's number.
        segment: u32,
        /// Where the batch begins.
        offset: u64,
        /// What is wrong.
        why: WireError,
    },
    /// A file that has its contents twice has no good copy.
    #[error("{path}: first copy: {first}; second copy: {second}")]
    Copies {
        /// The file's name.
        path: &'static str,
        /// What the check of the first copy said.
        first: WireError,
        /// What the check of the second copy said.
        second: WireError,
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
