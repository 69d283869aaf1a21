//! One object: stamps are compared, and blocks that differ are fetched.
//!
//! Way: in windows of at most 4 MiB: stamps there and here -> what is newer there is fetched in
//!      chunks of at most 1 MiB -> written here with the stamps it has there; at the end the object
//!      counts as changed under the view under which it was there.
//! Holds:
//!   RESYNC-DIRECTION  see `join`: after J1 a block that is newer here came from a client since;
//!   J2  blocks older than a reset that came since are not written;
//!   J3  the modified view is raised when everything is here, not before;
//!   J6  the base is set once more when the blocks are here: before, there may have been no object
//!       that could keep it;
//!   J5  a change that is unstable there is unstable here: it may be the only other copy of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use sheepdog_proto::peer::{BlockMeta, BlockState, Listed, Pulled, RequestBody};
use sheepdog_proto::{Oid, Stamp, View};

use super::{Asked, Joiner, Local, Purpose, part};
use crate::gateway::read::verified;

/// Blocks compared at once.
const WINDOW_BLOCKS: u32 = 1024;
/// Blocks fetched at once.
const CHUNK_BLOCKS: u32 = 256;

/// An object that is being looked at.
#[derive(Debug)]
pub(super) struct Object {
    listed: Listed,
    /// Blocks of the current window, or where the next one begins.
    window: Range<u32>,
    theirs: Option<Pulled>,
    ours: Option<Pulled>,
    /// Chunks to be fetched.
    wanted: VecDeque<Range<u32>>,
    /// Chunks asked for, by request.
    fetching: BTreeMap<u64, Range<u32>>,
    /// Changes that the own store has not answered.
    changes: usize,
    /// The source's base, and whether it is known to be everywhere.
    base: (Stamp, bool),
    is_based: bool,
    is_raised: bool,
}

impl Object {
    fn blocks(&self) -> u32 {
        1 << self.listed.object_shift.saturating_sub(12)
    }

    fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.fetching.is_empty() && self.changes == 0
    }
}

impl Joiner {
    pub(super) fn start_object(&mut self, listed: Listed) {
        self.progress.compared += 1;
        let object = Object {
            listed,
            window: 0..0,
            theirs: None,
            ours: None,
            wanted: VecDeque::new(),
            fetching: BTreeMap::new(),
            changes: 0,
            base: (Stamp::NONE, true),
            is_based: false,
            is_raised: false,
        };
        if let Some(pass) = &mut self.pass {
            pass.objects.insert(listed.oid, object);
        }
        self.next_window(listed.oid);
    }

    fn object(&mut self, oid: Oid) -> Option<&mut Object> {
        self.pass.as_mut()?.objects.get_mut(&oid)
    }

    /// Looks at the next blocks, or ends.
    fn next_window(&mut self, oid: Oid) {
        let Some(pass) = &self.pass else { return };
        let (source, index) = (pass.source, pass.index);
        let Some(object) = self.object(oid) else { return };
        let first = object.window.end;
        let end = object.blocks().min(first + WINDOW_BLOCKS);
        if first == end {
            return self.end_windows(oid);
        }
        object.window = first..end;
        (object.theirs, object.ours) = (None, None);
        let (first_block, count, with_data) = (first, end - first, false);
        let body = RequestBody::Pull { index, oid, first_block, count, with_data };
        self.send(source, Purpose::Compare(oid), body);
        self.ask(Asked::Stamps(oid), Local::Stamps { oid, first_block, count });
    }

    /// Everything is compared and fetched.
    fn end_windows(&mut self, oid: Oid) {
        let floor = self.floors.get(&oid).copied().unwrap_or_default();
        let Some(object) = self.object(oid) else { return };
        let (stamp, is_settled) = object.base;
        if std::mem::replace(&mut object.is_based, true) || stamp <= floor {
            return self.raise(oid);
        }
        let body = RequestBody::Reset { oid, stamp };
        self.change(oid, Local::Change { body, is_settled }); // J6
    }

    /// J3.
    fn raise(&mut self, oid: Oid) {
        let Some(object) = self.object(oid) else { return };
        if !object.is_raised {
            object.is_raised = true;
            let view = object.listed.modified;
            self.change(oid, Local::Raise(oid, view));
        }
    }

    fn change(&mut self, oid: Oid, local: Local) {
        if let Some(object) = self.object(oid) {
            object.changes += 1;
            self.ask(Asked::Change(oid, local.clone()), local);
        }
    }

    pub(super) fn end_change(&mut self, oid: Oid) {
        if let Some(object) = self.object(oid) {
            object.changes -= 1;
        }
    }

    pub(super) fn take_compared(&mut self, oid: Oid, pulled: Pulled) {
        let Some(object) = self.object(oid) else { return };
        object.theirs = Some(pulled);
        self.compare(oid);
    }

    pub(super) fn take_stamps(&mut self, oid: Oid, pulled: Pulled) {
        let Some(object) = self.object(oid) else { return };
        object.ours = Some(pulled);
        self.compare(oid);
    }

    /// Both sides are known: what is newer there is wanted.
    fn compare(&mut self, oid: Oid) {
        let floor = self.floors.get(&oid).copied().unwrap_or_default();
        let Some(object) = self.object(oid) else { return };
        let (Some(theirs), Some(ours)) = (&object.theirs, &object.ours) else { return };
        let mut blocks = Vec::new();
        let mut holes = Vec::new();
        for ((number, there), here) in object.window.clone().zip(&theirs.blocks).zip(&ours.blocks) {
            if is_wanted(there, here, floor) {
                match there.state {
                    BlockState::Data => blocks.push(number),
                    _ => holes.push((number, there.stamp)),
                }
            }
        }
        object.wanted = chunks(&blocks);
        let unstable: BTreeSet<Stamp> = theirs.unstable.iter().copied().collect();
        let (base, shift) = (theirs.base, object.listed.object_shift);
        object.base = (base, !unstable.contains(&base));
        if base > ours.base && base >= floor {
            let body = RequestBody::Reset { oid, stamp: base };
            self.change(oid, Local::Change { body, is_settled: !unstable.contains(&base) });
        }
        for (first_block, stamp) in holes {
            let body = RequestBody::Hole {
                oid,
                object_shift: shift,
                first_block,
                count: 1,
                stamp,
                must_exist: false,
            };
            self.change(oid, Local::Change { body, is_settled: !unstable.contains(&stamp) });
        }
    }

    /// Fetches what is wanted, as far as there is credit; goes on when all of it is here.
    pub(super) fn pump_object(&mut self, oid: Oid) {
        let Some(pass) = &mut self.pass else { return };
        let (source, index) = (pass.source, pass.index);
        while let Some(object) = self.object(oid)
            && let Some(chunk) = object.wanted.front().cloned()
        {
            let count = chunk.end - chunk.start;
            if self.credit == 0 {
                return;
            }
            self.credit = self.credit.saturating_sub(u64::from(count));
            let (first_block, with_data) = (chunk.start, true);
            let body = RequestBody::Pull { index, oid, first_block, count, with_data };
            let id = self.send(source, Purpose::Fetch(oid), body);
            if let Some(object) = self.object(oid) {
                object.wanted.pop_front();
                object.fetching.insert(id, chunk);
            }
        }
        let Some(object) = self.object(oid) else { return };
        let compared = object.theirs.is_some() && object.ours.is_some();
        if compared && object.is_idle() {
            if object.is_raised {
                self.end_object(oid);
            } else {
                self.next_window(oid);
            }
        }
    }

    fn end_object(&mut self, oid: Oid) {
        if let Some(pass) = &mut self.pass {
            pass.objects.remove(&oid);
        }
        // Deleted meanwhile, and swept here before the last block came.
        if self.state.catalogue.get(oid.vid()).is_none() {
            self.step(Local::Drop(vec![oid], View(u64::MAX)));
        }
    }

    pub(super) fn take_fetched(&mut self, oid: Oid, id: u64, pulled: Pulled) {
        let floor = self.floors.get(&oid).copied().unwrap_or_default();
        let Some(object) = self.object(oid) else { return };
        let Some(chunk) = object.fetching.remove(&id) else { return };
        let shift = object.listed.object_shift;
        let is_whole = pulled.blocks.len() as u32 == chunk.end - chunk.start;
        if !is_whole || !verified(oid, chunk.start, &pulled.blocks, &pulled.data) {
            return self.fail_object(oid);
        }
        let unstable: BTreeSet<Stamp> = pulled.unstable.iter().copied().collect();
        for run in runs_of(&pulled.blocks, chunk.start) {
            if run.stamp < floor {
                continue; // J2
            }
            self.progress.blocks += u64::from(run.count);
            let data = part(&pulled.data, run.at, run.count as usize);
            let body = RequestBody::Write {
                oid,
                object_shift: shift,
                first_block: run.first_block,
                stamp: run.stamp,
                must_exist: false,
                checksums: run.checksums,
                data,
            };
            let is_settled = !unstable.contains(&run.stamp); // J5
            self.change(oid, Local::Change { body, is_settled });
        }
    }

    /// The source cannot read the object: its group must be joined from another one.
    pub(super) fn fail_object(&mut self, oid: Oid) {
        let pg = self.joined_group(oid);
        let Some(pass) = &mut self.pass else { return };
        pass.failed.extend(pg);
        pass.objects.remove(&oid);
    }
}

/// Newer there, and not older than a reset that came here.
fn is_wanted(there: &BlockMeta, here: &BlockMeta, floor: Stamp) -> bool {
    let is_newer = here.state == BlockState::Absent || there.stamp > here.stamp;
    there.state != BlockState::Absent && is_newer && there.stamp >= floor
}

/// Runs of blocks, at most [`CHUNK_BLOCKS`] each.
fn chunks(blocks: &[u32]) -> VecDeque<Range<u32>> {
    let mut chunks: VecDeque<Range<u32>> = VecDeque::new();
    for block in blocks {
        match chunks.back_mut() {
            Some(last) if last.end == *block && last.len() < CHUNK_BLOCKS as usize => last.end += 1,
            _ => chunks.push_back(*block..*block + 1),
        }
    }
    chunks
}

/// Neighbouring data blocks of one change.
struct Run {
    first_block: u32,
    count: u32,
    stamp: Stamp,
    checksums: Vec<u32>,
    /// Where they are in the data.
    at: usize,
}

fn runs_of(blocks: &[BlockMeta], first: u32) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let data = (first..).zip(blocks).filter(|(_, block)| block.state == BlockState::Data);
    for (at, (number, block)) in data.enumerate() {
        match runs.last_mut() {
            Some(run) if run.first_block + run.count == number && run.stamp == block.stamp => {
                run.count += 1;
                run.checksums.push(block.checksum);
            }
            _ => runs.push(Run {
                first_block: number,
                count: 1,
                stamp: block.stamp,
                checksums: vec![block.checksum],
                at,
            }),
        }
    }
    runs
}
