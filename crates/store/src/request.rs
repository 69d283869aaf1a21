//! Requests and replies: the seam that outlives the store's inside.
//!
//! Holds:
//!   R1 the unit is the whole 4 KiB block; a request names blocks, never bytes;
//!   R2 a change carries its stamp and the view under which it was sent.
//! Not here: who may ask (engine), bytes on a wire (proto).

use sheepdog_proto::{Generation, Oid, Payload, Stamp, Vid, View};

use crate::error::Corruption;

/// One thing to do. Changes of one batch become durable together, in one commit.
#[derive(Clone, Debug)]
pub enum Request {
    /// Stores whole blocks. Each block is applied if `stamp` is newer than the stored one and
    /// not older than the object's base; otherwise it is ignored, which is also a success.
    Write {
        /// The object; it is made if it does not exist.
        oid: Oid,
        /// Size of the object: 2^shift bytes, 20 ..= 26.
        object_shift: u8,
        /// Where the data begin.
        first_block: u32,
        /// Order of this change.
        stamp: Stamp,
        /// View under which it was sent.
        view: View,
        /// `block_checksum` of each block; verified before anything is applied.
        checksums: Vec<u32>,
        /// 4096 bytes for each checksum.
        data: Payload,
    },
    /// Makes blocks read as zeros, and stamps them. Applied by the same rule as a write.
    Hole {
        /// The object; it is made if it does not exist.
        oid: Oid,
        /// Size of the object: 2^shift bytes, 20 ..= 26.
        object_shift: u8,
        /// The first block.
        first_block: u32,
        /// Blocks.
        count: u32,
        /// Order of this change.
        stamp: Stamp,
        /// View under which it was sent.
        view: View,
    },
    /// Forgets every block older than `stamp` and raises the object's base to it. An object of
    /// which nothing is left is gone; its base is remembered as long as the reset is unstable,
    /// and at least to the next checkpoint.
    Reset {
        /// The object; it need not exist.
        oid: Oid,
        /// Order of this change.
        stamp: Stamp,
        /// View under which it was sent.
        view: View,
    },
    /// Blocks with their stamps. Answered with [`Reply::Read`].
    Read {
        /// The object; one that does not exist reads as absent blocks.
        oid: Oid,
        /// The first block.
        first_block: u32,
        /// Blocks, at most those of the largest object (16,384).
        count: u32,
    },
    /// As `Read` without the bytes. Answered with [`Reply::Stamps`].
    Stamps {
        /// The object.
        oid: Oid,
        /// The first block.
        first_block: u32,
        /// Blocks, at most those of the largest object (16,384).
        count: u32,
    },
    /// Objects in the order of their ids. Answered with [`Reply::List`].
    List {
        /// The listing begins with the first oid above this one.
        after: Option<Oid>,
        /// Objects in the answer, at most; zero counts as one.
        limit: usize,
    },
    /// The changes of a VDI that are not known to be everywhere. Answered with
    /// [`Reply::Unstable`].
    Unstable {
        /// The VDI.
        vid: Vid,
    },
    /// Changes of `stable`'s generation up to it are everywhere: they leave the unstable list.
    /// Not durable by itself: after a crash older changes may be listed again.
    Watermark {
        /// The VDI.
        vid: Vid,
        /// The newest change below which every one of its generation is everywhere.
        stable: Stamp,
    },
    /// Changes of generations below `below` to these objects were reconciled: they leave the
    /// unstable list. Not durable by itself, as `Watermark`.
    Settle {
        /// The VDI.
        vid: Vid,
        /// The generation that reconciled.
        below: Generation,
        /// The objects.
        oids: Vec<Oid>,
    },
    /// The write, hole or reset inside is known to be everywhere: it does not come on the
    /// unstable list. For copies from another store.
    Settled(Box<Request>),
    /// The write or hole inside, unless the object does not exist: then it is refused with
    /// [`Refusal::Missing`](crate::Refusal::Missing).
    Existing(Box<Request>),
    /// Everything of a bucket goes, bases and unstable changes too, as if it had never been.
    /// Nothing that was asked about the bucket may be without its reply, and nothing may be
    /// asked about it before this has its own.
    Forget {
        /// See [`crate::bucket_of`].
        bucket: u8,
    },
    /// As `Unstable`, of all VDIs, but of one bucket only.
    UnstableIn {
        /// See [`crate::bucket_of`].
        bucket: u8,
    },
    /// As `Unstable`, of all VDIs.
    UnstableAll,
    /// As `Unstable`, of one object.
    UnstableOf {
        /// The object.
        oid: Oid,
    },
    /// Takes back changes that are on the unstable list: blocks that still have such a stamp become
    /// absent, an object that was reset is gone, and the list forgets the changes. The view of
    /// the object is zero afterwards: it lacks something. For copies that will be fetched anew.
    Undo {
        /// As the list has them.
        changes: Vec<Unstable>,
    },
    /// Objects go as if they had never been, but for those that were changed under a view that
    /// is not older than `before`.
    Drop {
        /// The objects.
        oids: Vec<Oid>,
        /// See [`ObjectSummary::modified`].
        before: View,
    },
    /// The object, if it exists, counts as changed under `view`, if that is newer.
    Raise {
        /// The object.
        oid: Oid,
        /// See [`ObjectSummary::modified`].
        view: View,
    },
}

impl Request {
    /// The one object that it is about, if it is about one.
    #[must_use]
    pub fn oid(&self) -> Option<Oid> {
        match self {
            Self::Settled(inner) | Self::Existing(inner) => inner.oid(),
            Self::Write { oid, .. }
            | Self::Hole { oid, .. }
            | Self::Reset { oid, .. }
            | Self::Read { oid, .. }
            | Self::Stamps { oid, .. }
            | Self::Raise { oid, .. }
            | Self::UnstableOf { oid } => Some(*oid),
            Self::List { .. }
            | Self::Unstable { .. }
            | Self::Watermark { .. }
            | Self::Settle { .. }
            | Self::Forget { .. }
            | Self::UnstableIn { .. }
            | Self::UnstableAll
            | Self::Undo { .. }
            | Self::Drop { .. } => None,
        }
    }
}

/// What a request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The change is durable, as are all changes that made it a duplicate.
    Done {
        /// Blocks that changed; for a reset, blocks that are gone. Zero if all were newer.
        blocks: u32,
    },
    /// Answer to `Read`.
    Read(ReadReply),
    /// Answer to `Stamps`.
    Stamps {
        /// The object's base stamp.
        base: Stamp,
        /// One for each block asked for.
        blocks: Vec<Block>,
    },
    /// Answer to `List`.
    List(Listing),
    /// Answer to `Unstable`, in the order of stamps.
    Unstable(Vec<Unstable>),
}

/// Verified blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadReply {
    /// The object's base stamp.
    pub base: Stamp,
    /// One for each block asked for.
    pub blocks: Vec<Block>,
    /// 4096 bytes for each block; zeros where it is absent or a hole.
    pub data: Payload,
}

/// What is known of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Stamp of the change that made it so; for an absent block the object's base stamp.
    pub stamp: Stamp,
    /// What it holds.
    pub state: BlockState,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Never written since the object's base.
    Absent,
    /// Zeros, by a `Hole`.
    Hole,
    /// Bytes.
    Data {
        /// Their `block_checksum`.
        checksum: u32,
    },
}

/// One change that is not known to be everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unstable {
    /// Its order.
    pub stamp: Stamp,
    /// The object.
    pub oid: Oid,
    /// First block that was applied; zero for a reset.
    pub first_block: u32,
    /// What it did.
    pub kind: UnstableKind,
    /// Blocks that were applied; zero for a reset.
    pub count: u32,
}

/// What an unstable change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnstableKind {
    /// Blocks were written.
    Write,
    /// Blocks were made holes.
    Hole,
    /// The whole object was reset.
    Reset,
}

/// A part of the list of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects with at least one block.
    pub objects: Vec<ObjectSummary>,
    /// Objects of which no or not all metadata could be read; they exist, but must be fetched.
    pub rotten: Vec<(Oid, Corruption)>,
    /// Continue after this oid; `None` at the end.
    pub next: Option<Oid>,
}

/// What a listing says of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectSummary {
    /// The object.
    pub oid: Oid,
    /// Size of the object: 2^shift bytes.
    pub object_shift: u8,
    /// Stamp of the last reset it has seen.
    pub base: Stamp,
    /// Newest view under which it was changed, or under which a duplicate arrived.
    pub modified: View,
    /// Blocks that are data or hole.
    pub blocks: u32,
}
