//! The store of one shard of one sheep, in memory, with the promises of the real one.
//!
//! Holds:
//!   T1 a block changes only to a newer stamp, not older than the base of its object; what is
//!      equal or older is ignored and acknowledged;
//!   T2 a reset forgets older blocks and raises the base; the base of an object of which nothing
//!      is left is remembered as long as the reset is unstable;
//!   T3 what was applied is listed until a watermark of its own generation or a settlement; both
//!      may be forgotten by a crash, data and lists may not;
//!   T4 an object knows the newest view under which a change of it came, applied or not.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::peer::{
    BlockMeta, BlockState, Listed, Listing, PeerError, Pulled, ReplyBody, RequestBody, Unstable,
    UnstableKind,
};
use sheepdog_proto::{
    BLOCK_BYTES, Buffer, Generation, ObjectKind, Oid, Payload, Stamp, Vid, View, block_checksum,
};

use super::random::Random;

#[derive(Clone, Debug)]
struct Block {
    stamp: Stamp,
    /// `None` for a hole.
    bytes: Option<(Payload, u32)>,
}

#[derive(Clone, Debug, Default)]
struct Object {
    base: Stamp,
    modified: View,
    blocks: BTreeMap<u32, Block>,
}

/// Stamp, object, first block, blocks, whether it is a reset.
type Change = (Stamp, Oid, u32, u32, bool);

#[derive(Debug, Default)]
pub(super) struct Memory {
    objects: BTreeMap<Oid, Object>,
    unstable: BTreeSet<Change>,
    /// What has left the list since the last crash.
    left: BTreeSet<Change>,
    /// Blocks whose bytes have rotted.
    rotten: BTreeSet<(Oid, u32)>,
}

impl Memory {
    pub(super) fn execute(
        &mut self,
        vid: Vid,
        generation: Generation,
        (stable, view): (Stamp, View),
        body: &RequestBody,
    ) -> Result<ReplyBody, PeerError> {
        self.watermark(vid, stable);
        let result = self.carry_out(vid, generation, body);
        let changes = matches!(
            body,
            RequestBody::Write { .. } | RequestBody::Hole { .. } | RequestBody::Reset { .. }
        );
        if let Some(oid) = body.oid()
            && changes
        {
            self.raise(oid, view); // T4
        }
        result
    }

    pub(super) fn carry_out(
        &mut self,
        vid: Vid,
        generation: Generation,
        body: &RequestBody,
    ) -> Result<ReplyBody, PeerError> {
        match body {
            RequestBody::Write { oid, first_block, stamp, checksums, data, .. } => {
                for (position, sum) in checksums.iter().enumerate() {
                    let bytes = data.slice(position * BLOCK_BYTES..(position + 1) * BLOCK_BYTES);
                    let number = first_block + position as u32;
                    assert_eq!(block_checksum(*oid, number, &bytes), *sum, "CRC-E2E");
                    self.apply(*oid, number, *stamp, Some((bytes, *sum)));
                }
                Ok(ReplyBody::Done)
            }
            RequestBody::Hole { oid, first_block, count, stamp, .. } => {
                (*first_block..first_block + count).for_each(|n| self.apply(*oid, n, *stamp, None));
                Ok(ReplyBody::Done)
            }
            RequestBody::Reset { oid, stamp } => {
                self.reset(*oid, *stamp);
                Ok(ReplyBody::Done)
            }
            RequestBody::Read { oid, first_block, count } => self.read(*oid, *first_block, *count),
            RequestBody::Barrier { .. } => Ok(ReplyBody::Unstable(self.list(vid))),
            RequestBody::Settle { oids } => {
                self.leave(|c| c.0.generation() < generation && oids.contains(&c.1));
                Ok(ReplyBody::Done)
            }
            RequestBody::Watermark
            | RequestBody::Ping
            | RequestBody::Heal { .. }
            | RequestBody::Look { .. } => Ok(ReplyBody::Done),
            RequestBody::List { .. } => unreachable!("the herd lists for groups"),
            RequestBody::Pull { oid, first_block, count, with_data, .. } => {
                self.pull(*oid, *first_block, *count, *with_data)
            }
        }
    }

    fn apply(&mut self, oid: Oid, number: u32, stamp: Stamp, bytes: Option<(Payload, u32)>) {
        let base = self.base(oid);
        let object =
            self.objects.entry(oid).or_insert_with(|| Object { base, ..Object::default() });
        let newer = object.blocks.get(&number).is_none_or(|block| block.stamp < stamp);
        if newer && stamp >= object.base {
            object.blocks.insert(number, Block { stamp, bytes });
            self.rotten.remove(&(oid, number));
            self.unstable.insert((stamp, oid, number, 1, false)); // T3
        }
        self.tidy(oid);
    }

    fn reset(&mut self, oid: Oid, stamp: Stamp) {
        if stamp <= self.base(oid) {
            return;
        }
        let object = self.objects.entry(oid).or_default();
        object.base = stamp;
        object.blocks.retain(|_, block| block.stamp > stamp);
        let blocks = &object.blocks;
        self.rotten.retain(|(o, number)| *o != oid || blocks.contains_key(number));
        self.unstable.insert((stamp, oid, 0, 0, true));
        self.tidy(oid);
    }

    /// An object without blocks is gone; its base lives on in the list (T2).
    fn tidy(&mut self, oid: Oid) {
        if self.objects.get(&oid).is_some_and(|object| object.blocks.is_empty()) {
            self.objects.remove(&oid);
        }
    }

    fn base(&self, oid: Oid) -> Stamp {
        let kept = self.objects.get(&oid).map(|object| object.base);
        let resets = self.unstable.iter().filter(|c| c.1 == oid && c.4).map(|c| c.0);
        kept.unwrap_or_else(|| resets.max().unwrap_or(Stamp::NONE))
    }

    fn read(&self, oid: Oid, first: u32, count: u32) -> Result<ReplyBody, PeerError> {
        let base = self.base(oid);
        let (mut metas, mut present) = (Vec::new(), Vec::new());
        for number in first..first + count {
            if self.rotten.contains(&(oid, number)) {
                return Err(PeerError::Corrupt);
            }
            let block = self.objects.get(&oid).and_then(|object| object.blocks.get(&number));
            metas.push(match block {
                None => BlockMeta { stamp: base, checksum: 0, state: BlockState::Absent },
                Some(Block { stamp, bytes: None }) => {
                    BlockMeta { stamp: *stamp, checksum: 0, state: BlockState::Hole }
                }
                Some(Block { stamp, bytes: Some((bytes, checksum)) }) => {
                    present.push(bytes.clone());
                    BlockMeta { stamp: *stamp, checksum: *checksum, state: BlockState::Data }
                }
            });
        }
        let data = if let [only] = &present[..] {
            only.clone()
        } else {
            let mut buffer = Buffer::zeroed(present.len() * BLOCK_BYTES);
            for (position, bytes) in present.iter().enumerate() {
                buffer[position * BLOCK_BYTES..][..BLOCK_BYTES].copy_from_slice(bytes);
            }
            buffer.share()
        };
        Ok(ReplyBody::Blocks { blocks: metas, data })
    }

    fn pull(
        &self,
        oid: Oid,
        first: u32,
        count: u32,
        with_data: bool,
    ) -> Result<ReplyBody, PeerError> {
        let Ok(ReplyBody::Blocks { blocks, mut data }) = self.read(oid, first, count) else {
            return Err(PeerError::Corrupt);
        };
        if !with_data {
            data = Payload::empty();
        }
        let unstable = self.unstable.iter().filter(|c| c.1 == oid).map(|c| c.0).collect();
        Ok(ReplyBody::Pulled(Pulled { base: self.base(oid), unstable, blocks, data }))
    }

    /// The object, if there is one, counts as changed under the view.
    pub(super) fn raise(&mut self, oid: Oid, view: View) {
        if let Some(object) = self.objects.get_mut(&oid) {
            object.modified = object.modified.max(view);
        }
    }

    /// Stamps, whether bytes can be read or not.
    pub(super) fn stamps(&mut self, oid: Oid, first: u32, count: u32) -> ReplyBody {
        let rotten = std::mem::take(&mut self.rotten);
        let result = self.pull(oid, first, count, false);
        self.rotten = rotten;
        result.expect("nothing is rotten")
    }

    /// What came on the list since is known to be everywhere.
    pub(super) fn settle_since(&mut self, before: &[Unstable]) {
        let known: BTreeSet<(Stamp, Oid)> = before.iter().map(|c| (c.stamp, c.oid)).collect();
        self.unstable.retain(|change| known.contains(&(change.0, change.1)));
    }

    /// Takes changes back.
    pub(super) fn undo(&mut self, changes: &[Unstable]) {
        for change in changes {
            let oid = change.oid;
            self.unstable.retain(|c| (c.0, c.1) != (change.stamp, oid));
            if change.kind == UnstableKind::Reset {
                self.remove(oid);
            } else if let Some(object) = self.objects.get_mut(&oid) {
                let numbers = change.first_block..change.first_block + change.count;
                object.blocks.retain(|number, block| {
                    !numbers.contains(number) || block.stamp != change.stamp
                });
                object.modified = View(0);
                let blocks = &object.blocks;
                self.rotten.retain(|(o, number)| *o != oid || blocks.contains_key(number));
                self.tidy(oid);
            }
        }
    }

    /// The object goes, unless it was changed under a view that is not older.
    pub(super) fn drop_before(&mut self, oid: Oid, before: View) {
        if self.objects.get(&oid).is_some_and(|object| object.modified < before) {
            self.remove(oid);
        }
    }

    fn remove(&mut self, oid: Oid) {
        self.objects.remove(&oid);
        self.unstable.retain(|change| change.1 != oid);
        self.left.retain(|change| change.1 != oid);
        self.rotten.retain(|(rotten, _)| *rotten != oid);
    }

    /// All objects, in small parts.
    pub(super) fn objects(&self, after: Option<Oid>, limit: usize) -> Listing {
        let above = self.objects.iter().filter(|(oid, _)| after.is_none_or(|after| **oid > after));
        let listed = |(oid, object): (&Oid, &Object)| Listed {
            oid: *oid,
            object_shift: if oid.kind() == ObjectKind::Map { 22 } else { 20 },
            base: object.base,
            modified: object.modified,
            is_rotten: false,
        };
        let all: Vec<Listed> = above.map(listed).take(limit + 1).collect();
        let objects: Vec<Listed> = all.iter().take(limit).copied().collect();
        let next = if all.len() > limit { objects.last().map(|object| object.oid) } else { None };
        Listing { objects, unstable: Vec::new(), next }
    }

    /// The list of all VDIs.
    pub(super) fn list_all(&self) -> Vec<Unstable> {
        let vids: BTreeSet<Vid> = self.unstable.iter().map(|change| change.1.vid()).collect();
        vids.into_iter().flat_map(|vid| self.list(vid)).collect()
    }

    fn watermark(&mut self, vid: Vid, stable: Stamp) {
        self.leave(|c| {
            c.1.vid() == vid && c.0.generation() == stable.generation() && c.0 <= stable
        });
    }

    fn leave(&mut self, leaves: impl Fn(&Change) -> bool) {
        if !self.unstable.iter().any(&leaves) {
            return;
        }
        let (gone, stay) = std::mem::take(&mut self.unstable).into_iter().partition(leaves);
        self.unstable = stay;
        self.left.extend::<BTreeSet<Change>>(gone);
    }

    pub(super) fn list(&self, vid: Vid) -> Vec<Unstable> {
        let entry = |&(stamp, oid, first_block, count, reset): &Change| {
            let kind = if reset { UnstableKind::Reset } else { UnstableKind::Blocks };
            Unstable { oid, first_block, count, stamp, kind }
        };
        self.unstable.iter().filter(|c| c.1.vid() == vid).map(entry).collect()
    }

    /// The process dies. Some of what had left the list is listed again (T3).
    pub(super) fn crash(&mut self, random: &mut Random, again: usize) {
        let left = std::mem::take(&mut self.left);
        self.unstable.extend(left.into_iter().filter(|_| random.chance(again)));
    }

    /// What a disk had that is gone.
    pub(super) fn lose(&mut self, is_lost: impl Fn(Oid) -> bool) {
        self.objects.retain(|oid, _| !is_lost(*oid));
        self.unstable.retain(|change| !is_lost(change.1));
        self.left.retain(|change| !is_lost(change.1));
        self.rotten.retain(|(oid, _)| !is_lost(*oid));
    }

    /// Bytes of the block are damaged until it is written anew. False if there are none.
    pub(super) fn rot(&mut self, oid: Oid, number: u32) -> bool {
        let has = self.objects.get(&oid).and_then(|object| object.blocks.get(&number));
        let rots = has.is_some_and(|block| block.bytes.is_some());
        rots && self.rotten.insert((oid, number))
    }

    pub(super) fn has(&self, oid: Oid) -> bool {
        self.objects.contains_key(&oid)
    }

    /// What is kept of a block, `None` if it is absent.
    pub(super) fn block(&self, oid: Oid, number: u32) -> Option<(Stamp, Option<Payload>)> {
        let block = self.objects.get(&oid)?.blocks.get(&number)?;
        Some((block.stamp, block.bytes.as_ref().map(|(bytes, _)| bytes.clone())))
    }

    /// Every block of every object of a VDI, with stamps.
    pub(super) fn blocks(&self, vid: Vid) -> Vec<(Oid, u32, Stamp, Option<Payload>)> {
        let of = |(oid, object): (&Oid, &Object)| {
            let oid = *oid;
            let blocks = object.blocks.clone().into_iter();
            blocks.map(move |(number, block)| (oid, number, block.stamp, block.bytes.map(|b| b.0)))
        };
        self.objects.iter().filter(|(oid, _)| oid.vid() == vid).flat_map(of).collect()
    }
}
