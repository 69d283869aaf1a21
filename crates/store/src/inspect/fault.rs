//! Faults: what is wrong with a store, where, and what to do about it.
//!
//! Holds: IF1 whatever stops `Store::open`, or a read, has a fault that is not harmless here.

use std::fmt;

use sheepdog_proto::Oid;
use sheepdog_proto::wire::WireError;

use crate::disk::DiskError;

/// A byte of a file, whose path begins at the store's directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Its byte.
    pub offset: u64,
}

impl Place {
    pub(super) fn new(file: &str, offset: u64) -> Self {
        Self { file: file.to_owned(), offset }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.file, self.offset)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where the bad bytes begin.
    pub place: Place,
    /// What is wrong.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)
    }
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// The kernel could not read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A file or directory of the store is not there.
    #[error("is missing")]
    Missing,
    /// One copy of the superblock is bad.
    #[error("copy {copy} of the superblock: {why}")]
    SuperblockCopy {
        /// Which, from zero.
        copy: usize,
        /// What its check said.
        why: WireError,
    },
    /// No copy of the superblock is whole.
    #[error(
        "no copy of the superblock is whole{}",
        if *is_guessed { "; its numbers fit the rest of the store" } else { "" }
    )]
    Superblock {
        /// Whether the salt in it was right all the same, so that the rest can be read.
        is_guessed: bool,
    },
    /// One of the two checkpoints is not whole; the other is used.
    #[error("checkpoint: {why}")]
    Checkpoint {
        /// What its check said.
        why: WireError,
    },
    /// No checkpoint is whole.
    #[error("no checkpoint is whole; the newest whole index pages were taken instead")]
    NoCheckpoint,
    /// No copy of an index page is the one that the checkpoint names.
    #[error(
        "index page {page}: first copy: {first}; second copy: {second}; {rescued} of its slots \
         are right all the same"
    )]
    IndexPage {
        /// Its number.
        page: u32,
        /// What the check of the first copy said.
        first: WireError,
        /// What the check of the second copy said.
        second: WireError,
        /// Slots that their metadata pages prove to be right.
        rescued: usize,
    },
    /// Two slots describe the same part of an object, or do not fit together.
    #[error("slot {slot} of the index contradicts another one of object {oid}")]
    Slot {
        /// Its number.
        slot: u32,
        /// The object.
        oid: Oid,
    },
    /// No copy of a metadata page is the one that the index names.
    #[error("metadata page {page} of object {oid}: first copy: {first}; second copy: {second}")]
    MetaPage {
        /// The object.
        oid: Oid,
        /// The number of the page in the object: it describes the blocks from 256 times this.
        page: u32,
        /// What the check of the first copy said.
        first: WireError,
        /// What the check of the second copy said.
        second: WireError,
    },
    /// A metadata page has more or fewer blocks than the index says.
    #[error("metadata page {page} of object {oid} has {have} blocks, the index says {want}")]
    Count {
        /// The object.
        oid: Oid,
        /// The page.
        page: u32,
        /// Blocks that it has.
        have: u32,
        /// Blocks that it should have.
        want: u32,
    },
    /// One of the two headers of a segment is bad.
    #[error("log segment {segment}: copy of its header: {why}")]
    SegmentCopy {
        /// The segment.
        segment: u32,
        /// What its check said.
        why: WireError,
    },
    /// Both headers of a segment are bad; it is known by its batches.
    #[error("log segment {segment} has no header")]
    SegmentHeader {
        /// The segment.
        segment: u32,
    },
    /// Two files are the same segment.
    #[error("log segment {segment} is in two files")]
    SegmentTwice {
        /// The segment.
        segment: u32,
    },
    /// Segments are missing although the log goes on behind them.
    #[error("log segments from {first} to {last} are gone")]
    SegmentGone {
        /// The first of them.
        first: u32,
        /// The last of them.
        last: u32,
    },
    /// A batch is bad, and the log goes on behind it.
    #[error("log segment {segment}, batch {number}: {why}; {} lost", counted(*lost))]
    Batch {
        /// The segment.
        segment: u32,
        /// The batch's number in its segment.
        number: u64,
        /// Batches of which nothing is known.
        lost: u64,
        /// What is wrong with the first of them.
        why: WireError,
    },
    /// A block in a batch is bad, and the log goes on behind the batch.
    #[error("log segment {segment}, batch {number}: block {block} of object {oid} is bad")]
    BatchBlock {
        /// The segment.
        segment: u32,
        /// The batch's number in its segment.
        number: u64,
        /// The object.
        oid: Oid,
        /// The block.
        block: u32,
    },
    /// The bytes of a block do not match its checksum.
    #[error("block {block} of object {oid} does not match its checksum")]
    Block {
        /// The object.
        oid: Oid,
        /// The block.
        block: u32,
    },
    /// A block has a checksum, but nothing says where it is.
    #[error("block {block} of object {oid} has no place in a slab")]
    NoPlace {
        /// The object.
        oid: Oid,
        /// The block.
        block: u32,
    },
    /// Two objects, or two parts of one, have the same space.
    #[error("unit {unit} belongs to object {oid} and to object {other}")]
    UnitTwice {
        /// The unit.
        unit: u32,
        /// One of them.
        oid: Oid,
        /// The other.
        other: Oid,
    },
}

fn counted(batches: u64) -> String {
    if batches == 1 { "1 batch is".to_owned() } else { format!("{batches} batches are") }
}

/// What to do where a sheep refuses the whole store.
const REFUSED: &str = "a sheep refuses this store; extract here what has no copy elsewhere, then \
    move the sheep's directory away and start it with an empty one, so that the cluster makes its \
    copies anew";
/// What to do where a part of the store is lost and the rest is fine.
const PART_LOST: &str = "a sheep starts with this store, but cannot read these blocks; the \
    sheep that have other copies can";

impl FaultKind {
    /// Whether a sheep starts and reads everything in spite of it.
    #[must_use]
    pub const fn is_harmless(&self) -> bool {
        matches!(self, Self::Checkpoint { .. } | Self::SegmentCopy { .. })
    }

    /// What a person should do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => {
                "if the disk is dying, copy it with a program that goes on after errors, and \
                 inspect the copy; if it is a matter of permissions, be another user"
            }
            Self::SuperblockCopy { .. } => {
                "a sheep starts and writes this copy anew; look whether the disk reports errors"
            }
            Self::Checkpoint { .. } => {
                "a crash during a checkpoint leaves this behind, and the next one writes the file \
                 anew; if there was no crash, look whether the disk reports errors"
            }
            Self::SegmentCopy { .. } => {
                "the other copy of the header is whole; a crash in an append can leave this behind"
            }
            Self::MetaPage { .. } | Self::Block { .. } | Self::NoPlace { .. } => PART_LOST,
            Self::Count { .. } => {
                "the page is whole, so its blocks can be read; this is a fault of the program: \
                 keep the directory and report it"
            }
            Self::Slot { .. } | Self::UnitTwice { .. } => {
                "this is a fault of the program, not of the disk: stop the sheep, keep the \
                 directory and report it"
            }
            Self::Missing
            | Self::Superblock { .. }
            | Self::NoCheckpoint
            | Self::IndexPage { .. }
            | Self::SegmentHeader { .. }
            | Self::SegmentTwice { .. }
            | Self::SegmentGone { .. }
            | Self::Batch { .. }
            | Self::BatchBlock { .. } => REFUSED,
        }
    }
}

impl Fault {
    pub(super) fn new(file: &str, offset: u64, kind: FaultKind) -> Self {
        Self { place: Place::new(file, offset), kind }
    }

    /// The kernel's word about a read.
    pub(super) fn of_disk(file: &str, offset: u64, error: &DiskError) -> Self {
        let kind = match error {
            DiskError::NotFound { .. } => FaultKind::Missing,
            DiskError::Full { .. } => FaultKind::Unreadable("no space left".to_owned()),
            DiskError::Io { source, .. } => FaultKind::Unreadable(source.to_string()),
        };
        Self::new(file, offset, kind)
    }
}
