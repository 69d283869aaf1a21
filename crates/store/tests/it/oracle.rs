//! The power-cut oracle: many requests under way, everything in any order, and a crash before
//! every change and sync of the disk.
//!
//! Why: each crash must leave every block as some change made it that is not older than the
//!      newest acknowledged one.
//! Way: one history runs once; before every change and sync the fake disk makes a copy of
//!      itself; to each copy a power cut (or a kill) happens, the store is opened on it, and every
//!      block is compared with what was issued and acknowledged until then. Now and then a crash
//!      happens to the history itself, which goes on with what survived.
//! Holds (of the store, checked here): ST1 to ST3, ST6, RD1, RD2.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{BLOCK_BYTES, Oid, Payload, Stamp, View, block_checksum};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{
    Block, BlockState, FakeDisk, Options, ReadReply, Reply, Request, Store, UnstableKind,
};

use crate::history::{stamp, vid};
use crate::seeds::for_each_seed;

/// Requests of one history.
const REQUESTS: u64 = 90;
/// Requests under way at once.
const DEPTH: usize = 8;
/// Cuts of one copy of the disk.
const CUTS: u64 = 2;

fn options(seed: u64) -> Options {
    Options {
        segment_bytes: 0,
        segments_max: 4 + (seed % 3) as u32,
        dirty_bytes_max: [96 << 10, 400 << 10, 2 << 20][(seed % 3) as usize],
        metadata_bytes_max: [1 << 12, 4 << 12, 64 << 12][(seed / 3 % 3) as usize],
        warm_units_max: (seed % 2) as usize,
        reserve_bytes: 0,
        salt: 7,
        ..Options::default()
    }
}

/// Objects of 1, 4 and 8 MiB.
fn objects() -> [(Oid, u8); 3] {
    [(Oid::data(vid(1), 0), 20), (Oid::data(vid(1), 1), 22), (Oid::data(vid(2), 0), 23)]
}

fn bytes_of(stamp: Stamp, block: u32) -> Vec<u8> {
    let mut dice = Dice::new(stamp.get().wrapping_mul(0x1_0001) ^ u64::from(block));
    let mut bytes = dice.roll().to_le_bytes().repeat(BLOCK_BYTES / 8);
    for (number, sector) in bytes.chunks_mut(512).enumerate() {
        sector[0] = number as u8; // No torn block looks whole.
    }
    bytes
}

/// One change, issued and perhaps acknowledged.
#[derive(Clone, Debug)]
struct Change {
    oid: Oid,
    stamp: Stamp,
    first_block: u32,
    count: u32,
    kind: UnstableKind,
}

impl Change {
    fn covers(&self, oid: Oid, block: u32) -> bool {
        let within = self.first_block <= block && block < self.first_block + self.count;
        self.oid == oid && (self.kind == UnstableKind::Reset || within)
    }
}

/// What is known of the history.
#[derive(Clone, Debug, Default)]
struct Oracle {
    issued: BTreeMap<Stamp, Change>,
    acknowledged: BTreeSet<Stamp>,
    /// Those that changed something; one that came late may not have.
    effective: BTreeSet<Stamp>,
}

impl Oracle {
    /// The newest acknowledged change of a block.
    fn floor(&self, oid: Oid, block: u32) -> Stamp {
        let covering = self.acknowledged.iter().rev().filter_map(|stamp| self.issued.get(stamp));
        covering.into_iter().find(|c| c.covers(oid, block)).map_or(Stamp::NONE, |c| c.stamp)
    }

    /// What is wrong with a block, if anything is.
    fn fault(
        &self,
        floor: Stamp,
        oid: Oid,
        number: u32,
        block: Block,
        bytes: &[u8],
    ) -> Option<String> {
        let made_by = self.issued.get(&block.stamp).filter(|change| change.covers(oid, number));
        let is_right = match (block.state, made_by.map(|change| change.kind)) {
            (BlockState::Data { .. }, Some(UnstableKind::Write)) => {
                bytes == bytes_of(block.stamp, number) && block.stamp >= floor
            }
            (BlockState::Hole, Some(UnstableKind::Hole)) => block.stamp >= floor,
            // An absent block carries the stamp of the reset that emptied it.
            (BlockState::Absent, Some(UnstableKind::Reset)) => block.stamp >= floor,
            (BlockState::Absent, None) => block.stamp == Stamp::NONE && floor == Stamp::NONE,
            _ => false,
        };
        (!is_right).then(|| {
            format!("block {number} of {oid} is {block:?} by {made_by:?}, acknowledged {floor}")
        })
    }

    fn check_reply(&self, oid: Oid, first: u32, floors: &[Stamp], reply: &ReadReply) {
        let blocks = reply.blocks.iter().zip(reply.data.chunks(BLOCK_BYTES)).zip(floors);
        for (number, ((block, bytes), floor)) in (first..).zip(blocks) {
            if let Some(fault) = self.fault(*floor, oid, number, *block, bytes) {
                panic!("{fault}");
            }
        }
    }

    /// Every block of a store that was opened after a crash.
    fn check(&self, store: &mut Store) {
        for (oid, shift) in objects() {
            let count = 1_u32 << (shift - 12);
            let touched: BTreeSet<u32> = self
                .issued
                .values()
                .filter(|change| change.oid == oid && change.kind != UnstableKind::Reset)
                .flat_map(|change| change.first_block..change.first_block + change.count)
                .collect();
            let Reply::Stamps { blocks, .. } =
                ask(store, Request::Stamps { oid, first_block: 0, count })
            else {
                panic!("no stamps");
            };
            for (number, block) in (0..).zip(blocks) {
                let is_plain = !touched.contains(&number);
                assert!(!is_plain || block.state == BlockState::Absent, "block {number} of {oid}");
            }
            for number in touched {
                let read = Request::Read { oid, first_block: number, count: 1 };
                let Reply::Read(reply) = ask(store, read) else { panic!("no read") };
                self.check_reply(oid, number, &[self.floor(oid, number)], &reply);
            }
        }
        self.check_unstable(store);
    }

    /// ST6: nothing was ever called stable, so everything acknowledged is listed.
    fn check_unstable(&self, store: &mut Store) {
        let mut listed = BTreeSet::new();
        for vid in [vid(1), vid(2)] {
            let Reply::Unstable(list) = ask(store, Request::Unstable { vid }) else {
                panic!("no list");
            };
            listed.extend(list.iter().map(|change| change.stamp));
        }
        for stamp in &self.effective {
            assert!(listed.contains(stamp), "{stamp} is not in the unstable list");
        }
    }
}

fn ask(store: &mut Store, request: Request) -> Reply {
    let shown = format!("{request:?}");
    let mut replies = store.execute(vec![request]);
    replies.remove(0).unwrap_or_else(|error| panic!("{shown}: {error}"))
}

/// A history and everything that is under way of it.
struct Run {
    seed: u64,
    dice: Dice,
    disk: FakeDisk,
    store: Store,
    oracle: Oracle,
    under_way: BTreeMap<u64, UnderWay>,
    next_token: u64,
    sequence: u64,
    crashes: u64,
    idle: u64,
}

enum UnderWay {
    Change(Stamp),
    Read(Oid, u32, Vec<Stamp>),
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = FakeDisk::new();
        disk.shuffle(seed);
        disk.keep_forks();
        let (store, _) = Store::open(Box::new(disk.clone()), options(seed)).unwrap();
        let (oracle, under_way) = (Oracle::default(), BTreeMap::new());
        let dice = Dice::new(seed ^ 0x0a11);
        let (next_token, sequence, crashes, idle) = (0, 0, 0, 0);
        Self { idle, seed, dice, disk, store, oracle, under_way, next_token, sequence, crashes }
    }

    fn range(&mut self, blocks: u32) -> (u32, u32) {
        let first = self.dice.below(u64::from(blocks)) as u32;
        let (first, count) = match self.dice.below(10) {
            0..5 => (first % 12, 1 + self.dice.below(4) as u32),
            5..7 => (first, 1 + self.dice.below(6) as u32),
            7 => (first / 64 * 64, 64),
            8 => (first / 64 * 64, 16 + self.dice.below(140) as u32),
            _ => (first / 16 * 16, 16 + self.dice.below(32) as u32),
        };
        (first, count.min(blocks - first))
    }

    fn submit(&mut self) {
        let (oid, object_shift) = objects()[self.dice.below(3) as usize];
        let (first_block, count) = self.range(1 << (object_shift - 12));
        // Now and then one that comes late, as over another connection.
        let late = self.dice.below(12) == 0 && self.sequence > 4;
        self.sequence += 1;
        let number = if late { self.sequence * 16 - 60 } else { self.sequence * 16 };
        let (stamp, view) = (stamp(1, number), View(1 + self.sequence / 20));
        let token = self.next_token;
        self.next_token += 1;
        let kind = match self.dice.below(20) {
            0..3 => {
                let floors = (first_block..first_block + count)
                    .map(|block| self.oracle.floor(oid, block))
                    .collect();
                self.under_way.insert(token, UnderWay::Read(oid, first_block, floors));
                self.store.submit(token, Request::Read { oid, first_block, count });
                return;
            }
            3..6 => UnstableKind::Hole,
            6 => UnstableKind::Reset,
            _ => UnstableKind::Write,
        };
        let request = match kind {
            UnstableKind::Write => {
                let mut data = Vec::new();
                let mut checksums = Vec::new();
                for block in first_block..first_block + count {
                    let bytes = bytes_of(stamp, block);
                    checksums.push(block_checksum(oid, block, &bytes));
                    data.extend(bytes);
                }
                let data = Payload::from(&data[..]);
                Request::Write { oid, object_shift, first_block, stamp, view, checksums, data }
            }
            UnstableKind::Hole => {
                Request::Hole { oid, object_shift, first_block, count, stamp, view }
            }
            UnstableKind::Reset => Request::Reset { oid, stamp, view },
        };
        self.oracle.issued.insert(stamp, Change { oid, stamp, first_block, count, kind });
        self.under_way.insert(token, UnderWay::Change(stamp));
        self.store.submit(token, request);
    }

    /// Lets the store go on, then lets a crash happen to every copy of the disk.
    fn turn(&mut self, wait: bool) -> u64 {
        self.store.turn(wait);
        let cuts = self.crash_forks();
        if wait && !self.store.is_busy() {
            self.idle += 1;
            assert!(self.idle < 9, "nothing goes on: {:#?}", self.store);
        }
        for (token, reply) in self.store.take_replies() {
            match (self.under_way.remove(&token), reply) {
                (Some(UnderWay::Change(stamp)), Ok(Reply::Done { blocks })) => {
                    self.oracle.acknowledged.insert(stamp);
                    if blocks > 0 {
                        self.oracle.effective.insert(stamp);
                    }
                }
                (Some(UnderWay::Read(oid, first, floors)), Ok(Reply::Read(reply))) => {
                    self.oracle.check_reply(oid, first, &floors, &reply);
                }
                (_, reply) => panic!("{reply:?}"),
            }
        }
        cuts
    }

    fn crash_forks(&mut self) -> u64 {
        let forks = self.disk.take_forks();
        let mut cuts = 0;
        for fork in forks {
            for _ in 0..CUTS {
                if self.dice.below(3) == 0 {
                    continue; // Two thirds of the pairs, so that twice as many histories fit.
                }
                self.crashes += 1;
                cuts += 1;
                let copy = fork.fork();
                crash(&copy, self.seed ^ (self.crashes << 20));
                let (mut store, _) = Store::open(Box::new(copy), options(self.seed))
                    .unwrap_or_else(|error| panic!("crash {}: open: {error}", self.crashes));
                self.oracle.check(&mut store);
            }
        }
        cuts
    }

    /// The history itself crashes and goes on.
    fn crash_here(&mut self) {
        let seed = self.dice.roll();
        crash(&self.disk, seed);
        let (store, _) = Store::open(Box::new(self.disk.clone()), options(self.seed)).unwrap();
        self.store = store;
        self.under_way.clear();
        drop(self.disk.take_forks());
        self.settle();
    }

    /// What was not acknowledged is decided now: what is there stays, the rest never was.
    fn settle(&mut self) {
        let listed: Vec<_> = [vid(1), vid(2)]
            .into_iter()
            .flat_map(|vid| match ask(&mut self.store, Request::Unstable { vid }) {
                Reply::Unstable(list) => list,
                other => panic!("{other:?}"),
            })
            .collect();
        let acknowledged = &self.oracle.acknowledged;
        let parts: BTreeMap<Stamp, u32> = listed.iter().fold(BTreeMap::new(), |mut sums, part| {
            *sums.entry(part.stamp).or_default() += part.count;
            sums
        });
        self.oracle
            .issued
            .retain(|stamp, _| acknowledged.contains(stamp) || parts.contains_key(stamp));
        self.oracle.check(&mut self.store);
    }
}

fn crash(disk: &FakeDisk, seed: u64) {
    if seed.is_multiple_of(4) { disk.restart() } else { disk.power_cycle(seed) }
}

/// Runs one history; returns how many crashes were checked.
fn run(seed: u64) -> u64 {
    let mut run = Run::new(seed);
    for _ in 0..REQUESTS {
        while run.under_way.len() >= DEPTH {
            run.turn(true);
        }
        run.submit();
        match run.dice.below(40) {
            0 => run.crash_here(),
            1..12 => {
                run.turn(false);
            }
            _ => {}
        }
    }
    while !run.under_way.is_empty() {
        run.turn(true);
    }
    run.store.checkpoint().unwrap();
    run.crash_forks();
    run.oracle.check(&mut run.store);
    run.crashes
}

#[test]
fn a_crash_anywhere_leaves_each_block_old_or_new() {
    let total = std::cell::Cell::new(0);
    for_each_seed(12, |seed| total.set(total.get() + run(seed)));
    println!("{} crashes", total.get());
}
