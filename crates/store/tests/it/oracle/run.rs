//! One history: requests, crashes of copies, crashes of its own.

use std::cell::Cell;
use std::collections::BTreeMap;

use sheepdog_proto::{Generation, Oid, Payload, Stamp, View, block_checksum};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{BlockState, FakeDisk, Reply, Request, Store, StoreError, UnstableKind};

use super::known::{Change, Known, ask, bytes_of, list_unstable};
use super::{Profile, objects};

/// Requests of one history.
const REQUESTS: u64 = 160;
/// Requests under way at once.
const DEPTH: usize = 8;
/// Crashes of one copy of the disk, at most.
const CUTS: u64 = 2;

/// A history and everything that is under way of it.
pub(super) struct Run<'a> {
    profile: Profile,
    dice: Dice,
    disk: FakeDisk,
    store: Store,
    known: Known,
    under_way: BTreeMap<u64, UnderWay>,
    next_token: u64,
    generation: u32,
    sequence: u64,
    crashes: &'a Cell<u64>,
    idle: u64,
    is_full: bool,
}

#[derive(Debug)]
enum UnderWay {
    Change(Stamp),
    /// The first block, and the oldest that each block may be.
    Read(Oid, u32, Vec<Stamp>),
    Unstable(Vec<Stamp>),
    Mark,
    Wrong,
}

impl<'a> Run<'a> {
    pub(super) fn new(seed: u64, crashes: &'a Cell<u64>) -> Self {
        let profile = Profile::new(seed);
        let disk = FakeDisk::new();
        disk.shuffle(seed);
        disk.keep_forks();
        let (store, _) = Store::open(Box::new(disk.clone()), profile.options()).unwrap();
        let (known, under_way) = (Known::default(), BTreeMap::new());
        let dice = Dice::new(seed ^ 0x0a11);
        let (next_token, generation, sequence, idle, is_full) = (0, 1, 0, 0, false);
        Self {
            profile,
            dice,
            disk,
            store,
            known,
            under_way,
            next_token,
            generation,
            sequence,
            crashes,
            idle,
            is_full,
        }
    }

    /// Runs the history.
    pub(super) fn run(mut self) {
        for _ in 0..REQUESTS {
            while self.under_way.len() >= DEPTH {
                self.turn(true);
            }
            self.submit_any();
            match self.dice.below(80) {
                0..2 => self.crash_here(),
                2 => (0..600).for_each(|_| self.store.tick()),
                3 if self.profile.is_full => self.fill(),
                4..7 => self.relieve(),
                7..26 => self.turn(false),
                _ => {}
            }
        }
        self.relieve();
        while !self.under_way.is_empty() {
            self.turn(true);
        }
        self.store.checkpoint().unwrap();
        self.crash_forks();
        self.known.check(&mut self.store);
    }

    /// From now on there is little space.
    fn fill(&mut self) {
        let spare = self.dice.below(400) << 12;
        self.disk.set_capacity(Some(self.disk.used() + spare));
        self.is_full = true;
    }

    fn relieve(&mut self) {
        self.disk.set_capacity(None);
        self.store.tick();
        self.is_full = false;
    }

    fn range(&mut self, blocks: u32) -> (u32, u32) {
        let dice = &mut self.dice;
        let anywhere = dice.below(u64::from(blocks)) as u32;
        // A large object is changed at its ends and around the border of its first fragment.
        let near = match dice.below(3) {
            0 => anywhere % 70,
            1 => (1000 + anywhere % 40).min(blocks - 1),
            _ => blocks - 1 - anywhere % 70,
        };
        let first = if blocks > 2048 { near } else { anywhere };
        let (first, count) = match dice.below(if self.profile.is_narrow { 14 } else { 10 }) {
            0..4 => (first % 12, 1 + dice.below(4) as u32),
            4..6 => (first, 1 + dice.below(6) as u32),
            6 => (first / 64 * 64, 64),
            7 => (first / 64 * 64, 16 + dice.below(100) as u32),
            8..10 => (first / 16 * 16, 16 + dice.below(32) as u32),
            10..12 => (first % 48, 16),
            12 => (0, 64),
            _ => (first % 60, 1 + dice.below(3) as u32),
        };
        (first, count.min(blocks - first))
    }

    fn submit_any(&mut self) {
        let known = if self.profile.is_narrow { 2 } else { objects().len() as u64 };
        let (oid, shift) = objects()[self.dice.below(known) as usize];
        let (first, count) = self.range(1 << (shift - 12));
        match self.dice.below(40) {
            0..6 => self.submit_read(oid, first, count),
            6 => self.submit_wrong(oid, shift),
            7..10 => self.submit_mark(oid),
            10 => {
                let listed = self.known.unstable.iter().copied();
                let own = listed.filter(|stamp| self.known.issued[stamp].oid.vid() == oid.vid());
                let expected = own.collect();
                self.submit(UnderWay::Unstable(expected), Request::Unstable { vid: oid.vid() });
            }
            11 => self.submit_again(),
            12..17 => self.submit_change(oid, shift, first, count, UnstableKind::Hole),
            17..19 => self.submit_change(oid, shift, 0, 0, UnstableKind::Reset),
            _ => self.submit_change(oid, shift, first, count, UnstableKind::Write),
        }
    }

    fn submit(&mut self, what: UnderWay, request: Request) {
        let token = self.next_token;
        self.next_token += 1;
        self.under_way.insert(token, what);
        self.store.submit(token, request);
    }

    /// RD2: a read sees what was issued before it, if there was space for that. What a crash cut
    /// may be there in parts.
    fn submit_read(&mut self, oid: Oid, first_block: u32, count: u32) {
        let blocks = first_block..first_block + count;
        let floor = |block| {
            if self.profile.is_full {
                self.known.floor(oid, block)
            } else {
                self.known.newest(oid, block, self.generation).max(self.known.floor(oid, block))
            }
        };
        let floors = blocks.map(floor).collect();
        let request = if self.dice.below(4) == 0 {
            Request::Stamps { oid, first_block, count }
        } else {
            Request::Read { oid, first_block, count }
        };
        self.submit(UnderWay::Read(oid, first_block, floors), request);
    }

    fn submit_wrong(&mut self, oid: Oid, object_shift: u8) {
        let (first_block, view) = (1 << (object_shift - 12), View(1));
        let request = match self.dice.below(3) {
            0 => Request::Read { oid, first_block: u32::MAX, count: 2 },
            1 => {
                let stamp = Stamp::new(Generation(self.generation), 1 << 30);
                Request::Hole { oid, object_shift, first_block, count: 1, stamp, view }
            }
            _ => Request::Reset { oid, stamp: Stamp::NONE, view },
        };
        self.submit(UnderWay::Wrong, request);
    }

    fn submit_mark(&mut self, oid: Oid) {
        let vid = oid.vid();
        if self.dice.below(3) == 0 {
            let below = Generation(self.generation);
            // Its guests have nothing under way of an older generation.
            let oids = vec![oid];
            self.known.settle(vid, below, &oids);
            self.submit(UnderWay::Mark, Request::Settle { vid, below, oids });
        } else if let Some(stable) = self.known.stable(vid) {
            self.known.watermark(vid, stable);
            self.submit(UnderWay::Mark, Request::Watermark { vid, stable });
        }
    }

    /// A change that was sent before, as after a lost reply.
    fn submit_again(&mut self) {
        let recent: Vec<Change> = self.known.issued.values().rev().take(6).copied().collect();
        let Some(change) = recent.get(self.dice.below(6) as usize) else { return };
        // What is stable is never sent again, and nobody sends what another attachment wrote.
        let is_own = change.stamp.generation() == Generation(self.generation);
        if is_own && !self.is_behind_stable(change.oid, change.stamp) {
            self.send(*change);
        }
    }

    fn submit_change(&mut self, oid: Oid, _: u8, first_block: u32, count: u32, kind: UnstableKind) {
        // Now and then one that comes late, as over another connection.
        let late = self.dice.below(12) == 0 && self.sequence > 4;
        self.sequence += 1;
        let number = if late { self.sequence * 16 - 60 } else { self.sequence * 16 };
        let stamp = Stamp::new(Generation(self.generation), number);
        if self.known.issued.contains_key(&stamp) || self.is_behind_stable(oid, stamp) {
            return;
        }
        let change = Change { oid, stamp, first_block, count, kind };
        self.known.issue(change);
        self.send(change);
    }

    fn is_behind_stable(&self, oid: Oid, stamp: Stamp) -> bool {
        let newer = self.known.stable.range(stamp..);
        newer.into_iter().any(|stable| {
            let same_vid = self.known.issued[stable].oid.vid() == oid.vid();
            same_vid && stable.generation() == stamp.generation()
        })
    }

    fn send(&mut self, change: Change) {
        let Change { oid, stamp, first_block, count, kind } = change;
        let object_shift =
            objects().into_iter().find(|(own, _)| *own == oid).map_or(0, |own| own.1);
        let view = View(1 + self.sequence / 20);
        let request = match kind {
            UnstableKind::Write => {
                let (mut data, mut checksums) = (Vec::new(), Vec::new());
                for block in first_block..first_block + count {
                    let bytes = bytes_of(stamp, block);
                    checksums.push(block_checksum(oid, block, &bytes));
                    data.extend_from_slice(&bytes);
                }
                let data = Payload::from(&data[..]);
                Request::Write { oid, object_shift, first_block, stamp, view, checksums, data }
            }
            UnstableKind::Hole => {
                Request::Hole { oid, object_shift, first_block, count, stamp, view }
            }
            UnstableKind::Reset => Request::Reset { oid, stamp, view },
        };
        self.submit(UnderWay::Change(stamp), request);
    }

    /// Lets the store go on, then lets a crash happen to every copy of the disk.
    fn turn(&mut self, wait: bool) {
        let before = self.disk.operations();
        self.store.turn(wait);
        self.crash_forks();
        let answers = self.store.take_replies();
        if !answers.is_empty() || self.disk.operations() > before {
            self.idle = 0;
        } else if wait {
            self.idle += 1;
            assert!(self.idle < 9, "nothing goes on: {:#?}", self.store);
            self.relieve();
        }
        for (token, reply) in answers {
            let what = self.under_way.remove(&token).expect("an answer to a question");
            self.take(what, reply);
        }
    }

    fn take(&mut self, what: UnderWay, reply: Result<Reply, StoreError>) {
        match (what, reply) {
            (UnderWay::Change(stamp), Ok(Reply::Done { blocks })) => {
                self.known.acknowledge(stamp, blocks);
            }
            (UnderWay::Change(_), Err(StoreError::Full)) if self.profile.is_full => {}
            (UnderWay::Read(oid, first, floors), Ok(reply)) => {
                let (blocks, data) = match &reply {
                    Reply::Read(read) => (&read.blocks, Some(&read.data[..])),
                    Reply::Stamps { blocks, .. } => (blocks, None),
                    other => panic!("{other:?}"),
                };
                let floor = |block: u32| floors[(block - first) as usize];
                self.known.check_blocks(oid, first, floor, (blocks, data));
                for (block, seen) in (first..).zip(blocks) {
                    if seen.state != BlockState::Absent {
                        self.known.see(oid, block, seen.stamp);
                    }
                }
            }
            (UnderWay::Unstable(expected), Ok(Reply::Unstable(list))) => {
                let listed: Vec<Stamp> = list.iter().map(|change| change.stamp).collect();
                for stamp in expected.iter().filter(|stamp| self.known.unstable.contains(stamp)) {
                    assert!(listed.contains(stamp), "{stamp} is not in the unstable list");
                }
            }
            (UnderWay::Mark, Ok(Reply::Done { .. })) => {}
            (UnderWay::Wrong, Err(StoreError::Refused(_))) => {}
            (what, reply) => panic!("{what:?}: {reply:?}"),
        }
    }

    fn crash_forks(&mut self) {
        for fork in self.disk.take_forks() {
            for _ in 0..CUTS {
                // Two thirds of the pairs, so that twice as many histories fit.
                if self.dice.below(3) > 0 {
                    self.crash_copy(&fork.fork());
                }
            }
        }
    }

    /// A copy crashes, perhaps again while it is opened, and what it has is checked.
    fn crash_copy(&mut self, copy: &FakeDisk) {
        self.crash(copy);
        while self.dice.below(6) == 0 {
            copy.cut_at(copy.operations() + self.dice.below(12));
            drop(Store::open(Box::new(copy.clone()), self.profile.options()));
            self.crash(copy);
        }
        let mut store = self.open(copy);
        self.known.check(&mut store);
        if self.dice.below(16) == 0 {
            self.go_on(copy, store);
        }
    }

    fn crash(&mut self, disk: &FakeDisk) {
        self.crashes.set(self.crashes.get() + 1);
        let seed = self.dice.roll();
        if self.dice.below(4) == 0 { disk.restart() } else { disk.power_cycle(seed) }
    }

    fn open(&self, disk: &FakeDisk) -> Store {
        let opened = Store::open(Box::new(disk.clone()), self.profile.options());
        opened.unwrap_or_else(|error| panic!("open after a crash: {error}")).0
    }

    /// A copy that survived works on: what it thinks free is used, and it crashes once more.
    fn go_on(&mut self, disk: &FakeDisk, mut store: Store) {
        disk.set_capacity(None);
        store.tick();
        let mut known = self.known.clone();
        known.decide(&list_unstable(&mut store));
        let mut sequence = (self.sequence + 1) * 16;
        for round in 0..3 {
            for unit in 0..2 {
                sequence += 16;
                let stamp = Stamp::new(Generation(self.generation), sequence);
                let (oid, object_shift) = objects()[1];
                let (first_block, count) = ((4 + round * 2 + unit) * 64, 64);
                let kind = UnstableKind::Write;
                known.issue(Change { oid, stamp, first_block, count, kind });
                let blocks = first_block..first_block + count;
                let data: Vec<u8> =
                    blocks.map(|block| bytes_of(stamp, block)).collect::<Vec<_>>().concat();
                let checksums = (first_block..)
                    .zip(data.chunks(4096))
                    .map(|(block, bytes)| block_checksum(oid, block, bytes))
                    .collect();
                let (view, data) = (View(99), Payload::from(&data[..]));
                let write =
                    Request::Write { oid, object_shift, first_block, stamp, view, checksums, data };
                let Reply::Done { blocks } = ask(&mut store, write) else { panic!("no reply") };
                known.acknowledge(stamp, blocks);
            }
            if round < 2 {
                store.checkpoint().unwrap_or_else(|error| panic!("checkpoint: {error}"));
            }
            known.check(&mut store);
        }
        drop(store);
        self.crash(disk);
        known.check(&mut self.open(disk));
    }

    /// The history itself crashes and goes on, in a new generation.
    fn crash_here(&mut self) {
        let disk = self.disk.clone();
        self.crash(&disk);
        self.store = self.open(&disk);
        self.under_way.clear();
        drop(self.disk.take_forks());
        let listed = list_unstable(&mut self.store);
        self.known.check(&mut self.store);
        self.known.decide(&listed);
        self.generation += 1;
    }
}
