//! Reads: blocks of one object from one in-sync member, the next one if that fails.
//!
//! Holds:
//!   READ-INSYNC  only live in-sync members of groups that are ready are asked;
//!   CRC-E2E      every block that came over the network is checked here once more;
//!   R1           a read ends when a copy is good, or when every copy was found bad; it waits for
//!                members that are lost, whose copy may be good;
//!   R3           what a copy could not read is healed from the one that served it (`heal`);
//!   R2           copies that are bad in different blocks make up for each other: a range of which
//!                no copy is good is read in halves, down to the block.

use sheepdog_proto::peer::{BlockMeta, BlockState, PeerError, Reply, ReplyBody, RequestBody};
use sheepdog_proto::{BLOCK_BYTES, Buffer, NodeId, ObjectKind, Oid, Payload, View, block_checksum};

use super::attachment::Attachment;
use super::{Context, Place, Purpose, request};
use crate::volume::Refusal;

/// What happens with the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadThen {
    /// A piece of a client's operation goes on.
    Piece(u64),
    /// Pages of the map, from this one.
    LoadMap { first: u32 },
    /// It is the first or second half of another read (R2).
    Half { whole: u64, is_second: bool },
}

/// One read under way.
#[derive(Debug)]
pub(super) struct ReadFlight {
    oid: Oid,
    first: u32,
    count: u32,
    then: ReadThen,
    /// Members that had no good copy.
    tried: Vec<NodeId>,
    /// One of them could not read what it has.
    has_bad_copy: bool,
    /// Where it was sent, under which view and request; `None` while it waits.
    sent: Option<(Place, View, u64)>,
    /// Its halves, when it is read in halves; then nothing is sent for the whole.
    halves: Option<[Option<Payload>; 2]>,
}

impl ReadFlight {
    const fn waits(&self) -> bool {
        self.sent.is_none() && self.halves.is_none()
    }
}

impl Attachment {
    pub(super) fn start_read(
        &mut self,
        context: &mut Context,
        oid: Oid,
        first: u32,
        count: u32,
        then: ReadThen,
    ) {
        let id = self.fresh();
        let tried = Vec::new();
        let (sent, halves) = (None, None);
        let has_bad_copy = false;
        let read = ReadFlight { oid, first, count, then, tried, has_bad_copy, sent, halves };
        self.reads.insert(id, read);
        self.send_read(context, id);
        if self.reads.get(&id).is_some_and(|read| read.sent.is_none()) {
            context.waits.no_member += 1;
        }
    }

    fn send_read(&mut self, context: &mut Context, id: u64) {
        let Some(read) = self.reads.get(&id) else { return };
        let state = context.state.clone();
        let Some((pg, group)) = state.group_of(read.oid) else { return };
        let places = context.readers(pg, group);
        let spread = read.oid.get().wrapping_add(u64::from(read.first / 256));
        let Some(place) = choose(&places, &read.tried, context.me.node, spread) else {
            if !read.tried.is_empty() && !group.has_lost(&state.members) {
                self.fail_read(context, id); // R1
            }
            return;
        };
        let body = RequestBody::Read { oid: read.oid, first_block: read.first, count: read.count };
        let stable = self.sequencer.stable();
        let message = request(self.vid, self.generation, group.view, stable, body);
        let sent = context.send(place, Purpose::Read(id), message);
        if let Some(read) = self.reads.get_mut(&id) {
            read.sent = Some((place, group.view, sent));
        }
    }

    pub(super) fn handle_read_reply(
        &mut self,
        context: &mut Context,
        id: u64,
        place: Place,
        reply: Reply,
    ) {
        let Some(read) = self.reads.get_mut(&id) else { return };
        if !matches!(read.sent, Some((_, _, sent)) if sent == reply.id) {
            return;
        }
        read.sent = None;
        let local = place.node == context.me.node;
        match reply.result {
            Ok(ReplyBody::Blocks { blocks, data }) if blocks.len() == read.count as usize => {
                if local || verified(read.oid, read.first, &blocks, &data) {
                    self.finish_read(context, id, &blocks, data);
                    return;
                }
                read.tried.push(place.node);
            }
            // The log will tell; the read goes on after the next state change.
            Err(PeerError::StaleView(_) | PeerError::StaleGeneration | PeerError::NotInSync) => {
                return;
            }
            Err(PeerError::Corrupt) => {
                read.has_bad_copy = true;
                read.tried.push(place.node);
            }
            Ok(_) | Err(_) => read.tried.push(place.node),
        }
        self.send_read(context, id);
    }

    fn finish_read(&mut self, context: &mut Context, id: u64, blocks: &[BlockMeta], data: Payload) {
        if let Some(read) = self.reads.get(&id)
            && read.has_bad_copy
            && read.oid.kind() == ObjectKind::Data
        {
            let (index, first) = (read.oid.index(), read.first);
            self.heal(context, index, first, blocks);
        }
        self.end_read(context, id, spread_out(blocks, data));
    }

    fn end_read(&mut self, context: &mut Context, id: u64, bytes: Payload) {
        let Some(read) = self.reads.remove(&id) else { return };
        match read.then {
            ReadThen::Piece(piece) => self.handle_piece_read(context, piece, bytes),
            ReadThen::LoadMap { first } => self.handle_map_loaded(first, &bytes),
            ReadThen::Half { whole, is_second } => {
                let Some(read) = self.reads.get_mut(&whole) else { return };
                let Some(halves) = &mut read.halves else { return };
                halves[usize::from(is_second)] = Some(bytes);
                if let [Some(first), Some(second)] = halves {
                    let mut buffer = Buffer::zeroed(first.len() + second.len());
                    buffer[..first.len()].copy_from_slice(first);
                    buffer[first.len()..].copy_from_slice(second);
                    self.end_read(context, whole, buffer.share());
                }
            }
        }
    }

    /// R2.
    fn read_in_halves(&mut self, context: &mut Context, id: u64) {
        let Some(read) = self.reads.get_mut(&id) else { return };
        read.halves = Some([None, None]);
        let (oid, first, count) = (read.oid, read.first, read.count);
        let half = count / 2;
        for (is_second, first, count) in [(false, first, half), (true, first + half, count - half)]
        {
            self.start_read(context, oid, first, count, ReadThen::Half { whole: id, is_second });
        }
    }

    fn fail_read(&mut self, context: &mut Context, id: u64) {
        let Some(read) = self.reads.get_mut(&id) else { return };
        if read.count > 1 && read.halves.is_none() {
            self.read_in_halves(context, id);
            return;
        }
        match read.then {
            ReadThen::Half { whole, .. } => {
                // No copy of this block is good, so the whole has none either.
                let (first, count) = (read.first, read.count);
                self.forget_halves(context, whole);
                if let Some(read) = self.reads.get_mut(&whole) {
                    (read.first, read.count) = match read.then {
                        ReadThen::LoadMap { .. } => (read.first, read.count),
                        _ => (first, count),
                    };
                    self.fail_whole(context, whole);
                }
            }
            ReadThen::Piece(_) | ReadThen::LoadMap { .. } => self.fail_whole(context, id),
        }
    }

    /// What is still under way for the halves of a read is of no use any more.
    fn forget_halves(&mut self, context: &mut Context, whole: u64) {
        let halves: Vec<u64> = self
            .reads
            .iter()
            .filter(
                |(_, read)| matches!(read.then, ReadThen::Half { whole: of, .. } if of == whole),
            )
            .map(|(id, _)| *id)
            .collect();
        for half in halves {
            self.forget_halves(context, half);
            if let Some(ReadFlight { sent: Some((_, _, sent)), .. }) = self.reads.remove(&half) {
                context.outstanding.remove(&sent);
            }
        }
    }

    fn fail_whole(&mut self, context: &mut Context, id: u64) {
        let Some(read) = self.reads.get_mut(&id) else { return };
        match read.then {
            ReadThen::Half { .. } => self.fail_read(context, id),
            ReadThen::Piece(piece) => {
                let what = format!(
                    "no copy of object {} blocks {}..{} has a right checksum",
                    read.oid,
                    read.first,
                    read.first + read.count
                );
                self.reads.remove(&id);
                self.fail_piece(context, piece, Refusal::Io(what));
            }
            // Without its map a VDI cannot be served: `retry_reads` asks all members again.
            ReadThen::LoadMap { .. } => read.halves = None,
        }
    }

    /// After a state change: reads whose member or view has passed are sent elsewhere.
    pub(super) fn refresh_reads(&mut self, context: &mut Context) {
        let state = context.state.clone();
        for read in self.reads.values_mut() {
            let view = state.group_of(read.oid).map(|(_, group)| group.view);
            if let Some((_, under, sent)) = read.sent
                && Some(under) != view
            {
                context.outstanding.remove(&sent);
                read.sent = None;
            }
        }
        self.send_waiting_reads(context);
    }

    fn send_waiting_reads(&mut self, context: &mut Context) {
        let waiting: Vec<u64> =
            self.reads.iter().filter(|(_, read)| read.waits()).map(|(id, _)| *id).collect();
        for id in waiting {
            self.send_read(context, id);
        }
    }

    /// Reads that no member could serve are asked anew: the fault may have passed.
    pub(super) fn retry_reads(&mut self, context: &mut Context) {
        for read in self.reads.values_mut().filter(|read| read.waits()) {
            read.tried.clear();
        }
        self.send_waiting_reads(context);
    }

    pub(super) fn resend_reads(&mut self, context: &mut Context, place: Place) {
        for read in self.reads.values_mut() {
            if let Some((to, _, sent)) = read.sent
                && to == place
            {
                context.outstanding.remove(&sent);
                read.sent = None;
            }
        }
        self.send_waiting_reads(context);
    }
}

/// This sheep's own copy if there is one, else one of the others, spread by object and range.
fn choose(places: &[Place], tried: &[NodeId], me: NodeId, spread: u64) -> Option<Place> {
    let untried = || places.iter().filter(|place| !tried.contains(&place.node));
    let count = untried().count() as u64;
    untried()
        .find(|place| place.node == me)
        .or_else(|| untried().nth(spread.checked_rem(count)? as usize))
        .copied()
}

/// Every block's bytes match their checksum.
pub(crate) fn verified(oid: Oid, first: u32, blocks: &[BlockMeta], data: &[u8]) -> bool {
    let (bytes, _) = data.as_chunks::<BLOCK_BYTES>();
    let present = blocks.iter().zip(first..).filter(|(block, _)| block.state == BlockState::Data);
    let mut pairs = present.zip(bytes);
    pairs.all(|((block, number), bytes)| block_checksum(oid, number, bytes) == block.checksum)
}

/// All blocks in a row, those without bytes as zeros.
fn spread_out(blocks: &[BlockMeta], data: Payload) -> Payload {
    if data.len() == blocks.len() * BLOCK_BYTES {
        return data;
    }
    let mut buffer = Buffer::zeroed(blocks.len() * BLOCK_BYTES);
    let present = blocks.iter().enumerate().filter(|(_, block)| block.state == BlockState::Data);
    let (bytes, _) = data.as_chunks::<BLOCK_BYTES>();
    for ((position, _), bytes) in present.zip(bytes) {
        buffer[position * BLOCK_BYTES..][..BLOCK_BYTES].copy_from_slice(bytes);
    }
    buffer.share()
}
