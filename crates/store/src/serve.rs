//! Serve: the words of the peer protocol in those of the store, and back.
//!
//! Why: whoever keeps copies for a gateway, the daemon or a simulator of it, must understand
//!      a request in the same way.
//! Way: a request that was admitted becomes a [`Request`]; what the store replies becomes the
//!      body of an answer.
//! Not here: who may ask (engine), the watermark that every request carries (the caller).

use sheepdog_proto::peer::{self, BlockMeta, Listed, PeerError, Pulled, ReplyBody, RequestBody};
use sheepdog_proto::{BLOCK_BYTES, Buffer, Generation, Oid, Payload, Stamp, Vid, View};

use crate::error::{Refusal, StoreError};
use crate::request::{Block, BlockState, Reply, Request, Unstable, UnstableKind};

/// What the store is asked to do. `None` for a bare watermark, which nobody answers, and for what
/// a joiner asks: that takes several questions (see [`pull_request`]).
#[must_use]
pub fn store_request(
    vid: Vid,
    generation: Generation,
    view: View,
    body: RequestBody,
) -> Option<Request> {
    Some(match body {
        RequestBody::Write { oid, object_shift, first_block, stamp, checksums, data, .. } => {
            Request::Write { oid, object_shift, first_block, stamp, view, checksums, data }
        }
        RequestBody::Hole { oid, object_shift, first_block, count, stamp, .. } => {
            Request::Hole { oid, object_shift, first_block, count, stamp, view }
        }
        RequestBody::Reset { oid, stamp } => Request::Reset { oid, stamp, view },
        RequestBody::Read { oid, first_block, count } => Request::Read { oid, first_block, count },
        RequestBody::Barrier { .. } => Request::Unstable { vid },
        RequestBody::Settle { oids } => Request::Settle { vid, below: generation, oids },
        RequestBody::Watermark
        | RequestBody::Ping
        | RequestBody::Heal { .. }
        | RequestBody::Look { .. }
        | RequestBody::List { .. }
        | RequestBody::Pull { .. } => {
            return None;
        }
    })
}

/// The first of two questions that make the answer to a `Pull`. When it is answered,
/// [`Request::UnstableOf`] is asked: so a change that the first answer has and that may not be
/// everywhere is in the second.
#[must_use]
pub const fn pull_request(oid: Oid, first_block: u32, count: u32, with_data: bool) -> Request {
    if with_data {
        Request::Read { oid, first_block, count }
    } else {
        Request::Stamps { oid, first_block, count }
    }
}

/// The answer to a `Pull`.
///
/// # Errors
/// What a joiner shall make of the store's error.
pub fn pulled(
    blocks: Result<Reply, StoreError>,
    unstable: Result<Reply, StoreError>,
) -> Result<ReplyBody, PeerError> {
    let ReplyBody::Unstable(list) = peer_result(unstable)? else { return Err(PeerError::Invalid) };
    let unstable = list.iter().map(|change| change.stamp).collect();
    match blocks {
        Ok(Reply::Read(read)) => {
            let base = read.base;
            let ReplyBody::Blocks { blocks, data } = with_bytes(&read.blocks, read.data) else {
                return Err(PeerError::Invalid);
            };
            Ok(ReplyBody::Pulled(Pulled { base, unstable, blocks, data }))
        }
        Ok(Reply::Stamps { base, blocks }) => {
            let blocks = blocks.iter().map(meta).collect();
            Ok(ReplyBody::Pulled(Pulled { base, unstable, blocks, data: Payload::empty() }))
        }
        Ok(_) => Err(PeerError::Invalid),
        Err(error) => peer_result(Err(error)),
    }
}

/// Takes back changes as a joiner names them.
#[must_use]
pub fn undo_request(changes: &[peer::Unstable]) -> Request {
    let kinds = |kind| match kind {
        // Which of the two it was the peer protocol does not say; the other is not on the list.
        peer::UnstableKind::Blocks => &[UnstableKind::Write, UnstableKind::Hole][..],
        peer::UnstableKind::Reset => &[UnstableKind::Reset][..],
    };
    let entries = |change: &peer::Unstable| {
        let peer::Unstable { oid, first_block, count, stamp, kind } = *change;
        let entry =
            move |kind: &UnstableKind| Unstable { stamp, oid, first_block, kind: *kind, count };
        kinds(kind).iter().map(entry)
    };
    Request::Undo { changes: changes.iter().flat_map(entries).collect() }
}

/// A part of the list of objects, those that cannot be read in their places among the others.
fn listing(found: crate::request::Listing) -> peer::Listing {
    let readable = found.objects.iter().map(|object| Listed {
        oid: object.oid,
        object_shift: object.object_shift,
        base: object.base,
        modified: object.modified,
        is_rotten: false,
    });
    let rotten = found.rotten.iter().map(|(oid, _)| Listed {
        oid: *oid,
        object_shift: 0,
        base: Stamp::NONE,
        modified: View(0),
        is_rotten: true,
    });
    let mut objects: Vec<Listed> = readable.chain(rotten).collect();
    objects.sort_unstable_by_key(|object| object.oid);
    peer::Listing { objects, unstable: Vec::new(), next: found.next }
}

/// Bytes of a VDI that a request is about; for counters.
#[must_use]
pub fn payload_bytes(body: &RequestBody) -> u64 {
    match body {
        RequestBody::Write { data, .. } => data.len() as u64,
        RequestBody::Hole { count, .. }
        | RequestBody::Read { count, .. }
        | RequestBody::Pull { count, with_data: true, .. } => {
            u64::from(*count) * BLOCK_BYTES as u64
        }
        RequestBody::Reset { .. }
        | RequestBody::Barrier { .. }
        | RequestBody::Settle { .. }
        | RequestBody::List { .. }
        | RequestBody::Pull { .. }
        | RequestBody::Watermark
        | RequestBody::Heal { .. }
        | RequestBody::Look { .. }
        | RequestBody::Ping => 0,
    }
}

/// The store's reply in the words of the peer protocol.
///
/// # Errors
/// What a gateway shall make of the store's error.
pub fn peer_result(result: Result<Reply, StoreError>) -> Result<ReplyBody, PeerError> {
    match result {
        Ok(Reply::Done { .. }) => Ok(ReplyBody::Done),
        Ok(Reply::Read(read)) => Ok(with_bytes(&read.blocks, read.data)),
        Ok(Reply::Unstable(list)) => Ok(ReplyBody::Unstable(list.iter().map(unstable).collect())),
        Ok(Reply::List(found)) => Ok(ReplyBody::Listing(listing(found))),
        Ok(reply @ Reply::Stamps { .. }) => pulled(Ok(reply), Ok(Reply::Unstable(Vec::new()))),
        // The log will say that this sheep is out of sync, and others have what is asked for.
        Err(error) if error.is_fatal() => Err(PeerError::NotInSync),
        Err(StoreError::Full) => Err(PeerError::Full),
        Err(StoreError::Refused(Refusal::Checksum { .. })) => Err(PeerError::Corrupt),
        Err(StoreError::Refused(Refusal::Missing(_))) => Err(PeerError::Missing),
        Err(StoreError::Refused(_)) => Err(PeerError::Invalid),
        Err(_) => Err(PeerError::Corrupt),
    }
}

/// Only blocks with bytes travel; when all have bytes, the store's buffer goes as it is.
fn with_bytes(found: &[Block], data: Payload) -> ReplyBody {
    let blocks: Vec<BlockMeta> = found.iter().map(meta).collect();
    let has_bytes = |block: &BlockMeta| block.state == peer::BlockState::Data;
    let present = blocks.iter().filter(|block| has_bytes(block)).count();
    if present == blocks.len() {
        return ReplyBody::Blocks { blocks, data };
    }
    let mut buffer = Buffer::zeroed(present * BLOCK_BYTES);
    let (source, _) = data.as_chunks::<BLOCK_BYTES>();
    let with_bytes = blocks.iter().zip(source).filter(|(block, _)| has_bytes(block));
    for ((_, bytes), target) in with_bytes.zip(buffer.chunks_exact_mut(BLOCK_BYTES)) {
        target.copy_from_slice(bytes);
    }
    ReplyBody::Blocks { blocks, data: buffer.share() }
}

const fn meta(block: &Block) -> BlockMeta {
    let (state, checksum) = match block.state {
        BlockState::Absent => (peer::BlockState::Absent, 0),
        BlockState::Hole => (peer::BlockState::Hole, 0),
        BlockState::Data { checksum } => (peer::BlockState::Data, checksum),
    };
    BlockMeta { stamp: block.stamp, checksum, state }
}

const fn unstable(entry: &Unstable) -> peer::Unstable {
    let kind = match entry.kind {
        UnstableKind::Write | UnstableKind::Hole => peer::UnstableKind::Blocks,
        UnstableKind::Reset => peer::UnstableKind::Reset,
    };
    peer::Unstable {
        oid: entry.oid,
        first_block: entry.first_block,
        count: entry.count,
        stamp: entry.stamp,
        kind,
    }
}

#[cfg(test)]
#[path = "serve/tests.rs"]
mod tests;
