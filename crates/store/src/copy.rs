//! Copying a bucket from one store to another while clients go on changing it.
//!
//! Way: `step` says what to ask which store, `take` gets the replies; one question is open at a
//!      time. First the target forgets what it may have; then the caller sends every change to
//!      both stores ([`Step::Double`]) and says so of resets (`note_reset`); then object by object
//!      is read from the source and written to the target with the stamps that it has.
//! Holds:
//!   BC1 when it is done the target has every change that the source has: what came before
//!       `Double` was copied, what came later was sent to both; the order in which the two meet
//!       does not matter, for each block the newest stamp stays;
//!   BC2 nothing comes back: what was read before a reset and would be written behind it is read
//!       again, and resets that are unstable are repeated on the target before anything else;
//!   BC3 what is on the source's unstable list is on the target's, the rest comes as settled.
//! Not here: who answers clients meanwhile, and when the target takes over (sheep).

use std::collections::BTreeSet;

use sheepdog_proto::{BLOCK_BYTES, Oid, Stamp, View};

use crate::error::StoreError;
use crate::home::bucket_of;
use crate::request::{
    BlockState, Listing, ObjectSummary, ReadReply, Reply, Request, Unstable, UnstableKind,
};
use crate::shape::PAGE_BLOCKS;

/// Objects of the source's list that are asked for at once.
const LIST_LIMIT: usize = 1000;
/// Blocks that are copied at once.
const CHUNK_BLOCKS: u32 = PAGE_BLOCKS;

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It has everything.
    Source,
    /// It shall have everything.
    Target,
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Ask all of these, at once and before anything else is asked, and hand the replies in.
    Ask(Side, Vec<Request>),
    /// From now on send every change of the bucket to both stores.
    Double,
    /// The target has everything.
    Done,
}

/// What the copy is about.
#[derive(Debug)]
enum Stage {
    Forget,
    Double,
    Unstable,
    Resets(Vec<Unstable>),
    List(Option<Oid>),
    /// Objects that are left of a part of the list, the last one first.
    Objects(Vec<ObjectSummary>, Option<Oid>),
    Done,
}

/// A chunk of an object.
#[derive(Debug, Default)]
struct Chunk {
    first_block: u32,
    /// What the source has; to be read if it is not here.
    read: Option<ReadReply>,
    /// Since the chunk was asked for a reset of the object came.
    is_stale: bool,
}

/// The copy of one bucket.
#[derive(Debug)]
pub struct BucketCopy {
    bucket: u8,
    stage: Stage,
    chunk: Chunk,
    /// Changes that were unstable when it began.
    unstable: BTreeSet<(Oid, Stamp)>,
}

impl BucketCopy {
    /// A copy that has not begun.
    #[must_use]
    pub fn new(bucket: u8) -> Self {
        let (stage, chunk) = (Stage::Forget, Chunk::default());
        Self { bucket, stage, chunk, unstable: BTreeSet::new() }
    }

    /// What to do next. After a question that failed it is asked again.
    pub fn step(&mut self) -> Step {
        let bucket = self.bucket;
        match &self.stage {
            Stage::Forget => Step::Ask(Side::Target, vec![Request::Forget { bucket }]),
            Stage::Double => {
                self.stage = Stage::Unstable;
                Step::Double
            }
            Stage::Unstable => Step::Ask(Side::Source, vec![Request::UnstableIn { bucket }]),
            Stage::Resets(resets) => {
                let reset = |change: &Unstable| Request::Reset {
                    oid: change.oid,
                    stamp: change.stamp,
                    view: View(0),
                };
                Step::Ask(Side::Target, resets.iter().map(reset).collect())
            }
            Stage::List(after) => {
                let list = Request::List { after: *after, limit: LIST_LIMIT };
                Step::Ask(Side::Source, vec![list])
            }
            Stage::Objects(objects, _) => {
                let object = objects.last().copied();
                object.map_or(Step::Done, |object| self.step_in(&object))
            }
            Stage::Done => Step::Done,
        }
    }

    fn step_in(&mut self, object: &ObjectSummary) -> Step {
        if std::mem::take(&mut self.chunk.is_stale) {
            self.chunk.read = None; // BC2
        }
        if let Some(read) = &self.chunk.read {
            return Step::Ask(Side::Target, self.copies(object, read));
        }
        let (oid, first_block) = (object.oid, self.chunk.first_block);
        let count = CHUNK_BLOCKS.min(blocks_of(object) - first_block);
        Step::Ask(Side::Source, vec![Request::Read { oid, first_block, count }])
    }

    /// Takes the replies to the last question, and says how many bytes of data they brought.
    ///
    /// # Errors
    /// The first error among them; then `step` asks again. `Corrupt` if the source cannot read
    /// what it has.
    pub fn take(&mut self, replies: Vec<Result<Reply, StoreError>>) -> Result<u64, StoreError> {
        let replies = replies.into_iter().collect::<Result<Vec<_>, _>>();
        let replies = match replies {
            Ok(replies) => replies,
            Err(error) => {
                self.chunk.read = None;
                return Err(error);
            }
        };
        let reply = replies.into_iter().next();
        match (&mut self.stage, reply) {
            (Stage::Forget, _) => self.stage = Stage::Double,
            (Stage::Unstable, Some(Reply::Unstable(list))) => {
                self.unstable = list.iter().map(|change| (change.oid, change.stamp)).collect();
                let mut resets = list;
                resets.retain(|change| change.kind == UnstableKind::Reset);
                self.stage =
                    if resets.is_empty() { Stage::List(None) } else { Stage::Resets(resets) };
            }
            (Stage::Resets(_), _) => self.stage = Stage::List(None),
            (Stage::List(_), Some(Reply::List(listing))) => self.take_list(listing)?,
            (Stage::Objects(..), Some(Reply::Read(read))) if self.chunk.read.is_none() => {
                return Ok(self.take_read(read));
            }
            (Stage::Objects(..), _) => self.end_chunk(),
            _ => {}
        }
        Ok(0)
    }

    /// Objects of other buckets are passed over.
    fn take_list(&mut self, listing: Listing) -> Result<(), StoreError> {
        let Listing { mut objects, rotten, next } = listing;
        if let Some((_, why)) = rotten.into_iter().find(|(oid, _)| bucket_of(*oid) == self.bucket) {
            return Err(why.into());
        }
        objects.retain(|object| bucket_of(object.oid) == self.bucket);
        objects.reverse();
        self.chunk = Chunk::default();
        self.stage = match (objects.is_empty(), next) {
            (false, _) => Stage::Objects(objects, next),
            (true, Some(next)) => Stage::List(Some(next)),
            (true, None) => Stage::Done,
        };
        Ok(())
    }

    fn take_read(&mut self, read: ReadReply) -> u64 {
        let is_there = |block: &&crate::Block| block.state != BlockState::Absent;
        let count = read.blocks.iter().filter(is_there).count();
        self.chunk.read = Some(read);
        if count == 0 && !self.chunk.is_stale {
            self.end_chunk();
        }
        (count * BLOCK_BYTES) as u64
    }

    fn end_chunk(&mut self) {
        let Stage::Objects(objects, next) = &mut self.stage else { return };
        let Some(object) = objects.last() else { return };
        let first_block = self.chunk.first_block + CHUNK_BLOCKS;
        self.chunk = Chunk::default();
        if first_block < blocks_of(object) {
            self.chunk.first_block = first_block;
            return;
        }
        objects.pop();
        if objects.is_empty() {
            self.stage = next.map_or(Stage::Done, |next| Stage::List(Some(next)));
        }
    }

    /// A reset of an object of the bucket is sent to both stores.
    pub fn note_reset(&mut self, oid: Oid) {
        if let Stage::Objects(objects, _) = &self.stage
            && objects.last().is_some_and(|object| object.oid == oid)
        {
            self.chunk.is_stale = true;
        }
    }

    /// The requests that make what was read of an object so on the target.
    fn copies(&self, object: &ObjectSummary, read: &ReadReply) -> Vec<Request> {
        let ObjectSummary { oid, object_shift, modified: view, .. } = *object;
        let mut requests = Vec::new();
        for run in runs(read) {
            let first = run.first().copied().unwrap_or_default();
            let Some(block) = read.blocks.get(first) else { continue };
            let (stamp, first_block) = (block.stamp, self.chunk.first_block + first as u32);
            let request = match block.state {
                BlockState::Absent => continue,
                BlockState::Hole => {
                    let count = run.len() as u32;
                    Request::Hole { oid, object_shift, first_block, count, stamp, view }
                }
                BlockState::Data { .. } => {
                    let checksums = run.iter().filter_map(|at| checksum(read, *at)).collect();
                    let bytes = first * BLOCK_BYTES..(first + run.len()) * BLOCK_BYTES;
                    let data = read.data.slice(bytes);
                    Request::Write { oid, object_shift, first_block, stamp, view, checksums, data }
                }
            };
            // BC3
            let is_unstable = self.unstable.contains(&(oid, stamp));
            requests.push(if is_unstable { request } else { Request::Settled(Box::new(request)) });
        }
        if read.base > Stamp::NONE && !requests.is_empty() {
            // Last, so that there is an object that keeps it.
            let reset = Request::Reset { oid, stamp: read.base, view };
            requests.push(Request::Settled(Box::new(reset)));
        }
        requests
    }
}

/// Neighbouring blocks that one request can carry: one stamp, and all data or all holes.
fn runs(read: &ReadReply) -> Vec<Vec<usize>> {
    let kind = |at: usize| {
        read.blocks.get(at).map(|block| (block.stamp, std::mem::discriminant(&block.state)))
    };
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for at in 0..read.blocks.len() {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|last| kind(*last) == kind(at)) => run.push(at),
            _ => runs.push(vec![at]),
        }
    }
    runs
}

fn checksum(read: &ReadReply, at: usize) -> Option<u32> {
    match read.blocks.get(at)?.state {
        BlockState::Data { checksum } => Some(checksum),
        BlockState::Absent | BlockState::Hole => None,
    }
}

const fn blocks_of(object: &ObjectSummary) -> u32 {
    1 << (object.object_shift - 12)
}
