//! Typed requests and replies, and their metadata bytes.

use super::header::{BLOCKS_MAX, Header, LIST_MAX};
use super::pull::{self, Listing, Pulled};
use crate::block::checksum;
use crate::wire::{Reader, WireError, Writer};
use crate::{BLOCK_BYTES, Generation, Oid, Partition, Payload, PolicyId, Stamp, Vid, View};

const WRITE: u8 = 1;
const HOLE: u8 = 2;
const RESET: u8 = 3;
const READ: u8 = 4;
const BARRIER: u8 = 5;
const SETTLE: u8 = 6;
const WATERMARK: u8 = 7;
const LIST: u8 = 8;
const PULL: u8 = 9;
const COMPARE: u8 = 10;
const PING: u8 = 11;
const HEAL: u8 = 12;
const LOOK: u8 = 13;
const REPLY: u8 = 0x80;

/// A request of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Echoed in the reply.
    pub id: u64,
    /// The VDI.
    pub vid: Vid,
    /// Fencing number of the attachment.
    pub generation: Generation,
    /// View of the object's group; zero where there is no object.
    pub view: View,
    /// Stable watermark of the attachment.
    pub stable: Stamp,
    /// What to do.
    pub body: RequestBody,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// Whole blocks; done means durable.
    Write {
        /// Object.
        oid: Oid,
        /// Its size is 2^this.
        object_shift: u8,
        /// First block.
        first_block: u32,
        /// Order of the write.
        stamp: Stamp,
        /// An in-sync member that does not have the object refuses ([`PeerError::Missing`]).
        must_exist: bool,
        /// Checksum of each block, made by the gateway.
        checksums: Vec<u32>,
        /// The blocks.
        data: Payload,
    },
    /// Blocks that read as zeros from now on; done means durable.
    Hole {
        /// Object.
        oid: Oid,
        /// Its size is 2^this.
        object_shift: u8,
        /// First block.
        first_block: u32,
        /// How many.
        count: u32,
        /// Order of the write.
        stamp: Stamp,
        /// As in `Write`.
        must_exist: bool,
    },
    /// Everything older than `stamp` is gone from the object; done means durable.
    Reset {
        /// Object.
        oid: Oid,
        /// Order of the reset.
        stamp: Stamp,
    },
    /// Blocks with stamps and checksums.
    Read {
        /// Object.
        oid: Oid,
        /// First block.
        first_block: u32,
        /// How many, at most [`BLOCKS_MAX`].
        count: u32,
    },
    /// Answered once the log is applied up to `index` and older operations on the VDI have ended.
    Barrier {
        /// The log entry of the attachment.
        index: u64,
    },
    /// Operations of older generations on these objects are settled everywhere.
    Settle {
        /// The objects.
        oids: Vec<Oid>,
    },
    /// Carries the watermark of an idle attachment; not answered.
    Watermark,
    /// Objects of some groups, for a member that joins them. Answered by an in-sync member once
    /// the log is applied up to `index`.
    List {
        /// The log entry since which the caller takes every change.
        index: u64,
        /// Class of the groups.
        policy: PolicyId,
        /// The listing begins with the first oid above this one.
        after: Option<Oid>,
        /// Which groups.
        partitions: Vec<Partition>,
    },
    /// Blocks as an in-sync member has them, for a member that joins the object's group.
    Pull {
        /// As in `List`.
        index: u64,
        /// Object.
        oid: Oid,
        /// First block.
        first_block: u32,
        /// How many, at most [`BLOCKS_MAX`].
        count: u32,
        /// Otherwise only stamps and checksums.
        with_data: bool,
    },
    /// Asks for a sign of life, which the thread itself gives.
    Ping,
    /// Asks the owner of a VDI to write blocks anew, because a copy of them is bad.
    Heal {
        /// Object.
        oid: Oid,
        /// First block.
        first_block: u32,
        /// How many, at most [`BLOCKS_MAX`].
        count: u32,
    },
    /// Asks a member to look at its copy of an object: it seems to lack a change.
    Look {
        /// Object.
        oid: Oid,
    },
}

/// State of one block on a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// Never written, or reset.
    Absent,
    /// Written as zeros.
    Hole,
    /// Bytes follow.
    Data,
}

/// One block of a read reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    /// Order of its last write.
    pub stamp: Stamp,
    /// Of its bytes, if there are any.
    pub checksum: u32,
    /// Whether there are any.
    pub state: BlockState,
}

/// Kind of an unstable operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnstableKind {
    /// `Write` or `Hole` of the blocks.
    Blocks,
    /// `Reset` of the object.
    Reset,
}

/// An operation that may not have reached the whole write set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unstable {
    /// Object.
    pub oid: Oid,
    /// First block.
    pub first_block: u32,
    /// Blocks.
    pub count: u32,
    /// Its order.
    pub stamp: Stamp,
    /// What it was.
    pub kind: UnstableKind,
}

/// Why a replica refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// A newer attachment exists (FENCE).
    StaleGeneration,
    /// The group has a newer view, this one (VIEW).
    StaleView(View),
    /// The replica is not in sync for this group, by its own state.
    NotInSync,
    /// A block's bytes do not match its checksum.
    Corrupt,
    /// No room for new blocks.
    Full,
    /// The request makes no sense.
    Invalid,
    /// The replica is in sync and does not have the object, which was said to exist.
    Missing,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Of the request.
    pub id: u64,
    /// How it ended.
    pub result: Result<ReplyBody, PeerError>,
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// Done; a mutation is durable.
    Done,
    /// Blocks: metadata of each, and the bytes of those that have data, in order.
    Blocks {
        /// One for each block asked for.
        blocks: Vec<BlockMeta>,
        /// 4 KiB for each block in state `Data`.
        data: Payload,
    },
    /// What the replica holds that may not be everywhere.
    Unstable(Vec<Unstable>),
    /// A part of the objects of some groups.
    Listing(Listing),
    /// Blocks of one object.
    Pulled(Pulled),
}

impl Request {
    /// Header and metadata to send; the payload, if any, follows them.
    #[must_use]
    pub fn emit(&self) -> (Vec<u8>, Option<&Payload>) {
        let mut header = Header {
            id: self.id,
            oid: Oid::map(self.vid, 0).get(),
            generation: self.generation,
            view: self.view,
            stable: self.stable,
            ..Header::default()
        };
        let mut meta = Writer::new();
        let mut payload = None;
        match &self.body {
            RequestBody::Write {
                oid,
                object_shift,
                first_block,
                stamp,
                must_exist,
                checksums,
                data,
            } => {
                header.kind = WRITE;
                header.must_exist = *must_exist;
                header.oid = oid.get();
                (header.object_shift, header.stamp) = (*object_shift, *stamp);
                (header.first_block, header.count) = (*first_block, checksums.len() as u32);
                for sum in checksums {
                    meta.u32(*sum);
                }
                payload = Some(data);
            }
            RequestBody::Hole { oid, object_shift, first_block, count, stamp, must_exist } => {
                header.kind = HOLE;
                header.must_exist = *must_exist;
                header.oid = oid.get();
                header.object_shift = *object_shift;
                (header.first_block, header.count) = (*first_block, *count);
                header.stamp = *stamp;
            }
            RequestBody::Reset { oid, stamp } => {
                (header.kind, header.oid, header.stamp) = (RESET, oid.get(), *stamp);
            }
            RequestBody::Read { oid, first_block, count }
            | RequestBody::Heal { oid, first_block, count } => {
                let is_read = matches!(self.body, RequestBody::Read { .. });
                (header.kind, header.oid) = (if is_read { READ } else { HEAL }, oid.get());
                (header.first_block, header.count) = (*first_block, *count);
            }
            RequestBody::Look { oid } => (header.kind, header.oid) = (LOOK, oid.get()),
            RequestBody::Barrier { index } => (header.kind, header.view) = (BARRIER, View(*index)),
            RequestBody::Settle { oids } => {
                (header.kind, header.count) = (SETTLE, oids.len() as u32);
                put_oids(&mut meta, oids);
            }
            RequestBody::Watermark => header.kind = WATERMARK,
            RequestBody::Ping => header.kind = PING,
            RequestBody::List { index, policy, after, partitions } => {
                (header.kind, header.view) = (LIST, View(*index));
                header.count = partitions.len() as u32;
                pull::put_groups(&mut meta, *policy, *after, partitions);
            }
            RequestBody::Pull { index, oid, first_block, count, with_data } => {
                header.kind = if *with_data { PULL } else { COMPARE };
                (header.view, header.oid) = (View(*index), oid.get());
                (header.first_block, header.count) = (*first_block, *count);
            }
        }
        (emit(header, meta, payload), payload)
    }

    /// Puts a received request together.
    ///
    /// # Errors
    /// If the parts contradict each other; the connection must be closed.
    pub fn assemble(header: &Header, meta: &[u8], data: Payload) -> Result<Self, WireError> {
        check_meta(header, meta)?;
        let mut r = Reader::new(meta);
        let first_block = header.first_block;
        let blocks = || check_blocks(header);
        let body = match header.kind {
            WRITE => {
                blocks()?;
                let count = header.count as usize;
                if data.len() != count * BLOCK_BYTES || meta.len() != count * 4 {
                    return Err(WireError::Invalid("length of a write"));
                }
                let checksums = (0..count).map(|_| r.u32()).collect::<Result<_, _>>()?;
                RequestBody::Write {
                    oid: oid(header.oid)?,
                    object_shift: header.object_shift,
                    first_block,
                    stamp: header.stamp,
                    must_exist: header.must_exist,
                    checksums,
                    data,
                }
            }
            HOLE => RequestBody::Hole {
                oid: oid(header.oid)?,
                object_shift: header.object_shift,
                first_block,
                count: header.count,
                stamp: header.stamp,
                must_exist: header.must_exist,
            },
            RESET => RequestBody::Reset { oid: oid(header.oid)?, stamp: header.stamp },
            READ | HEAL => {
                blocks()?;
                read_or_heal(header, oid(header.oid)?)
            }
            BARRIER => RequestBody::Barrier { index: header.view.0 },
            SETTLE => RequestBody::Settle { oids: oids(header.count, &mut r)? },
            WATERMARK => RequestBody::Watermark,
            PING => RequestBody::Ping,
            LOOK => RequestBody::Look { oid: oid(header.oid)? },
            LIST => {
                let (policy, after, partitions) = pull::groups(header.count, &mut r)?;
                RequestBody::List { index: header.view.0, policy, after, partitions }
            }
            PULL | COMPARE => {
                blocks()?;
                RequestBody::Pull {
                    index: header.view.0,
                    oid: oid(header.oid)?,
                    first_block,
                    count: header.count,
                    with_data: header.kind == PULL,
                }
            }
            _ => return Err(WireError::Invalid("kind of a peer request")),
        };
        let waits = matches!(header.kind, BARRIER | LIST | PULL | COMPARE);
        let view = if waits { View(0) } else { header.view };
        Ok(Self {
            id: header.id,
            vid: oid(header.oid)?.vid(),
            generation: header.generation,
            view,
            stable: header.stable,
            body,
        })
    }
}

impl RequestBody {
    /// The object it is about, if it is about one.
    #[must_use]
    pub const fn oid(&self) -> Option<Oid> {
        match self {
            Self::Write { oid, .. }
            | Self::Hole { oid, .. }
            | Self::Reset { oid, .. }
            | Self::Read { oid, .. }
            | Self::Heal { oid, .. }
            | Self::Look { oid }
            | Self::Pull { oid, .. } => Some(*oid),
            Self::Barrier { .. }
            | Self::Settle { .. }
            | Self::Watermark
            | Self::List { .. }
            | Self::Ping => None,
        }
    }
}

impl Reply {
    /// Header and metadata to send; the payload, if any, follows them.
    #[must_use]
    pub fn emit(&self) -> (Vec<u8>, Option<&Payload>) {
        let mut header = Header { kind: REPLY, id: self.id, ..Header::default() };
        let mut meta = Writer::new();
        let mut payload = None;
        match &self.result {
            Ok(ReplyBody::Done) => {}
            Ok(ReplyBody::Blocks { blocks, data }) => {
                (header.kind, header.count) = (REPLY | READ, blocks.len() as u32);
                blocks.iter().for_each(|block| put_block(&mut meta, block));
                payload = Some(data);
            }
            Ok(ReplyBody::Unstable(list)) => {
                (header.kind, header.count) = (REPLY | BARRIER, list.len() as u32);
                list.iter().for_each(|entry| put_unstable(&mut meta, entry));
            }
            Ok(ReplyBody::Listing(listing)) => {
                header.kind = REPLY | LIST;
                header.count = listing.objects.len() as u32;
                header.first_block = listing.unstable.len() as u32;
                pull::put_listing(&mut meta, listing);
            }
            Ok(ReplyBody::Pulled(pulled)) => {
                (header.kind, header.stamp) = (REPLY | PULL, pulled.base);
                header.count = pulled.blocks.len() as u32;
                header.first_block = pulled.unstable.len() as u32;
                pulled.blocks.iter().for_each(|block| put_block(&mut meta, block));
                for stamp in &pulled.unstable {
                    meta.u64(stamp.get());
                }
                payload = Some(&pulled.data);
            }
            Err(error) => (header.status, header.view) = status(*error),
        }
        (emit(header, meta, payload), payload)
    }

    /// Puts a received reply together.
    ///
    /// # Errors
    /// If the parts contradict each other; the connection must be closed.
    pub fn assemble(header: &Header, meta: &[u8], data: Payload) -> Result<Self, WireError> {
        check_meta(header, meta)?;
        let mut r = Reader::new(meta);
        let result = match (header.kind, header.status) {
            (REPLY, 0) => Ok(ReplyBody::Done),
            (REPLY, status) => Err(error(status, header.view)?),
            (kind, 0) if kind == REPLY | READ => {
                check_blocks(header)?;
                let blocks =
                    (0..header.count).map(|_| block(&mut r)).collect::<Result<Vec<_>, _>>()?;
                let present = blocks.iter().filter(|b| b.state == BlockState::Data).count();
                if data.len() != present * BLOCK_BYTES {
                    return Err(WireError::Invalid("length of a read reply"));
                }
                Ok(ReplyBody::Blocks { blocks, data })
            }
            (kind, 0) if kind == REPLY | BARRIER => {
                let mut list = Vec::new();
                for _ in 0..header.count.min(LIST_MAX) {
                    list.push(unstable(&mut r)?);
                }
                Ok(ReplyBody::Unstable(list))
            }
            (kind, 0) if kind == REPLY | LIST => {
                Ok(ReplyBody::Listing(pull::listing(header, &mut r)?))
            }
            (kind, 0) if kind == REPLY | PULL => {
                check_blocks(header)?;
                Ok(ReplyBody::Pulled(pull::pulled(header, &mut r, data)?))
            }
            _ => return Err(WireError::Invalid("kind of a peer reply")),
        };
        r.end()?;
        Ok(Self { id: header.id, result })
    }
}

fn emit(mut header: Header, meta: Writer, payload: Option<&Payload>) -> Vec<u8> {
    let meta = meta.finish();
    header.meta_bytes = meta.len() as u32;
    header.meta_checksum = checksum(&meta);
    header.data_bytes = payload.map_or(0, |data| data.len() as u32);
    let mut bytes = header.emit();
    bytes.extend(meta);
    bytes
}

fn check_meta(header: &Header, meta: &[u8]) -> Result<(), WireError> {
    if checksum(meta) == header.meta_checksum {
        Ok(())
    } else {
        Err(WireError::Checksum("peer metadata"))
    }
}

fn check_blocks(header: &Header) -> Result<(), WireError> {
    if header.count == 0 || header.count > BLOCKS_MAX {
        return Err(WireError::Invalid("number of blocks"));
    }
    header.first_block.checked_add(header.count).ok_or(WireError::Invalid("first block"))?;
    Ok(())
}

pub(super) fn oid(value: u64) -> Result<Oid, WireError> {
    Oid::from_wire(value).ok_or(WireError::Invalid("oid"))
}

fn oids(count: u32, r: &mut Reader<'_>) -> Result<Vec<Oid>, WireError> {
    let mut oids = Vec::new();
    for _ in 0..count.min(LIST_MAX) {
        oids.push(oid(r.u64()?)?);
    }
    r.end()?;
    Ok(oids)
}

fn put_block(w: &mut Writer, block: &BlockMeta) {
    w.u64(block.stamp.get()).u32(block.checksum).u8(block.state as u8).zeros(3);
}

pub(super) fn put_unstable(w: &mut Writer, entry: &Unstable) {
    w.u64(entry.oid.get()).u32(entry.first_block).u32(entry.count);
    w.u64(entry.stamp.get()).u8(entry.kind as u8).zeros(7);
}

pub(super) fn block(r: &mut Reader<'_>) -> Result<BlockMeta, WireError> {
    let (stamp, sum) = (Stamp::from_wire(r.u64()?), r.u32()?);
    let state = match r.u8()? {
        0 => BlockState::Absent,
        1 => BlockState::Hole,
        2 => BlockState::Data,
        _ => return Err(WireError::Invalid("state of a block")),
    };
    r.zeros(3)?;
    Ok(BlockMeta { stamp, checksum: sum, state })
}

fn put_oids(meta: &mut Writer, oids: &[Oid]) {
    for oid in oids {
        meta.u64(oid.get());
    }
}

const fn read_or_heal(header: &Header, oid: Oid) -> RequestBody {
    let (first_block, count) = (header.first_block, header.count);
    match header.kind {
        READ => RequestBody::Read { oid, first_block, count },
        _ => RequestBody::Heal { oid, first_block, count },
    }
}

pub(super) fn unstable(r: &mut Reader<'_>) -> Result<Unstable, WireError> {
    let (object, first_block, count) = (oid(r.u64()?)?, r.u32()?, r.u32()?);
    let stamp = Stamp::from_wire(r.u64()?);
    let kind = match r.u8()? {
        0 => UnstableKind::Blocks,
        1 => UnstableKind::Reset,
        _ => return Err(WireError::Invalid("kind of an unstable operation")),
    };
    r.zeros(7)?;
    Ok(Unstable { oid: object, first_block, count, stamp, kind })
}

const fn status(error: PeerError) -> (u16, View) {
    match error {
        PeerError::StaleGeneration => (1, View(0)),
        PeerError::StaleView(view) => (2, view),
        PeerError::NotInSync => (3, View(0)),
        PeerError::Corrupt => (4, View(0)),
        PeerError::Full => (5, View(0)),
        PeerError::Invalid => (6, View(0)),
        PeerError::Missing => (7, View(0)),
    }
}

const fn error(status: u16, view: View) -> Result<PeerError, WireError> {
    Ok(match status {
        1 => PeerError::StaleGeneration,
        2 => PeerError::StaleView(view),
        3 => PeerError::NotInSync,
        4 => PeerError::Corrupt,
        5 => PeerError::Full,
        6 => PeerError::Invalid,
        7 => PeerError::Missing,
        _ => return Err(WireError::Invalid("status of a peer reply")),
    })
}
