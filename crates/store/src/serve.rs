//! Serve: the words of the peer protocol in those of the store, and back.
//!
//! Why: whoever keeps copies for a gateway, the daemon or a simulator of it, must understand
//!      a request in the same way.
//! Way: a request that was admitted becomes a [`Request`]; what the store replies becomes the
//!      body of an answer.
//! Not here: who may ask (engine), the watermark that every request carries (the caller).

use sheepdog_proto::peer::{self, BlockMeta, PeerError, ReplyBody, RequestBody};
use sheepdog_proto::{BLOCK_BYTES, Buffer, Generation, Payload, Vid, View};

use crate::error::{Refusal, StoreError};
use crate::request::{Block, BlockState, Reply, Request, Unstable, UnstableKind};

/// What the store is asked to do. `None` for a bare watermark, which nobody answers.
#[must_use]
pub fn store_request(
    vid: Vid,
    generation: Generation,
    view: View,
    body: RequestBody,
) -> Option<Request> {
    Some(match body {
        RequestBody::Write { oid, object_shift, first_block, stamp, checksums, data } => {
            Request::Write { oid, object_shift, first_block, stamp, view, checksums, data }
        }
        RequestBody::Hole { oid, object_shift, first_block, count, stamp } => {
            Request::Hole { oid, object_shift, first_block, count, stamp, view }
        }
        RequestBody::Reset { oid, stamp } => Request::Reset { oid, stamp, view },
        RequestBody::Read { oid, first_block, count } => Request::Read { oid, first_block, count },
        RequestBody::Barrier { .. } => Request::Unstable { vid },
        RequestBody::Settle { oids } => Request::Settle { vid, below: generation, oids },
        RequestBody::Watermark => return None,
    })
}

/// Bytes of a VDI that a request is about; for counters.
#[must_use]
pub fn payload_bytes(body: &RequestBody) -> u64 {
    match body {
        RequestBody::Write { data, .. } => data.len() as u64,
        RequestBody::Hole { count, .. } | RequestBody::Read { count, .. } => {
            u64::from(*count) * BLOCK_BYTES as u64
        }
        RequestBody::Reset { .. }
        | RequestBody::Barrier { .. }
        | RequestBody::Settle { .. }
        | RequestBody::Watermark => 0,
    }
}

/// The store's reply in the words of the peer protocol.
///
/// # Errors
/// What a gateway shall make of the store's error.
pub fn peer_result(result: Result<Reply, StoreError>) -> Result<ReplyBody, PeerError> {
    match result {
        Ok(Reply::Done { .. }) => Ok(ReplyBody::Done),
        Ok(Reply::Read(read)) => Ok(blocks(&read.blocks, read.data)),
        Ok(Reply::Unstable(list)) => Ok(ReplyBody::Unstable(list.iter().map(unstable).collect())),
        Ok(_) => Err(PeerError::Invalid),
        // The log will say that this sheep is out of sync, and others have what is asked for.
        Err(error) if error.is_fatal() => Err(PeerError::NotInSync),
        Err(StoreError::Full) => Err(PeerError::Full),
        Err(StoreError::Refused(Refusal::Checksum { .. })) => Err(PeerError::Corrupt),
        Err(StoreError::Refused(_)) => Err(PeerError::Invalid),
        Err(_) => Err(PeerError::Corrupt),
    }
}

/// Only blocks with bytes travel; when all have bytes, the store's buffer goes as it is.
fn blocks(found: &[Block], data: Payload) -> ReplyBody {
    let meta = |block: &Block| {
        let (state, checksum) = match block.state {
            BlockState::Absent => (peer::BlockState::Absent, 0),
            BlockState::Hole => (peer::BlockState::Hole, 0),
            BlockState::Data { checksum } => (peer::BlockState::Data, checksum),
        };
        BlockMeta { stamp: block.stamp, checksum, state }
    };
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
