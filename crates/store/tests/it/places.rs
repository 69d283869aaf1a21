//! Where blocks go: the log, their units, units that are used again, and the space of holes.

use sheepdog_proto::{Oid, View};
use sheepdog_store::{FakeDisk, Options, Reply, Request, Store};

use crate::history::{small_options, stamp, vid, write};
use crate::model::{Model, ask, difference, settle};

fn options() -> Options {
    Options { segment_bytes: 0, warm_units_max: 0, ..small_options() }
}

fn open(disk: &FakeDisk) -> Store {
    Store::open(Box::new(disk.clone()), options()).unwrap().0
}

fn object() -> Oid {
    Oid::data(vid(1), 0)
}

/// Executes changes with ascending stamps, in store and model.
struct Pair {
    disk: FakeDisk,
    store: Store,
    model: Model,
    sequence: u64,
}

impl Pair {
    fn new() -> Self {
        let disk = FakeDisk::new();
        let (mut store, mut model) = (open(&disk), Model::default());
        settle(&mut store, &mut model);
        Self { disk, store, model, sequence: 0 }
    }

    fn ask(&mut self, request: impl FnOnce(u64) -> Request) {
        self.sequence += 1;
        let request = request(self.sequence);
        assert_eq!(ask(&mut self.store, request.clone()), self.model.execute(&request));
    }

    fn write(&mut self, first_block: u32, count: u32) {
        self.ask(|sequence| write(object(), first_block, count, stamp(1, sequence), 1, sequence));
    }

    fn hole(&mut self, first_block: u32, count: u32) {
        let (oid, object_shift, view) = (object(), 20, View(1));
        self.ask(|sequence| {
            let stamp = stamp(1, sequence);
            Request::Hole { oid, object_shift, first_block, count, stamp, view }
        });
    }

    fn checkpoint(&mut self) {
        self.store.checkpoint().unwrap();
        self.model.begin_segment();
    }

    /// Everything is there, now and after a power cut.
    fn check(&mut self) {
        assert_eq!(difference(&mut self.store, &self.model, &[object()]), None);
        for (first_block, count) in [(0, 64), (64, 128), (192, 64)] {
            let read = Request::Read { oid: object(), first_block, count };
            assert_eq!(ask(&mut self.store, read.clone()), self.model.execute(&read));
        }
        self.disk.power_cycle(self.sequence);
        self.store = open(&self.disk);
        assert_eq!(difference(&mut self.store, &self.model, &[object()]), None);
        settle(&mut self.store, &mut self.model);
    }
}

/// Bytes to the log and to slabs since `before`.
fn written(store: &Store, before: (u64, u64)) -> (u64, u64) {
    let statistics = store.statistics();
    (statistics.wal_bytes - before.0, statistics.data_bytes - before.1)
}

#[test]
fn small_writes_go_to_the_log_first_and_large_ones_to_their_place() {
    let mut pair = Pair::new();
    let mut before = written(&pair.store, (0, 0));
    let mut step = |pair: &mut Pair, first_block, count| {
        pair.write(first_block, count);
        let bytes = written(&pair.store, before);
        before = written(&pair.store, (0, 0));
        bytes
    };
    assert_eq!(step(&mut pair, 0, 1), (8192, 0));
    // Long enough, and nothing is there.
    assert_eq!(step(&mut pair, 16, 32), (4096, 32 << 12));
    // Something is there.
    assert_eq!(step(&mut pair, 16, 32), (33 << 12, 0));
    // Whole units, over something or not. The ends of a long write are committed before.
    assert_eq!(step(&mut pair, 0, 64), (4096, 64 << 12));
    assert_eq!(step(&mut pair, 60, 136), (10 << 12, 128 << 12));
    pair.check();
}

#[test]
fn what_is_in_the_log_is_put_in_place_by_a_checkpoint_and_only_then() {
    let mut pair = Pair::new();
    pair.write(3, 4);
    pair.write(5, 4);
    assert_eq!(pair.store.statistics().data_bytes, 0);
    pair.checkpoint();
    // Six blocks, and the one of `settle`.
    assert_eq!(pair.store.statistics().data_bytes, 7 << 12);
    pair.check();
    drop(pair.store);
    pair.disk.restart();
    let (_, report) = Store::open(Box::new(pair.disk.clone()), options()).unwrap();
    assert_eq!(report.batches, 1);
}

#[test]
fn a_store_that_was_stopped_with_a_checkpoint_has_nothing_to_replay() {
    let mut pair = Pair::new();
    pair.write(0, 100);
    pair.checkpoint();
    drop(pair.store);
    pair.disk.power_cycle(1);
    let (mut store, report) = Store::open(Box::new(pair.disk.clone()), options()).unwrap();
    assert_eq!((report.batches, report.is_torn, report.objects), (0, false, 2));
    assert_eq!(difference(&mut store, &pair.model, &[object()]), None);
}

#[test]
fn the_log_is_used_again_and_stays_within_its_bounds() {
    let mut pair = Pair::new();
    for round in 0..200 {
        pair.write(round % 200, 12);
    }
    let segments = options().segments_max as usize;
    let files = pair.disk.paths().iter().filter(|path| path.starts_with("wal/")).count();
    assert!(files <= segments, "{files} files");
    assert!(pair.store.segment() > 3 * options().segments_max);
    assert!(pair.store.statistics().checkpoints > 2);
    pair.check();
}

#[test]
fn memory_for_what_is_not_in_place_is_bounded() {
    let disk = FakeDisk::new();
    let options = Options { dirty_bytes_max: 128 << 10, segments_max: 24, ..small_options() };
    let (mut store, _) = Store::open(Box::new(disk), options).unwrap();
    for sequence in 1..100 {
        ask(&mut store, write(object(), 8 * (sequence % 8) as u32, 8, stamp(1, sequence), 1, 1));
    }
    let checkpoints = store.statistics().checkpoints;
    assert!(checkpoints >= 20, "{checkpoints} checkpoints, one for every four writes");
}

#[test]
fn units_that_were_replaced_are_used_again_after_a_checkpoint() {
    let mut pair = Pair::new();
    for _ in 0..12 {
        for unit in 0..4 {
            pair.write(unit * 64, 64);
        }
        pair.checkpoint();
    }
    let slab = pair.disk.file_bytes("data/0000").unwrap().len();
    assert!(slab <= 12 * (256 << 10), "{slab} bytes for one object of 1 MiB");
    pair.check();
}

#[test]
fn the_space_of_holes_and_of_what_was_reset_goes_back() {
    let mut pair = Pair::new();
    // So often that pages have both of their copies, and the log all its files.
    for _ in 0..6 {
        pair.write(0, 256);
        pair.checkpoint();
    }
    pair.store.turn(true);
    let full = pair.disk.used();
    // Half of a unit, and a whole one.
    pair.hole(0, 96);
    pair.checkpoint();
    pair.store.turn(true);
    assert_eq!(full - pair.disk.used(), 96 << 12);
    pair.write(8, 4);
    pair.ask(|sequence| Request::Reset { oid: object(), stamp: stamp(1, sequence), view: View(1) });
    pair.checkpoint();
    pair.store.turn(true);
    // All but the unit of `settle`, and the metadata.
    assert_eq!(full - pair.disk.used(), 256 << 12);
    pair.check();
}

#[test]
fn an_object_loses_one_fragment_and_keeps_the_others() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    let in_large = |mut request: Request| {
        if let Request::Write { object_shift, .. } = &mut request {
            *object_shift = 24;
        }
        request
    };
    for (block, sequence) in [(0, 1), (1500, 9), (4000, 2)] {
        ask(&mut store, in_large(write(object(), block, 2, stamp(1, sequence), 1, sequence)));
    }
    store.checkpoint().unwrap();
    let reset = Request::Reset { oid: object(), stamp: stamp(1, 5), view: View(1) };
    assert_eq!(ask(&mut store, reset), Reply::Done { blocks: 4 });
    let states = |store: &mut Store| {
        let Reply::Stamps { base, blocks } =
            ask(store, Request::Stamps { oid: object(), first_block: 0, count: 4096 })
        else {
            panic!("no stamps");
        };
        let present = (0..).zip(&blocks).filter(|(_, block)| block.stamp > base);
        (base, present.map(|(number, _)| number).collect::<Vec<u32>>())
    };
    let expected = (stamp(1, 5), vec![1500, 1501]);
    assert_eq!(states(&mut store), expected);
    // What is free now is used by another object.
    store.checkpoint().unwrap();
    ask(&mut store, write(Oid::data(vid(1), 1), 0, 2, stamp(1, 1), 1, 1));
    store.checkpoint().unwrap();
    drop(store);
    disk.power_cycle(1);
    let mut store = open(&disk);
    assert_eq!(states(&mut store), expected);
    ask(&mut store, in_large(write(object(), 0, 2, stamp(1, 10), 1, 10)));
    assert_eq!(states(&mut store).1, [0, 1, 1500, 1501]);
}
