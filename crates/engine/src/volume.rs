//! What a face may ask of a VDI, and what it may be told: plain data, no channels.
//!
//! Why: every face (legacy, NBD, admin) speaks these words, so the gateway has one path.
//! Holds:
//!   V1 an answer to `Write`, `Zero` or `WriteMap` means: durable on every in-sync copy;
//!   V2 `Read` returns exactly the bytes asked for, every block's checksum verified.

use std::fmt;

use sheepdog_proto::{NodeId, Payload};

/// One operation on an attached VDI. Offsets and lengths are bytes from the VDI's start.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Bytes; never-written ranges read as zeros.
    Read {
        /// First byte.
        offset: u64,
        /// How many; at most one object size times 16.
        len: u32,
    },
    /// Replaces bytes.
    Write {
        /// First byte.
        offset: u64,
        /// The bytes.
        data: Payload,
    },
    /// The range reads as zeros afterwards.
    Zero {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
        /// Only whole blocks matter (discard); otherwise partial blocks are zeroed exactly.
        discard: bool,
    },
    /// Everything acknowledged before is durable (it already was).
    Flush,
    /// Which parts are allocated, by whole objects.
    Status {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Bytes of the legacy map: one little-endian u32 for each of the first 2^20 objects, own
    /// vid where the object is allocated.
    ReadMap {
        /// First byte inside the map.
        offset: u32,
        /// How many.
        len: u32,
    },
    /// A legacy client's write into the map: a hint. Own vid where allocated and unchanged
    /// values do nothing; a write of nothing but zeros discards; another vid is refused.
    WriteMap {
        /// First byte inside the map, a multiple of 4.
        offset: u32,
        /// The bytes, a multiple of 4.
        data: Payload,
    },
}

/// One run of a VDI with one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes.
    pub len: u64,
    /// False: reads as zeros and uses no space.
    pub allocated: bool,
}

/// The successful end of an [`Operation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Done,
    /// Bytes read.
    Data(Payload),
    /// Runs covering the range asked for, in order.
    Extents(Vec<Extent>),
}

/// Why an operation or an attach was refused. Waiting is never a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such VDI (or it was deleted meanwhile).
    NoVdi,
    /// Another sheep owns the attachment.
    Locked {
        /// Who.
        node: NodeId,
        /// Its admin address.
        address: String,
        /// Since when, nanoseconds since 1970.
        since_ns: u64,
    },
    /// The range or the bytes make no sense.
    Invalid(&'static str),
    /// This sheep no longer owns the attachment.
    Fenced,
    /// No copy with a right checksum, or the disk failed.
    Io(String),
    /// No room for an allocating write.
    NoSpace,
    /// The cluster is not formatted yet.
    NotFormatted,
    /// This sheep is stopping.
    Stopping,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVdi => f.write_str("no such VDI"),
            Self::Locked { node, address, .. } => {
                write!(f, "the VDI is locked: node {node} ({address}) has it open")
            }
            Self::Invalid(what) => write!(f, "invalid request: {what}"),
            Self::Fenced => f.write_str("another sheep has taken over this VDI"),
            Self::Io(what) => write!(f, "I/O error: {what}"),
            Self::NoSpace => f.write_str("no space left for new objects"),
            Self::NotFormatted => f.write_str("the cluster is not formatted"),
            Self::Stopping => f.write_str("this sheep is stopping"),
        }
    }
}

impl std::error::Error for Refusal {}
