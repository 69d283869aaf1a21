//! Pieces: an operation cut at object borders, each piece with its blocks locked.
//!
//! Way: `start` cuts -> claims -> `run_piece` reads, merges, and starts flights -> `finish_piece`
//!      releases the claim and, with the last one, answers the client.
//! Holds:
//!   READ-AFTER-ACK  a piece holds its claim until it is complete;
//!   MAP-WITH-DATA   a write is complete when its data and its object's map entry are durable;
//!   BASE            an object's life begins with a reset: copies of it with the same base are
//!                   of the same life, and differ only in what came after;
//!   E1              replicas only ever see whole blocks: partial ones are merged here.

use std::ops::Range;

use sheepdog_proto::{BLOCK_BYTES, Buffer, Oid, Payload, Stamp};

use super::Context;
use super::attachment::Attachment;
use super::cut::{BLOCK, Cut, PIECE_BLOCKS, cut, split_edges};
use super::flight::{Mutation, Needs, Then};
use super::heal::HEAL;
use super::lock::Claim;
use super::read::ReadThen;
use crate::volume::{Answer, Extent, Operation, Refusal};

/// Most bytes of one read.
const READ_BYTES_MAX: u32 = 64 << 20;

/// An operation not yet answered.
#[derive(Debug)]
pub(super) struct Pending {
    left: usize,
    /// Where a read gathers its bytes.
    buffer: Option<Buffer>,
    /// The bytes themselves, when one piece brought exactly them.
    whole: Option<Payload>,
    error: Option<Refusal>,
}

#[derive(Debug)]
enum Work {
    /// `take` bytes, after `skip` bytes of the first block, go to `into` of the buffer.
    Read {
        skip: usize,
        take: usize,
        into: usize,
    },
    /// The bytes replace what stands after `skip` bytes of the first block.
    Write {
        skip: usize,
        data: Payload,
    },
    Hole,
    /// What is read is written anew.
    Heal,
    Reset,
    /// The reset is durable, the map entry is being cleared.
    Unmap,
}

/// A part of an operation inside one object.
#[derive(Debug)]
pub(super) struct Piece {
    token: u64,
    index: u32,
    blocks: Range<u32>,
    work: Work,
    /// Things that must become durable before the piece is complete.
    waits: u8,
    /// Of its changes; they are complete together.
    stamps: Vec<Stamp>,
}

impl Attachment {
    /// Starts an operation of a live attachment.
    pub(super) fn start(&mut self, context: &mut Context, operation: Operation, token: u64) {
        match self.prepare(context, operation, token) {
            Ok(Prepared::Answer(answer)) => context.answer_leased(self.vid, token, Ok(answer)),
            Ok(Prepared::Pieces(pieces, buffer)) => {
                self.start_pieces(context, token, pieces, buffer);
            }
            Err(refusal) => context.answer(token, Err(refusal)),
        }
    }

    fn prepare(
        &self,
        context: &Context,
        operation: Operation,
        token: u64,
    ) -> Result<Prepared, Refusal> {
        let vdi = context.state.catalogue.get(self.vid).ok_or(Refusal::NoVdi)?;
        let end = vdi.object_count() * self.object_bytes();
        let check = |offset: u64, len: u64| match offset.checked_add(len) {
            Some(last) if last <= end => Ok(()),
            _ => Err(Refusal::Invalid("range beyond the end of the VDI")),
        };
        match operation {
            Operation::Read { offset, len } => {
                check(offset, u64::from(len))?;
                if len > READ_BYTES_MAX {
                    return Err(Refusal::Invalid("read of more than 64 MiB"));
                }
                let pieces = self.cut_read(offset, u64::from(len), token);
                Ok(Prepared::Pieces(pieces, Some(Buffer::zeroed(len as usize))))
            }
            Operation::Write { offset, data } => {
                check(offset, data.len() as u64)?;
                Ok(Prepared::Pieces(self.cut_write(offset, &data, token), None))
            }
            Operation::Zero { offset, len, discard } => {
                check(offset, len)?;
                Ok(Prepared::Pieces(self.cut_zero(offset, len, discard, vdi.size, token), None))
            }
            Operation::Flush => Ok(Prepared::Answer(Answer::Done)),
            Operation::Status { offset, len } => {
                check(offset, len)?;
                Ok(Prepared::Answer(Answer::Extents(self.extents(offset, len))))
            }
            Operation::ReadMap { offset, len } => {
                check_map(offset, len as usize)?;
                Ok(Prepared::Answer(Answer::Data(self.map.bytes(offset, len).share())))
            }
            Operation::WriteMap { offset, data } => {
                check_map(offset, data.len())?;
                Ok(Prepared::Pieces(self.cut_map_hint(offset, &data, token)?, None))
            }
        }
    }

    pub(super) fn start_pieces(
        &mut self,
        context: &mut Context,
        token: u64,
        pieces: Vec<Piece>,
        buffer: Option<Buffer>,
    ) {
        let left = pieces.len();
        self.requests.insert(token, Pending { left, buffer, whole: None, error: None });
        if left == 0 {
            self.answer(context, token);
        }
        for piece in pieces {
            let id = self.fresh();
            let exclusive = !matches!(piece.work, Work::Read { .. });
            let claim = Claim { piece: id, blocks: piece.blocks.clone(), exclusive };
            if self.locks.claim(piece.index, claim) {
                self.runnable.push_back(id);
            } else {
                context.waits.overlap += 1;
            }
            self.pieces.insert(id, piece);
        }
    }

    /// A piece whose claim is held goes on.
    pub(super) fn run_piece(&mut self, context: &mut Context, id: u64) {
        let Some(piece) = self.pieces.get(&id) else { return };
        let (index, blocks) = (piece.index, piece.blocks.clone());
        let oid = Oid::data(self.vid, index);
        let exists = self.map.has(index);
        let writes = matches!(piece.work, Work::Write { .. });
        // What does not exist is known to read as zeros, whatever comes to light (N3).
        if (exists || writes) && !self.is_ready_for(context, oid, id) {
            return;
        }
        let Some(piece) = self.pieces.get(&id) else { return };
        let mutates = writes || exists && !matches!(piece.work, Work::Read { .. });
        if mutates && self.sequencer.is_full() {
            self.delayed.push_back(id); // W1
            return;
        }
        let count = blocks.end - blocks.start;
        match &piece.work {
            Work::Write { skip, data } => {
                let data = data.clone();
                if *skip == 0 && data.len() == count as usize * BLOCK_BYTES {
                    self.write_blocks(context, id, data);
                } else if exists {
                    self.start_read(context, oid, blocks.start, count, ReadThen::Piece(id));
                } else {
                    let zeros = Buffer::zeroed(count as usize * BLOCK_BYTES);
                    let merged = merge(zeros, *skip, &data);
                    self.write_blocks(context, id, merged);
                }
            }
            // What does not exist reads as zeros and has nothing to discard.
            _ if !exists => self.finish_piece(context, id),
            Work::Read { .. } | Work::Heal => {
                self.start_read(context, oid, blocks.start, count, ReadThen::Piece(id));
            }
            Work::Hole => {
                let mutation = Mutation::Hole { first: blocks.start, count };
                self.mutate(context, id, mutation, Needs::Object);
            }
            Work::Reset | Work::Unmap => {
                self.mutate(context, id, Mutation::Reset, Needs::Nothing);
            }
        }
    }

    fn write_blocks(&mut self, context: &mut Context, id: u64, data: Payload) {
        let Some(piece) = self.pieces.get(&id) else { return };
        let (index, first) = (piece.index, piece.blocks.start);
        let oid = Oid::data(self.vid, index);
        let mut needs = Needs::Object;
        if self.map.has(index) {
            if !self.map.is_durable(index) {
                self.wait_more(id);
                self.map.wait(index, id);
            }
        } else {
            self.wait_more(id);
            self.map.change(index, true, Some(id));
            self.mutate(context, id, Mutation::Reset, Needs::Nothing); // BASE
            needs = Needs::Nothing;
        }
        self.mutate(context, id, Mutation::write(oid, first, data), needs);
    }

    fn wait_more(&mut self, id: u64) {
        if let Some(piece) = self.pieces.get_mut(&id) {
            piece.waits += 1;
        }
    }

    fn mutate(&mut self, context: &mut Context, id: u64, mutation: Mutation, needs: Needs) {
        let Some(piece) = self.pieces.get_mut(&id) else { return };
        piece.waits += 1;
        let oid = Oid::data(self.vid, piece.index);
        self.start_flight(context, oid, (mutation, needs), Then::Piece(id));
    }

    /// A flight of the piece has landed; its stamps are complete with the piece.
    pub(super) fn handle_landed(&mut self, context: &mut Context, id: u64, stamps: Vec<Stamp>) {
        let Some(piece) = self.pieces.get_mut(&id) else { return };
        piece.stamps.extend(stamps);
        if matches!(piece.work, Work::Reset) {
            // Only now: an entry without object reads as zeros, an object without entry would
            // bring old data back with the next first write.
            piece.work = Work::Unmap;
            piece.waits = 1;
            let index = piece.index;
            self.map.change(index, false, Some(id));
            return;
        }
        self.note_durable(context, id);
    }

    /// The map entry of the piece is durable.
    pub(super) fn handle_map_durable(&mut self, context: &mut Context, id: u64) {
        self.note_durable(context, id);
    }

    fn note_durable(&mut self, context: &mut Context, id: u64) {
        let Some(piece) = self.pieces.get_mut(&id) else { return };
        piece.waits = piece.waits.saturating_sub(1);
        if piece.waits == 0 {
            self.finish_piece(context, id);
        }
    }

    /// The blocks that a piece asked for.
    pub(super) fn handle_piece_read(&mut self, context: &mut Context, id: u64, bytes: Payload) {
        let Some(piece) = self.pieces.get(&id) else { return };
        match &piece.work {
            Work::Read { skip, take, into } => {
                let Some(pending) = self.requests.get_mut(&piece.token) else { return };
                let wanted = bytes.slice(*skip..*skip + *take);
                match &mut pending.buffer {
                    Some(buffer) if pending.left == 1 && buffer.len() == *take => {
                        pending.whole = Some(wanted);
                    }
                    Some(buffer) => buffer[*into..*into + *take].copy_from_slice(&wanted),
                    None => {}
                }
                self.finish_piece(context, id);
            }
            Work::Write { skip, data } => {
                let merged = merge(Buffer::copy_of(&bytes), *skip, data);
                self.write_blocks(context, id, merged);
            }
            Work::Heal => self.write_blocks(context, id, bytes),
            Work::Hole | Work::Reset | Work::Unmap => {}
        }
    }

    pub(super) fn fail_piece(&mut self, context: &mut Context, id: u64, refusal: Refusal) {
        let token = self.pieces.get(&id).map(|piece| piece.token);
        if let Some(pending) = token.and_then(|token| self.requests.get_mut(&token)) {
            pending.error = Some(refusal);
        }
        self.finish_piece(context, id);
    }

    fn finish_piece(&mut self, context: &mut Context, id: u64) {
        let Some(piece) = self.pieces.remove(&id) else { return };
        piece.stamps.iter().for_each(|stamp| self.complete(*stamp));
        if matches!(piece.work, Work::Heal) {
            self.healing.remove(&(piece.index, piece.blocks.start));
        }
        self.runnable.extend(self.locks.release(piece.index, id));
        let Some(pending) = self.requests.get_mut(&piece.token) else { return };
        pending.left -= 1;
        if pending.left == 0 {
            self.answer(context, piece.token);
        }
    }

    fn answer(&mut self, context: &mut Context, token: u64) {
        let Some(pending) = self.requests.remove(&token) else { return };
        let result = match (pending.error, pending.whole, pending.buffer) {
            (Some(refusal), _, _) => Err(refusal),
            (None, Some(whole), _) => Ok(Answer::Data(whole)),
            (None, None, Some(buffer)) => Ok(Answer::Data(buffer.share())),
            (None, None, None) => Ok(Answer::Done),
        };
        if token & HEAL == 0 {
            context.answer_leased(self.vid, token, result);
        }
    }

    pub(super) const fn heal_piece(&self, token: u64, index: u32, blocks: Range<u32>) -> Piece {
        Piece { token, index, blocks, work: Work::Heal, waits: 0, stamps: Vec::new() }
    }

    fn cut_read(&self, offset: u64, len: u64, token: u64) -> Vec<Piece> {
        let piece = |cut: Cut| Piece {
            token,
            index: cut.index,
            blocks: cut.blocks(),
            work: Work::Read { skip: cut.skip(), take: cut.len(), into: cut.at },
            waits: 0,
            stamps: Vec::new(),
        };
        cut(offset, len, self.object_bytes(), u64::from(PIECE_BLOCKS))
            .into_iter()
            .map(piece)
            .collect()
    }

    /// Whole blocks together, a partial first or last block alone (E1).
    fn cut_write(&self, offset: u64, data: &Payload, token: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (part, _) in split_edges(offset, data.len() as u64) {
            let len = part.end - part.start;
            for cut in cut(part.start, len, self.object_bytes(), u64::from(PIECE_BLOCKS)) {
                let at = (part.start - offset) as usize + cut.at;
                let data = data.slice(at..at + cut.len());
                let work = Work::Write { skip: cut.skip(), data };
                pieces.push(Piece {
                    token,
                    index: cut.index,
                    blocks: cut.blocks(),
                    work,
                    waits: 0,
                    stamps: Vec::new(),
                });
            }
        }
        pieces
    }

    fn cut_zero(&self, offset: u64, len: u64, discard: bool, size: u64, token: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (part, whole) in split_edges(offset, len) {
            if !whole {
                // A discard may leave partial blocks alone; zeroes must be exact.
                let zeros = Buffer::zeroed((part.end - part.start) as usize).share();
                pieces.extend(if discard {
                    Vec::new()
                } else {
                    self.cut_write(part.start, &zeros, token)
                });
                continue;
            }
            let object = self.object_bytes();
            for cut in cut(part.start, part.end - part.start, object, object / BLOCK) {
                let last = (u64::from(cut.index) * object + cut.bytes.end) >= size;
                let all = cut.bytes.start == 0 && (cut.bytes.end == object || last);
                let (work, blocks) = if all {
                    (Work::Reset, 0..(object / BLOCK) as u32)
                } else {
                    (Work::Hole, cut.blocks())
                };
                pieces.push(Piece {
                    token,
                    index: cut.index,
                    blocks,
                    work,
                    waits: 0,
                    stamps: Vec::new(),
                });
            }
        }
        pieces
    }

    /// What a legacy client's map write asks for: nothing, or to discard whole objects.
    fn cut_map_hint(&self, offset: u32, data: &[u8], token: u64) -> Result<Vec<Piece>, Refusal> {
        if !offset.is_multiple_of(4) || !data.len().is_multiple_of(4) {
            return Err(Refusal::Invalid("map write that does not fit entries"));
        }
        let (words, _) = data.as_chunks::<4>();
        let entries = words.iter().map(|word| u32::from_le_bytes(*word)).zip(offset / 4..);
        // A zero between other entries may be the stale view of a second client.
        if data.iter().any(|byte| *byte != 0) {
            let foreign = |(value, index)| {
                value != 0 && value != self.vid.get() && value != self.map.get(index)
            };
            return if entries.into_iter().any(foreign) {
                Err(Refusal::Invalid("map entry of another VDI"))
            } else {
                Ok(Vec::new())
            };
        }
        let blocks = 0..(self.object_bytes() / BLOCK) as u32;
        let reset = |(_, index)| Piece {
            token,
            index,
            blocks: blocks.clone(),
            work: Work::Reset,
            waits: 0,
            stamps: Vec::new(),
        };
        Ok(entries.filter(|(_, index)| self.map.has(*index)).map(reset).collect())
    }

    fn extents(&self, offset: u64, len: u64) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for cut in cut(offset, len, self.object_bytes(), u64::from(u32::MAX)) {
            let (len, allocated) = (cut.len() as u64, self.map.has(cut.index));
            match extents.last_mut() {
                Some(last) if last.allocated == allocated => last.len += len,
                _ => extents.push(Extent { len, allocated }),
            }
        }
        extents
    }
}

enum Prepared {
    Answer(Answer),
    Pieces(Vec<Piece>, Option<Buffer>),
}

fn check_map(offset: u32, len: usize) -> Result<(), Refusal> {
    let end = u64::from(offset) + len as u64;
    if end > crate::state::SIZE_OBJECTS_MAX * 4 {
        return Err(Refusal::Invalid("range beyond the end of the map"));
    }
    Ok(())
}

fn merge(mut blocks: Buffer, skip: usize, data: &[u8]) -> Payload {
    blocks[skip..skip + data.len()].copy_from_slice(data);
    blocks.share()
}
