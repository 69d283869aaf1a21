//! The model: what a store should hold, as plain maps, without disk, journal or cache.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{BLOCK_BYTES, Oid, Payload, Stamp, Vid, View, block_checksum};
use sheepdog_store::{
    Block, BlockState, Listing, ObjectSummary, ReadReply, Reply, Request, Store, StoreError,
    Unstable, UnstableKind,
};

use crate::history::{stamp, write};

/// First block and count of what histories change; everything else stays absent.
const USED_BLOCKS: [(u32, u32); 4] = [(0, 8), (29, 8), (60, 7), (250, 6)];

/// Everything a store should know.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) objects: BTreeMap<Oid, ModelObject>,
    pub(crate) unstable: BTreeSet<Unstable>,
    /// Base and view of what was reset.
    pub(crate) tombstones: BTreeMap<Oid, (Stamp, View)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelObject {
    pub(crate) shift: u8,
    pub(crate) base: Stamp,
    pub(crate) modified: View,
    /// Stamp and bytes; no bytes for a hole.
    pub(crate) blocks: BTreeMap<u32, (Stamp, Option<Vec<u8>>)>,
}

impl Model {
    pub(crate) fn base(&self, oid: Oid) -> Stamp {
        self.objects.get(&oid).map_or_else(|| self.tombstone(oid).0, |object| object.base)
    }

    fn tombstone(&self, oid: Oid) -> (Stamp, View) {
        self.tombstones.get(&oid).copied().unwrap_or_default()
    }

    fn remember_reset(&mut self, oid: Oid, stamp: Stamp, view: View) {
        let (old_stamp, old_view) = self.tombstone(oid);
        self.tombstones.insert(oid, (old_stamp.max(stamp), old_view.max(view)));
    }

    /// The store has made a checkpoint: resets that are stable are forgotten.
    pub(crate) fn begin_segment(&mut self) {
        self.tombstones.clear();
        for change in self.unstable.clone() {
            if change.kind == UnstableKind::Reset {
                self.remember_reset(change.oid, change.stamp, View(0));
            }
        }
    }

    /// What a reader should see of a block.
    pub(crate) fn block(&self, oid: Oid, block: u32) -> (Block, Vec<u8>) {
        let stored = self.objects.get(&oid).and_then(|object| object.blocks.get(&block));
        let bytes = stored.and_then(|(_, bytes)| bytes.clone());
        (self.known(oid, block), bytes.unwrap_or_else(|| vec![0; BLOCK_BYTES]))
    }

    fn known(&self, oid: Oid, block: u32) -> Block {
        match self.objects.get(&oid).and_then(|object| object.blocks.get(&block)) {
            Some((stamp, Some(bytes))) => {
                let checksum = block_checksum(oid, block, bytes);
                Block { stamp: *stamp, state: BlockState::Data { checksum } }
            }
            Some((stamp, None)) => Block { stamp: *stamp, state: BlockState::Hole },
            None => Block { stamp: self.base(oid), state: BlockState::Absent },
        }
    }

    /// What the reply to a question should be.
    fn execute_read(&self, request: &Request) -> Reply {
        match request {
            Request::Read { oid, first_block, count } => {
                let (blocks, bytes): (Vec<_>, Vec<_>) = (*first_block..*first_block + *count)
                    .map(|block| self.block(*oid, block))
                    .unzip();
                let data = Payload::from(&bytes.concat()[..]);
                Reply::Read(ReadReply { base: self.base(*oid), blocks, data })
            }
            Request::Stamps { oid, first_block, count } => {
                let blocks = *first_block..*first_block + *count;
                let blocks = blocks.map(|block| self.known(*oid, block)).collect();
                Reply::Stamps { base: self.base(*oid), blocks }
            }
            Request::List { after, limit } => Reply::List(self.list(*after, *limit)),
            Request::Unstable { vid } => {
                let of_vid = self.unstable.iter().filter(|change| change.oid.vid() == *vid);
                Reply::Unstable(of_vid.copied().collect())
            }
            other => panic!("{other:?} is no question"),
        }
    }

    /// Does a request and says what the reply should be.
    pub(crate) fn execute(&mut self, request: &Request) -> Reply {
        match request {
            Request::Write { oid, object_shift, first_block, stamp, view, data, .. } => {
                let blocks = data.chunks(BLOCK_BYTES).map(|bytes| Some(bytes.to_vec())).collect();
                let change = (*oid, *object_shift, *first_block, *stamp, *view);
                self.change(change, blocks, UnstableKind::Write)
            }
            Request::Hole { oid, object_shift, first_block, count, stamp, view } => {
                let change = (*oid, *object_shift, *first_block, *stamp, *view);
                self.change(change, vec![None; *count as usize], UnstableKind::Hole)
            }
            Request::Reset { oid, stamp, view } => self.reset(*oid, *stamp, *view),
            Request::Watermark { vid, stable } => {
                self.unstable.retain(|change| {
                    change.oid.vid() != *vid
                        || change.stamp.generation() != stable.generation()
                        || change.stamp > *stable
                });
                Reply::Done { blocks: 0 }
            }
            Request::Settle { vid, below, oids } => {
                self.unstable.retain(|change| {
                    change.oid.vid() != *vid
                        || change.stamp.generation() >= *below
                        || !oids.contains(&change.oid)
                });
                Reply::Done { blocks: 0 }
            }
            question => self.execute_read(question),
        }
    }

    /// Does a request, and says what is there afterwards.
    pub(crate) fn after(&mut self, request: &Request) -> Self {
        self.execute(request);
        self.clone()
    }

    fn change(
        &mut self,
        (oid, shift, first_block, stamp, view): (Oid, u8, u32, Stamp, View),
        blocks: Vec<Option<Vec<u8>>>,
        kind: UnstableKind,
    ) -> Reply {
        let base = self.base(oid);
        let mut applied = Vec::new();
        for (number, bytes) in (first_block..).zip(blocks) {
            let stored = self.objects.get(&oid).and_then(|object| object.blocks.get(&number));
            let is_newer = stored.is_none_or(|(stored, _)| stamp > *stored);
            if is_newer && stamp >= base {
                applied.push((number, bytes));
            }
        }
        if applied.is_empty() {
            if let Some(object) = self.objects.get_mut(&oid) {
                object.modified = object.modified.max(view);
            }
            return Reply::Done { blocks: 0 };
        }
        let count = applied.len() as u32;
        let modified = self.tombstone(oid).1;
        let object = self.objects.entry(oid).or_insert_with(|| ModelObject {
            shift,
            base,
            modified,
            blocks: BTreeMap::new(),
        });
        object.modified = object.modified.max(view);
        let mut run: Option<Unstable> = None;
        for (number, bytes) in applied {
            object.blocks.insert(number, (stamp, bytes));
            match &mut run {
                // A change is noted for each unit of 64 blocks by itself.
                Some(run) if run.first_block + run.count == number && number % 64 != 0 => {
                    run.count += 1;
                }
                _ => {
                    self.unstable.extend(run);
                    run = Some(Unstable { stamp, oid, first_block: number, kind, count: 1 });
                }
            }
        }
        self.unstable.extend(run);
        Reply::Done { blocks: count }
    }

    fn reset(&mut self, oid: Oid, stamp: Stamp, view: View) -> Reply {
        if stamp <= self.base(oid) {
            if let Some(object) = self.objects.get_mut(&oid) {
                object.modified = object.modified.max(view);
            }
            return Reply::Done { blocks: 0 };
        }
        let mut gone = 0;
        let mut newest_view = view;
        if let Some(object) = self.objects.get_mut(&oid) {
            let before = object.blocks.len();
            object.blocks.retain(|_, (stored, _)| *stored >= stamp);
            gone = (before - object.blocks.len()) as u32;
            object.base = stamp;
            object.modified = object.modified.max(view);
            newest_view = object.modified;
            if object.blocks.is_empty() {
                self.objects.remove(&oid);
            }
        }
        self.remember_reset(oid, stamp, newest_view);
        let kind = UnstableKind::Reset;
        self.unstable.insert(Unstable { stamp, oid, first_block: 0, kind, count: 0 });
        Reply::Done { blocks: gone }
    }

    fn list(&self, after: Option<Oid>, limit: usize) -> Listing {
        let above = self.objects.iter().filter(|(oid, _)| after.is_none_or(|after| **oid > after));
        let summary = |(oid, object): (&Oid, &ModelObject)| ObjectSummary {
            oid: *oid,
            object_shift: object.shift,
            base: object.base,
            modified: object.modified,
            blocks: object.blocks.len() as u32,
        };
        let mut objects: Vec<_> = above.map(summary).collect();
        let next = (objects.len() > limit).then(|| objects[limit - 1].oid);
        objects.truncate(limit);
        Listing { objects, rotten: Vec::new(), next }
    }
}

/// One request alone.
pub(crate) fn ask(store: &mut Store, request: Request) -> Reply {
    let mut replies = store.execute(vec![request.clone()]);
    assert_eq!(replies.len(), 1);
    replies.remove(0).unwrap_or_else(|error| panic!("{request:?}: {error}"))
}

/// The first commit after an open begins a segment of the log, and forgets what only the ones
/// before said. Here it is made by a write of its own, so that the model can do the same.
pub(crate) fn settle(store: &mut Store, model: &mut Model) {
    let segment = store.segment();
    try_settle(store, model).unwrap_or_else(|error| panic!("settle: {error}"));
    assert_ne!(store.segment(), segment);
}

/// As `settle`, where the disk may fail; then nobody knows whether it was done.
pub(crate) fn try_settle(store: &mut Store, model: &mut Model) -> Result<(), StoreError> {
    let oid = Oid::data(Vid::new(9).unwrap(), 0);
    let sequence = model.objects.get(&oid).map_or(1, |object| object.blocks[&0].0.sequence() + 1);
    let request = write(oid, 0, 1, stamp(1, sequence), 1, 1);
    let reply = store.execute(vec![request.clone()]).remove(0);
    model.begin_segment();
    let expected = model.execute(&request);
    assert_eq!(reply?, expected);
    Ok(())
}

/// A batch for the store.
pub(crate) fn play(store: &mut Store, batch: &[Request]) -> Vec<Result<Reply, StoreError>> {
    let replies = store.execute(batch.to_vec());
    assert_eq!(replies.len(), batch.len());
    replies
}

/// What differs between a store and the model, if anything: objects, blocks, bytes.
pub(crate) fn difference(store: &mut Store, model: &Model, oids: &[Oid]) -> Option<String> {
    let listed = ask(store, Request::List { after: None, limit: 1000 });
    let expected = Reply::List(model.list(None, 1000));
    if listed != expected {
        return Some(format!("list {listed:?}, expected {expected:?}"));
    }
    for oid in oids {
        let blocks = model.objects.get(oid).map_or(256, |object| 1 << (object.shift - 12));
        let stamps = Request::Stamps { oid: *oid, first_block: 0, count: blocks };
        let used = USED_BLOCKS.into_iter().map(|(first_block, count)| Request::Read {
            oid: *oid,
            first_block,
            count,
        });
        for request in std::iter::once(stamps).chain(used) {
            let reply = ask(store, request.clone());
            let mut expected = model.execute_read(&request);
            if !model.objects.contains_key(oid) {
                // The base of an object that is gone is remembered longer if a watermark was
                // not.
                expected = with_base_of(expected, &reply);
            }
            if reply != expected {
                return Some(format!("object {oid}: {}", first_difference(&reply, &expected)));
            }
        }
    }
    None
}

/// Base and blocks of a reply.
fn known(reply: &mut Reply) -> (&mut Stamp, &mut [Block]) {
    match reply {
        Reply::Read(read) => (&mut read.base, &mut read.blocks),
        Reply::Stamps { base, blocks } => (base, blocks),
        other => panic!("{other:?} knows no blocks"),
    }
}

fn with_base_of(mut expected: Reply, other: &Reply) -> Reply {
    let other = *known(&mut other.clone()).0;
    let (base, blocks) = known(&mut expected);
    if other > *base {
        *base = other;
        for block in blocks {
            block.stamp = other;
        }
    }
    expected
}

fn first_difference(reply: &Reply, expected: &Reply) -> String {
    let (mut reply, mut expected) = (reply.clone(), expected.clone());
    let ((base, blocks), (wanted_base, wanted)) = (known(&mut reply), known(&mut expected));
    for (number, (have, want)) in blocks.iter().zip(wanted.iter()).enumerate() {
        if have != want {
            return format!("place {number} is {have:?}, expected {want:?}");
        }
    }
    format!("base {base} or data, expected base {wanted_base}")
}
