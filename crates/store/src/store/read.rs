//! Reading: blocks with their bytes, or with their stamps alone.
//!
//! Holds:
//!   RD1 every byte of a data block was verified against its checksum after it was read;
//!   RD2 a read sees the changes before it, and is answered when they are durable;
//!   RD3 a block that does not match is looked up and read again, for it may have moved or
//!       changed meanwhile; if it still does not match, it is bad.

use std::ops::Range;

use sheepdog_proto::{BLOCK_BYTES, Buffer, Oid, Payload, Stamp, block_checksum};

use super::work::Work;
use super::{Parked, Queued, Store};
use crate::contents::seen_from;
use crate::disk::Operation;
use crate::error::{Corruption, StoreError};
use crate::request::{Block, BlockState, ReadReply, Reply, Request};
use crate::shape::{Shape, check_range};
use crate::store::files::SLAB_UNITS;

/// How often a block is read before it is called bad.
const ATTEMPTS: u32 = 3;

/// A read under way.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) token: u64,
    oid: Oid,
    first_block: u32,
    base: Stamp,
    blocks: Vec<Block>,
    /// Everything that is there already; `None` while one part reads all of it.
    data: Option<Buffer>,
    /// Runs of blocks that come from slabs.
    parts: Vec<Range<u32>>,
    parts_left: usize,
    attempts: u32,
    error: Option<StoreError>,
    /// What it saw is durable with this batch.
    after: u64,
}

/// Where the bytes of a block are.
enum Source {
    Zeros,
    Memory(Payload),
    /// Unit, and block in it.
    Unit(u32, u32),
    /// Nowhere, though there should be some.
    Nowhere,
}

impl Store {
    pub(super) fn plan_stamps(
        &mut self,
        token: u64,
        oid: Oid,
        first_block: u32,
        count: u32,
    ) -> Result<(), StoreError> {
        let (base, blocks, after) = self.known(oid, first_block, count)?;
        let parts = Vec::new();
        let (data, attempts, error, parts_left) = (Some(Buffer::zeroed(0)), 0, None, 0);
        let reading = Reading {
            token,
            oid,
            first_block,
            base,
            blocks,
            data,
            parts,
            parts_left,
            attempts,
            error,
            after,
        };
        self.wait_or_answer(reading);
        Ok(())
    }

    /// What is known of blocks, and the batch that makes it durable.
    fn known(
        &self,
        oid: Oid,
        first_block: u32,
        count: u32,
    ) -> Result<(Stamp, Vec<Block>, u64), StoreError> {
        let shape = self.pending.shape(&self.contents, oid).unwrap_or(Shape::LARGEST);
        check_range(oid, shape, first_block, count)?;
        let base = self.pending.base(&self.contents, oid);
        let entry = |block| seen_from(self.pending.entry(&self.contents, oid, block), base);
        let blocks = (first_block..first_block + count).map(entry).collect();
        Ok((base, blocks, self.pending.batch_of(oid).unwrap_or_default()))
    }

    pub(super) fn plan_read(
        &mut self,
        token: u64,
        oid: Oid,
        first_block: u32,
        count: u32,
        attempts: u32,
    ) -> Result<(), StoreError> {
        let (base, blocks, after) = self.known(oid, first_block, count)?;
        let mut data = None;
        let mut places: Vec<(u32, u32, u32)> = Vec::new();
        for (number, block) in (first_block..).zip(&blocks) {
            match self.source(oid, number, block) {
                Source::Zeros => {}
                Source::Memory(bytes) => {
                    let data = data.get_or_insert_with(|| whole_buffer(count));
                    let start = (number - first_block) as usize * BLOCK_BYTES;
                    data[start..start + BLOCK_BYTES].copy_from_slice(&bytes);
                }
                Source::Unit(unit, place) => places.push((number, unit, place)),
                Source::Nowhere => return Err(Corruption::Block { oid, block: number }.into()),
            }
        }
        let parts = contiguous(&places);
        let is_one = parts.len() == 1 && places.len() == count as usize;
        if data.is_none() && !is_one {
            data = Some(whole_buffer(count));
        }
        let parts_left = parts.len();
        let ranges = parts.iter().map(|(run, _, _)| run.clone()).collect();
        let reading = Reading {
            token,
            oid,
            first_block,
            base,
            blocks,
            data,
            parts: ranges,
            parts_left,
            attempts,
            error: None,
            after,
        };
        let id = self.next_id();
        if parts_left == 0 {
            self.wait_or_answer(reading);
            return Ok(());
        }
        for (part, (run, unit, place)) in parts.into_iter().enumerate() {
            let (file, offset) = self.files.place(&mut self.disk, unit, place)?;
            self.statistics.read_blocks += u64::from(run.end - run.start);
            // What the disk does not give, `read_buffer` fills with zeros.
            let buffer = Buffer::for_reading((run.end - run.start) as usize * BLOCK_BYTES);
            self.begin(Work::Read(id, part), Operation::Read { file, offset, buffer });
        }
        self.readings.insert(id, reading);
        Ok(())
    }

    fn source(&self, oid: Oid, block: u32, known: &Block) -> Source {
        if !matches!(known.state, BlockState::Data { .. }) {
            return Source::Zeros;
        }
        if let Some(pending) = self.pending.block(oid, block) {
            return pending.bytes().map_or(Source::Zeros, |bytes| Source::Memory(bytes.clone()));
        }
        if let Some(recent) = self.contents.overlay.get(oid, block) {
            return Source::Memory(recent.bytes.clone());
        }
        match self.contents.unit_for(oid, block) {
            Some(unit) => Source::Unit(unit, block % crate::shape::UNIT_BLOCKS),
            None => Source::Nowhere,
        }
    }

    /// A part of a read has ended.
    pub(super) fn take_read(&mut self, id: u64, part: usize, result: Result<Buffer, StoreError>) {
        let Some(reading) = self.readings.get_mut(&id) else { return };
        reading.parts_left -= 1;
        match (result, &mut reading.data) {
            (Ok(buffer), None) => reading.data = Some(buffer),
            (Ok(buffer), Some(data)) => {
                let run = &reading.parts[part];
                let start = (run.start - reading.first_block) as usize * BLOCK_BYTES;
                data[start..start + buffer.len()].copy_from_slice(&buffer);
            }
            (Err(error), _) => reading.error = Some(error),
        }
        if reading.parts_left > 0 {
            return;
        }
        let Some(reading) = self.readings.remove(&id) else { return };
        if let Some(error) = reading.error {
            self.answer(reading.token, Err(error));
        } else if let Some(block) = reading.first_bad() {
            self.read_again(reading, block);
        } else {
            self.wait_or_answer(reading);
        }
    }

    /// RD3.
    fn read_again(&mut self, reading: Reading, block: u32) {
        let Reading { token, oid, first_block, attempts, .. } = reading;
        if attempts + 1 >= ATTEMPTS {
            self.answer(token, Err(Corruption::Block { oid, block }.into()));
            return;
        }
        let count = reading.blocks.len() as u32;
        let request = Request::Read { oid, first_block, count };
        let pages = self.want_pages(&request);
        let attempts = attempts + 1;
        self.queue.push_front(Queued { token, request, pages, attempts, has_waited: true });
    }

    /// A read of blocks into which large writes are under way waits for them (RD2). Gives back
    /// what need not wait.
    pub(super) fn park(&mut self, queued: Queued) -> Option<Queued> {
        let range = range_of(&queued.request).filter(|_| !queued.has_waited);
        let newest =
            range.and_then(|(oid, blocks)| self.placings.newest_over(oid, &blocks, u64::MAX));
        let Some(after_placing) = newest else { return Some(queued) };
        self.parked.push(Parked { queued, after_placing });
        None
    }

    /// Reads that have waited long enough are the next.
    pub(super) fn unpark(&mut self) {
        let placings = &self.placings;
        let is_ready = |parked: &mut Parked| {
            range_of(&parked.queued.request).is_none_or(|(oid, blocks)| {
                placings.newest_over(oid, &blocks, parked.after_placing).is_none()
            })
        };
        let ready: Vec<Parked> = self.parked.extract_if(.., is_ready).collect();
        for Parked { queued, .. } in ready.into_iter().rev() {
            let pages = self.want_pages(&queued.request);
            self.queue.push_front(Queued { pages, has_waited: true, ..queued });
        }
    }

    /// RD2.
    fn wait_or_answer(&mut self, reading: Reading) {
        if reading.after > self.commits.committed() {
            let id = self.next_id();
            self.readings.insert(id, reading);
            return;
        }
        let token = reading.token;
        match reading.into_reply() {
            Ok(reply) => self.answer(token, Ok(reply)),
            Err(error) => self.answer(token, Err(error)),
        }
    }

    /// A batch was committed.
    pub(super) fn answer_waiting_readings(&mut self) {
        let committed = self.commits.committed();
        let is_ready =
            |_: &u64, reading: &mut Reading| reading.parts_left == 0 && reading.after <= committed;
        let ready: Vec<_> = self.readings.extract_if(.., is_ready).collect();
        for (_, reading) in ready {
            self.wait_or_answer(reading);
        }
    }
}

impl Reading {
    /// RD1: the first block whose bytes are not what was written.
    fn first_bad(&self) -> Option<u32> {
        let data = self.data.as_deref()?;
        let (bytes, _) = data.as_chunks::<BLOCK_BYTES>();
        let all = (self.first_block..).zip(&self.blocks).zip(bytes);
        let is_bad = |number: u32, block: &Block, bytes: &[u8]| match block.state {
            BlockState::Data { checksum } => block_checksum(self.oid, number, bytes) != checksum,
            BlockState::Hole | BlockState::Absent => false,
        };
        all.into_iter()
            .find(|((number, block), bytes)| is_bad(*number, block, &bytes[..]))
            .map(|((number, _), _)| number)
    }

    fn into_reply(self) -> Result<Reply, StoreError> {
        let Self { base, blocks, data, oid, first_block, .. } = self;
        match data {
            Some(data) if data.is_empty() => Ok(Reply::Stamps { base, blocks }),
            Some(data) => Ok(Reply::Read(ReadReply { base, blocks, data: data.share() })),
            None => Err(Corruption::Block { oid, block: first_block }.into()),
        }
    }
}

/// The blocks that a read asks for.
fn range_of(request: &Request) -> Option<(Oid, Range<u32>)> {
    match request {
        Request::Read { oid, first_block, count } | Request::Stamps { oid, first_block, count } => {
            Some((*oid, *first_block..first_block.saturating_add(*count)))
        }
        _ => None,
    }
}

fn whole_buffer(blocks: u32) -> Buffer {
    Buffer::zeroed(blocks as usize * BLOCK_BYTES)
}

/// Runs of blocks that are neighbours in the object and in a slab, with unit and block where
/// each begins.
fn contiguous(places: &[(u32, u32, u32)]) -> Vec<(Range<u32>, u32, u32)> {
    use crate::shape::UNIT_BLOCKS;
    let mut parts: Vec<(Range<u32>, u32, u32)> = Vec::new();
    for (number, unit, place) in places {
        if let Some((run, first_unit, first_place)) = parts.last_mut() {
            let steps = *first_place + (run.end - run.start);
            let next = (*first_unit + steps / UNIT_BLOCKS, steps % UNIT_BLOCKS);
            let same_slab = *first_unit / SLAB_UNITS == *unit / SLAB_UNITS;
            if run.end == *number && next == (*unit, *place) && same_slab {
                run.end += 1;
                continue;
            }
        }
        parts.push((*number..number + 1, *unit, *place));
    }
    parts
}
