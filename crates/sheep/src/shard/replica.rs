//! The replica side of a shard: requests of gateways, here and elsewhere, to the store.
//!
//! Holds:
//!   D1 a request is executed under the state by which it was admitted: it enters the store's
//!      queue in the same call, and the queue keeps its order (so a barrier's list comes after
//!      every operation that was admitted before it);
//!   D2 as long as this sheep is in sync, by its own state, with a group whose disk is of no use,
//!      it answers no barrier of that class: it cannot list everything.

use std::rc::Rc;
use std::time::Instant;

use sheepdog_engine::replica::{Admission, admit};
use sheepdog_proto::Stamp;
use sheepdog_proto::peer::{
    BlockMeta, BlockState, PeerError, Reply, ReplyBody, Request, RequestBody, Unstable,
    UnstableKind,
};
use sheepdog_proto::{BLOCK_BYTES, Buffer, Payload};
use sheepdog_store as store;

use super::Shard;
use super::mail::Mail;
use super::store_link::Then;
use crate::peer::incoming::Outbox;

/// Where an answer goes.
#[derive(Clone)]
pub(crate) enum ReplyTo {
    /// The gateway of this shard.
    Gateway,
    /// The gateway of another shard of this sheep.
    Shard(u16),
    /// A gateway of another sheep.
    Peer(Rc<Outbox>),
}

/// A request that waits until this shard has followed the log.
pub(super) struct Held {
    reply_to: ReplyTo,
    request: Request,
}

impl Shard {
    /// Takes a request of a gateway.
    pub(crate) fn take_request(self: &Rc<Self>, reply_to: ReplyTo, request: Request) {
        let admission = admit(self.shared.me, &self.state.borrow(), &request);
        match admission {
            Admission::Execute => self.execute(reply_to, request),
            Admission::Hold => {
                self.metrics.held.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                self.held.borrow_mut().push(Held { reply_to, request });
            }
            Admission::Refuse(error) => {
                tracing::debug!(request = request.id, vid = %request.vid, ?error, "refused");
                self.reply(&reply_to, Reply { id: request.id, result: Err(error) });
            }
        }
    }

    /// Looks again at everything that was held.
    pub(super) fn admit_held(self: &Rc<Self>) {
        let held = std::mem::take(&mut *self.held.borrow_mut());
        for Held { reply_to, request } in held {
            self.take_request(reply_to, request);
        }
        self.run();
    }

    fn execute(self: &Rc<Self>, reply_to: ReplyTo, request: Request) {
        let Request { id, vid, generation, view, stable, body } = request;
        if stable > Stamp::NONE {
            self.push_store(store::Request::Watermark { vid, stable }, Then::Nothing);
        }
        let started = Instant::now();
        let (store_request, bytes) = match body {
            RequestBody::Write { oid, object_shift, first_block, stamp, checksums, data } => {
                let bytes = data.len() as u64;
                let request = store::Request::Write {
                    oid,
                    object_shift,
                    first_block,
                    stamp,
                    view,
                    checksums,
                    data,
                };
                (request, bytes)
            }
            RequestBody::Hole { oid, object_shift, first_block, count, stamp } => (
                store::Request::Hole { oid, object_shift, first_block, count, stamp, view },
                u64::from(count) * BLOCK_BYTES as u64,
            ),
            RequestBody::Reset { oid, stamp } => (store::Request::Reset { oid, stamp, view }, 0),
            RequestBody::Read { oid, first_block, count } => (
                store::Request::Read { oid, first_block, count },
                u64::from(count) * BLOCK_BYTES as u64,
            ),
            RequestBody::Barrier { .. } if self.cannot_list(vid) => {
                self.reply(&reply_to, Reply { id, result: Err(PeerError::NotInSync) }); // D2
                return;
            }
            RequestBody::Barrier { .. } => (store::Request::Unstable { vid }, 0),
            RequestBody::Settle { oids } => {
                (store::Request::Settle { vid, below: generation, oids }, 0)
            }
            RequestBody::Watermark => return,
        };
        self.push_store(store_request, Then::Reply { reply_to, id, bytes, started });
    }

    /// Sends an answer on its way.
    pub(super) fn reply(&self, reply_to: &ReplyTo, reply: Reply) {
        match reply_to {
            ReplyTo::Gateway => self.local_replies.borrow_mut().push_back(reply),
            ReplyTo::Shard(to) => {
                self.shared.mail(usize::from(*to), Mail::Reply { from: self.index, reply });
            }
            ReplyTo::Peer(outbox) => outbox.push(reply),
        }
    }
}

/// The store's answer in the words of the peer protocol.
pub(super) fn translate(
    result: Result<store::Reply, store::StoreError>,
) -> Result<ReplyBody, PeerError> {
    match result {
        Ok(store::Reply::Done { .. }) => Ok(ReplyBody::Done),
        Ok(store::Reply::Read(read)) => Ok(blocks(&read.blocks, read.data)),
        Ok(store::Reply::Unstable(list)) => {
            Ok(ReplyBody::Unstable(list.iter().map(unstable).collect()))
        }
        Ok(_) => Err(PeerError::Invalid),
        // The log will say that this sheep is out of sync, and others have what is asked for.
        Err(error) if error.is_fatal() => Err(PeerError::NotInSync),
        Err(store::StoreError::Full) => Err(PeerError::Full),
        Err(store::StoreError::Refused(store::Refusal::Checksum { .. })) => Err(PeerError::Corrupt),
        Err(store::StoreError::Refused(_)) => Err(PeerError::Invalid),
        Err(_) => Err(PeerError::Corrupt),
    }
}

/// Only blocks with bytes travel; when all have bytes, the store's buffer goes as it is.
fn blocks(found: &[store::Block], data: Payload) -> ReplyBody {
    let meta = |block: &store::Block| {
        let (state, checksum) = match block.state {
            store::BlockState::Absent => (BlockState::Absent, 0),
            store::BlockState::Hole => (BlockState::Hole, 0),
            store::BlockState::Data { checksum } => (BlockState::Data, checksum),
        };
        BlockMeta { stamp: block.stamp, checksum, state }
    };
    let blocks: Vec<BlockMeta> = found.iter().map(meta).collect();
    let present = blocks.iter().filter(|block| block.state == BlockState::Data).count();
    if present == blocks.len() {
        return ReplyBody::Blocks { blocks, data };
    }
    let mut buffer = Buffer::zeroed(present * BLOCK_BYTES);
    let (source, _) = data.as_chunks::<BLOCK_BYTES>();
    let with_bytes = blocks.iter().zip(source).filter(|(b, _)| b.state == BlockState::Data);
    for ((_, bytes), target) in with_bytes.zip(buffer.chunks_exact_mut(BLOCK_BYTES)) {
        target.copy_from_slice(bytes);
    }
    ReplyBody::Blocks { blocks, data: buffer.share() }
}

fn unstable(entry: &store::Unstable) -> Unstable {
    let kind = match entry.kind {
        store::UnstableKind::Write | store::UnstableKind::Hole => UnstableKind::Blocks,
        store::UnstableKind::Reset => UnstableKind::Reset,
    };
    Unstable {
        oid: entry.oid,
        first_block: entry.first_block,
        count: entry.count,
        stamp: entry.stamp,
        kind,
    }
}
