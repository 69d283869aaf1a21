//! Clients: one VM per VDI, which writes, reads and discards a few blocks of a few objects, and
//! attaches again through another sheep when its own is gone.

use std::collections::BTreeMap;

use sheepdog_proto::command::Command;
use sheepdog_proto::{BLOCK_BYTES, Generation, NodeId, Oid, Vid};

use super::super::Place;
use super::herd::{Event, Herd};
use super::history::{History, Key, SECTOR, tag_of, tagged};
use crate::volume::{Answer, Operation, Refusal};

const SECTORS_PER_BLOCK: u64 = BLOCK_BYTES as u64 / SECTOR;
const SECTORS_PER_OBJECT: u64 = (1 << 20) / SECTOR;
/// Blocks of each object that are used.
const HOT: [u64; 5] = [0, 1, 2, 254, 255];
/// Operations under way at once.
const OPEN_MAX: usize = 6;

/// One grant of the log, as its client sees it.
#[derive(Debug)]
pub(super) struct Session {
    place: Place,
    generation: Generation,
    draining: bool,
    open: BTreeMap<u64, Shape>,
}

/// What an operation asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Write,
    Read,
    Map,
    Other,
}

/// One VDI with its client.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) vid: Vid,
    objects: u64,
    /// How many of the hot blocks are used; fewer means more collisions.
    pub(super) hot: usize,
    /// Many whole objects are discarded.
    pub(super) discards: bool,
    /// Mutations beyond the watermark.
    pub(super) window: u64,
    pub(super) sessions: Vec<Session>,
    pub(super) history: History,
}

impl Vm {
    pub(super) fn new(vid: Vid, objects: u64) -> Self {
        Self {
            vid,
            objects,
            hot: HOT.len(),
            discards: false,
            window: 64,
            sessions: Vec::new(),
            history: History::default(),
        }
    }

    /// One thing that a client may do now.
    pub(super) fn step(&mut self, herd: &mut Herd, token: &mut u64) {
        let state = herd.newest().clone();
        let owner = state.catalogue.get(self.vid).and_then(|vdi| vdi.attachment.clone());
        if owner.is_none() && herd.random.chance(500) {
            let node = NodeId(herd.random.below(herd.sheep.len()) as u16);
            self.ask(herd, node);
        } else if !self.sessions.is_empty() {
            let at = herd.random.below(self.sessions.len());
            if !self.sessions[at].draining && self.sessions[at].open.len() < OPEN_MAX {
                if herd.random.chance(12) {
                    self.drain(herd, at);
                } else {
                    *token += 1;
                    self.submit(herd, at, *token);
                }
            }
        }
    }

    /// Asks the log for the VDI through `node`.
    pub(super) fn ask(&self, herd: &mut Herd, node: NodeId) {
        let asked = |c: &Command| matches!(c, Command::Attach { vid, .. } if *vid == self.vid);
        if !herd.proposals.iter().any(asked)
            && let Some(command) = herd.attach_command(self.vid, node)
        {
            herd.proposals.push_back(command);
        }
    }

    /// Gives the VDI back in order.
    pub(super) fn drain(&mut self, herd: &mut Herd, at: usize) {
        self.sessions[at].draining = true;
        herd.drain(self.sessions[at].place, self.vid);
    }

    pub(super) fn drain_all(&mut self, herd: &mut Herd) {
        (0..self.sessions.len()).for_each(|at| self.drain(herd, at));
    }

    fn submit(&mut self, herd: &mut Herd, at: usize, token: u64) {
        let key = (self.sessions[at].generation.0, token);
        let (operation, shape) = self.choose(herd, token, key);
        let session = &mut self.sessions[at];
        session.open.insert(token, shape);
        let place = session.place;
        herd.submit(place, self.vid, operation, token);
    }

    fn choose(&mut self, herd: &mut Herd, token: u64, key: Key) -> (Operation, Shape) {
        let random = &mut herd.random;
        let object = random.below(self.objects as usize) as u64;
        let block =
            object * (SECTORS_PER_OBJECT / SECTORS_PER_BLOCK) + random.pick(&HOT[..self.hot]);
        let end = self.objects * SECTORS_PER_OBJECT;
        let (first, count) = if random.chance(500) {
            (block * SECTORS_PER_BLOCK, SECTORS_PER_BLOCK * (1 + random.below(3) as u64))
        } else {
            (block * SECTORS_PER_BLOCK + random.below(8) as u64, 1 + random.below(20) as u64)
        };
        let count = count.min(end - first);
        let (offset, len) = (first * SECTOR, count * SECTOR);
        let whole = object * SECTORS_PER_OBJECT..(object + 1) * SECTORS_PER_OBJECT;
        let discards = self.discards && random.chance(200);
        match if discards { 88 } else { random.below(100) } {
            0..45 => {
                let tags: Vec<u64> = (0..count).map(|i| token << 16 | i).collect();
                self.note_write(token, key, first, &tags);
                (Operation::Write { offset, data: tagged(&tags) }, Shape::Write)
            }
            45..80 => {
                self.history.read(token, key, first, count);
                (Operation::Read { offset, len: len as u32 }, Shape::Read)
            }
            80..86 => {
                self.note_zeros(token, key, first..first + count);
                (Operation::Zero { offset, len, discard: false }, Shape::Write)
            }
            86..92 => {
                self.note_zeros(token, key, whole.clone());
                let (offset, len) = (whole.start * SECTOR, SECTORS_PER_OBJECT * SECTOR);
                (Operation::Zero { offset, len, discard: true }, Shape::Write)
            }
            92..94 if !self.history.is_busy(whole.clone()) => {
                self.note_zeros(token, key, whole);
                let (offset, data) = (object as u32 * 4, (&[0_u8; 4][..]).into());
                (Operation::WriteMap { offset, data }, Shape::Write)
            }
            94..97 => {
                self.history.other(token, key);
                (Operation::ReadMap { offset: 0, len: self.objects as u32 * 4 }, Shape::Map)
            }
            _ => {
                self.history.other(token, key);
                (Operation::Status { offset, len }, Shape::Other)
            }
        }
    }

    fn note_write(&mut self, token: u64, key: Key, first: u64, tags: &[u64]) {
        let tags: Vec<(u64, u64)> = (first..).zip(tags.iter().copied()).collect();
        self.history.write(token, key, &tags);
    }

    fn note_zeros(&mut self, token: u64, key: Key, sectors: std::ops::Range<u64>) {
        let hot = self.history.sectors().into_iter().filter(|s| sectors.contains(s));
        let tags: Vec<(u64, u64)> = hot.map(|sector| (sector, 0)).collect();
        self.history.write(token, key, &tags);
    }

    /// Reads every sector ever written, and the map.
    pub(super) fn read_all(&mut self, herd: &mut Herd, token: &mut u64) {
        let mut blocks: Vec<u64> =
            self.history.sectors().iter().map(|sector| sector / SECTORS_PER_BLOCK).collect();
        blocks.dedup();
        let Some(session) = self.sessions.last_mut() else { return };
        let (place, generation) = (session.place, session.generation.0);
        for block in blocks {
            *token += 1;
            session.open.insert(*token, Shape::Read);
            let first = block * SECTORS_PER_BLOCK;
            self.history.read(*token, (generation, *token), first, SECTORS_PER_BLOCK);
            let read = Operation::Read { offset: first * SECTOR, len: BLOCK_BYTES as u32 };
            herd.submit(place, self.vid, read, *token);
        }
        *token += 1;
        session.open.insert(*token, Shape::Map);
        let map = Operation::ReadMap { offset: 0, len: self.objects as u32 * 4 };
        herd.submit(place, self.vid, map, *token);
    }

    /// Takes note of an event, if it is about this VM.
    pub(super) fn handle(&mut self, herd: &mut Herd, event: &Event) -> Result<(), String> {
        match event {
            Event::Granted(place, vid, generation) if *vid == self.vid => {
                let (place, generation) = (*place, *generation);
                self.end(|s| s.place == place); // taken from it and given back, unseen
                let open = BTreeMap::new();
                let unit = herd.unit(place).map(|unit| &mut unit.gateway.attachments);
                if let Some(attachment) = unit.and_then(|all| all.get_mut(vid)) {
                    attachment.sequencer.window = self.window;
                }
                self.sessions.push(Session { place, generation, draining: false, open });
            }
            Event::Lost(place, vid) if *vid == self.vid => self.end(|s| s.place == *place),
            Event::Died(node) => self.end(|s| s.place.node == *node),
            Event::Drained(vid, generation) if *vid == self.vid => {
                if let Some(s) = self.sessions.iter().find(|s| s.generation == *generation)
                    && !s.open.is_empty()
                {
                    return Err(format!("drained with {:?} unanswered", s.open));
                }
                self.end(|s| s.generation == *generation);
                let detach = Command::Detach { vid: *vid, generation: *generation };
                herd.proposals.push_back(detach);
            }
            Event::Answer(token, result) => return self.handle_answer(herd, *token, result),
            _ => {}
        }
        Ok(())
    }

    /// Sessions that are over; what they left open stays unanswered.
    fn end(&mut self, over: impl Fn(&Session) -> bool) {
        let (ended, rest) = std::mem::take(&mut self.sessions).into_iter().partition(|s| over(s));
        self.sessions = rest;
        for session in ended as Vec<Session> {
            session.open.keys().for_each(|token| self.history.forget(*token));
        }
    }

    fn handle_answer(
        &mut self,
        herd: &mut Herd,
        token: u64,
        result: &Result<Answer, Refusal>,
    ) -> Result<(), String> {
        let Some(session) = self.sessions.iter_mut().find(|s| s.open.contains_key(&token)) else {
            return Ok(());
        };
        let (generation, shape) = (session.generation, session.open.remove(&token));
        if *result == Err(Refusal::Fenced) {
            self.end(|s| s.generation == generation);
        }
        let vdi = herd.newest().catalogue.get(self.vid).cloned();
        let owner = vdi.and_then(|vdi| vdi.attachment).map(|owner| owner.generation);
        if owner != Some(generation) && shape != Some(Shape::Write) {
            self.history.forget(token); // its lease is over: it would not have answered a read
            return Ok(());
        }
        if let (Some(Shape::Map), Ok(Answer::Data(map))) = (shape, result) {
            self.check_map(map)?;
        }
        if let Some((key, sectors)) = self.history.answer(token, result)? {
            self.check_everywhere(herd, key, &sectors)?;
        }
        Ok(())
    }

    /// An object in which something can only be read as not zero is in the map.
    fn check_map(&self, map: &[u8]) -> Result<(), String> {
        for sector in self.history.sectors() {
            let object = (sector / SECTORS_PER_OBJECT) as usize;
            let entry = &map[object * 4..object * 4 + 4];
            if self.history.is_full(sector) && entry != self.vid.get().to_le_bytes() {
                return Err(format!("sector {sector} is written, but its map entry is {entry:?}"));
            }
        }
        Ok(())
    }

    /// INSYNC-COMPLETE: every in-sync member holds the sectors as of write `key` or later.
    pub(super) fn check_everywhere(
        &self,
        herd: &mut Herd,
        key: Key,
        sectors: &[u64],
    ) -> Result<(), String> {
        let state = herd.newest().clone();
        for sector in sectors {
            let oid = Oid::data(self.vid, (sector / SECTORS_PER_OBJECT) as u32);
            let block = sector % SECTORS_PER_OBJECT / SECTORS_PER_BLOCK;
            let at = (sector % SECTORS_PER_BLOCK * SECTOR) as usize;
            let members = |oid| state.group_of(oid).map_or(&[][..], |(_, group)| &group.in_sync);
            let map = Oid::map(self.vid, 0);
            let is_mapped = members(map).iter().any(|node| {
                let page = herd.store_of(*node, map).block(map, 0).and_then(|(_, bytes)| bytes);
                page.is_some_and(|page| page[oid.index() as usize * 4] != 0)
            });
            let fewest = state.group_of(oid).map_or(0, |(_, group)| group.copies_min());
            if members(oid).len() < fewest {
                return Err(format!("sector {sector} has {} copies", members(oid).len()));
            }
            for node in members(oid).iter().copied() {
                let kept = herd.store_of(node, oid).block(oid, block as u32);
                // What is not in the map reads as zeros, whatever is left of it.
                let bytes = kept.and_then(|(_, bytes)| bytes).filter(|_| is_mapped);
                let tag = bytes.map_or(Some(0), |bytes| tag_of(&bytes[at..at + SECTOR as usize]));
                if !tag.is_some_and(|tag| self.history.holds(*sector, key, tag)) {
                    return Err(format!(
                        "node {node} has {tag:x?} in sector {sector} after write {key:?} was \
                         acknowledged"
                    ));
                }
            }
        }
        Ok(())
    }

    /// As above, for everything that was ever acknowledged or seen.
    pub(super) fn check_complete(&self, herd: &mut Herd) -> Result<(), String> {
        for sector in self.history.sectors() {
            self.check_everywhere(herd, self.history.floor(sector), &[sector])?;
        }
        Ok(())
    }

    /// The log gives the VDI to a session that goes on.
    pub(super) fn is_attached(&self, herd: &Herd) -> bool {
        let vdi = herd.newest().catalogue.get(self.vid);
        let owner = vdi.and_then(|vdi| vdi.attachment.as_ref()).map(|owner| owner.generation);
        self.sessions.iter().any(|s| Some(s.generation) == owner)
    }

    /// Nothing submitted is unanswered.
    pub(super) fn is_quiet(&self) -> bool {
        self.sessions.iter().all(|session| session.open.is_empty())
    }
}
