//! A full disk: changes that need space are refused, everything else works.

use std::collections::BTreeSet;

use sheepdog_proto::{Oid, View};
use sheepdog_store::{FakeDisk, Options, Reply, Request, Store, StoreError};

use crate::history::{History, SHIFT, oids, small_options, stamp, vid, write};
use crate::model::{Model, ask, difference, play};
use crate::seeds::for_each_seed;

/// What is left for the log's files and for metadata.
const RESERVE: u64 = 256 << 10;

fn options() -> Options {
    let dirty_bytes_max = 512 << 10;
    Options { segment_bytes: 0, dirty_bytes_max, reserve_bytes: RESERVE, ..small_options() }
}

fn open(disk: &FakeDisk) -> Store {
    Store::open(Box::new(disk.clone()), options()).unwrap().0
}

fn oid(index: u32) -> Oid {
    Oid::data(vid(1), index)
}

/// A store whose log has all its files.
fn fresh() -> (FakeDisk, Store) {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    for sequence in 1..9 {
        let warm_up = write(Oid::data(vid(9), 0), 0, 1, stamp(1, sequence), 1, 1);
        ask(&mut store, warm_up);
        store.checkpoint().unwrap();
        store.turn(true);
    }
    (disk, store)
}

/// Stamps that rise.
struct Stamps(u64);

impl Stamps {
    fn next(&mut self) -> sheepdog_proto::Stamp {
        self.0 += 1;
        stamp(1, self.0)
    }
}

/// Writes objects of 24 blocks until the disk is full. Returns how many writes of three blocks
/// were done.
fn fill(store: &mut Store, stamps: &mut Stamps, from: u32) -> u32 {
    for number in 0..1000 {
        let (index, place) = (from + number / 8, number % 8 * 3);
        let reply = store.execute(vec![write(oid(index), place, 3, stamps.next(), 1, 1)]).remove(0);
        match reply {
            Ok(_) => {}
            Err(StoreError::Full) => return number,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never fills");
}

#[test]
fn a_full_disk_refuses_new_blocks_and_nothing_else() {
    let (disk, mut store) = fresh();
    let mut stamps = Stamps(0);
    disk.set_capacity(Some(disk.used() + RESERVE + (1 << 20)));
    let stored = fill(&mut store, &mut stamps, 0);
    assert!(stored > 8, "{stored}");
    let files = disk.paths();
    // Blocks that have their place can be written, again and again.
    for round in 0..300 {
        let again = write(oid(0), 0, 3, stamps.next(), 1, round);
        assert_eq!(ask(&mut store, again), Reply::Done { blocks: 3 }, "round {round}");
        if round % 50 == 0 {
            store.checkpoint().unwrap();
            assert_eq!(fill(&mut store, &mut stamps, 500), 0, "round {round}");
        }
    }
    assert_eq!(disk.paths(), files);
    assert!(store.statistics().checkpoints > 6);
    // What was there is there, holes can be made, and what is given back can be used.
    for index in 0..stored / 8 {
        let read = Request::Read { oid: oid(index), first_block: 0, count: 24 };
        assert!(matches!(ask(&mut store, read), Reply::Read(_)));
    }
    let (stamp, view) = (stamps.next(), View(1));
    let hole =
        Request::Hole { oid: oid(1), object_shift: SHIFT, first_block: 0, count: 9, stamp, view };
    assert_eq!(ask(&mut store, hole), Reply::Done { blocks: 9 });
    let reset = Request::Reset { oid: oid(0), stamp: stamps.next(), view };
    assert_eq!(ask(&mut store, reset), Reply::Done { blocks: 24 });
    store.checkpoint().unwrap();
    store.tick();
    assert!(fill(&mut store, &mut stamps, 600) > 4);
}

#[test]
fn service_resumes_when_space_appears() {
    let (disk, mut store) = fresh();
    let mut stamps = Stamps(0);
    disk.set_capacity(Some(disk.used() + RESERVE + (512 << 10)));
    fill(&mut store, &mut stamps, 0);
    disk.set_capacity(Some(disk.used() + RESERVE + (512 << 10)));
    store.tick();
    assert!(fill(&mut store, &mut stamps, 100) > 8);
    disk.set_capacity(None);
    store.tick();
    let large = write(oid(200), 0, 256, stamps.next(), 1, 1);
    assert_eq!(ask(&mut store, large), Reply::Done { blocks: 256 });
}

#[test]
fn large_writes_are_refused_where_they_need_space_and_done_where_they_do_not() {
    let (disk, mut store) = fresh();
    let mut stamps = Stamps(0);
    ask(&mut store, write(oid(0), 0, 256, stamps.next(), 1, 1));
    store.checkpoint().unwrap();
    disk.set_capacity(Some(disk.used() + RESERVE + (32 << 10)));
    store.tick();
    let refused = store.execute(vec![write(oid(1), 0, 64, stamps.next(), 1, 1)]);
    assert_eq!(refused, [Err(StoreError::Full)]);
    assert_eq!(store.object_count(), 2);
    // Over what is there: a new unit finds no space, so it goes by way of the log.
    for round in 0..8 {
        let again = write(oid(0), 0, 64, stamps.next(), 1, round);
        assert_eq!(ask(&mut store, again), Reply::Done { blocks: 64 }, "round {round}");
    }
    store.checkpoint().unwrap();
    let read = Request::Read { oid: oid(0), first_block: 0, count: 256 };
    assert!(matches!(ask(&mut store, read), Reply::Read(_)));
}

#[test]
fn space_is_left_for_the_log_and_for_metadata() {
    let (disk, mut store) = fresh();
    disk.set_capacity(Some(disk.used() + RESERVE + (96 << 10)));
    store.tick();
    assert_eq!(store.free_space(), Ok(96 << 10));
    // Eight blocks, and 48 KiB for what will describe a new object.
    assert!(store.execute(vec![write(oid(0), 0, 8, stamp(1, 1), 1, 1)])[0].is_ok());
    let reply = store.execute(vec![write(oid(0), 8, 16, stamp(1, 2), 1, 1)]);
    assert_eq!(reply, [Err(StoreError::Full)]);
    assert!(store.free_space().unwrap() < 96 << 10);
}

/// Fills the disk behind the store's back, with changes in the log that need space.
fn space_is_taken() -> (FakeDisk, Store, Model) {
    let (disk, mut store) = fresh();
    let mut model = Model::default();
    for sequence in 1..9 {
        let request = write(Oid::data(vid(9), 0), 0, 1, stamp(1, sequence), 1, 1);
        model.execute(&request);
    }
    disk.overstate_free_space();
    disk.set_capacity(Some(disk.used()));
    for (index, block) in [(0, 0), (1, 60), (0, 250)] {
        let request = write(oid(index), block, 4, stamp(1, 20), 1, 1);
        model.execute(&request);
        ask(&mut store, request);
    }
    model.begin_segment();
    (disk, store, model)
}

#[test]
fn a_checkpoint_without_space_waits_and_goes_on_later() {
    let (disk, mut store, mut model) = space_is_taken();
    assert_eq!(store.checkpoint(), Err(StoreError::Full));
    assert!(store.failure().is_none());
    assert!(store.statistics().blocked_writes > 0);
    let done = store.statistics().checkpoints;
    let all = [oid(0), oid(1)];
    assert_eq!(difference(&mut store, &model, &all), None);
    // Meanwhile changes go to the log.
    let request = write(oid(0), 2, 4, stamp(1, 30), 1, 2);
    assert_eq!(ask(&mut store, request.clone()), model.execute(&request));
    store.tick();
    store.turn(true);
    assert_eq!(store.statistics().checkpoints, done);
    disk.set_capacity(None);
    store.tick();
    store.turn(true);
    assert_eq!(store.statistics().checkpoints, done + 1);
    assert_eq!(difference(&mut store, &model, &all), None);
    store.checkpoint().unwrap();
    assert_eq!(difference(&mut store, &model, &all), None);
}

#[test]
fn a_crash_while_a_checkpoint_waits_for_space_loses_nothing() {
    let all = [oid(0), oid(1)];
    for seed in 0..8 {
        let (disk, mut store, mut model) = space_is_taken();
        assert_eq!(store.checkpoint(), Err(StoreError::Full));
        drop(store);
        if seed == 0 {
            disk.restart()
        } else {
            disk.power_cycle(seed)
        }
        let mut store = open(&disk);
        assert_eq!(difference(&mut store, &model, &all), None, "seed {seed}");
        // Also without space it serves what it can.
        let request = write(oid(0), 0, 4, stamp(1, 30), 1, 2);
        assert_eq!(ask(&mut store, request.clone()), model.execute(&request));
        assert_eq!(store.checkpoint(), Err(StoreError::Full));
        disk.set_capacity(None);
        store.tick();
        store.checkpoint().unwrap();
        assert_eq!(difference(&mut store, &model, &all), None, "seed {seed}");
    }
}

#[test]
fn a_log_without_space_for_its_checkpoint_refuses_and_does_not_hang() {
    let (disk, mut store, mut model) = space_is_taken();
    let mut refused = 0;
    for sequence in 40..400 {
        let request = write(oid(0), 0, 8, stamp(1, sequence), 1, sequence);
        match store.execute(vec![request.clone()]).remove(0) {
            Err(StoreError::Full) => refused += 1,
            reply => assert_eq!(reply, Ok(model.execute(&request)), "{sequence}"),
        }
    }
    assert!(refused > 0, "the log has no end");
    assert_eq!(difference(&mut store, &model, &[oid(0), oid(1)]), None);
    disk.set_capacity(None);
    store.tick();
    store.turn(true);
    let request = write(oid(0), 0, 8, stamp(1, 999), 1, 1);
    assert_eq!(ask(&mut store, request.clone()), model.execute(&request));
    store.checkpoint().unwrap();
    drop(store);
    disk.power_cycle(1);
    model.begin_segment();
    assert_eq!(difference(&mut open(&disk), &model, &[oid(0), oid(1)]), None);
}

#[test]
fn many_writes_at_once_that_the_log_cannot_take_are_refused_and_do_not_hang() {
    let (disk, store, _) = space_is_taken();
    drop(store);
    disk.restart();
    // So that it is the log that ends, and not the memory.
    let options = Options { dirty_bytes_max: 64 << 20, ..options() };
    let (mut store, _) = Store::open(Box::new(disk.clone()), options).unwrap();
    let mut waiting: BTreeSet<u64> = (40..240).collect();
    for sequence in 40..240 {
        store.submit(sequence, write(oid(0), 0, 8, stamp(1, sequence), 1, sequence));
    }
    let mut refused = 0;
    for _ in 0..2000 {
        store.turn(!waiting.is_empty());
        for (token, reply) in store.take_replies() {
            waiting.remove(&token);
            refused += u32::from(reply == Err(StoreError::Full));
        }
    }
    assert!(waiting.is_empty(), "{} writes wait for ever", waiting.len()); // HB1
    assert!(refused > 0, "the log has no end");
    disk.set_capacity(None);
    store.tick();
    store.checkpoint().unwrap();
}

#[test]
fn a_large_write_that_finds_no_space_is_refused_and_leaves_nothing() {
    let (disk, mut store, mut model) = space_is_taken();
    let before = store.statistics().batches;
    let large = write(oid(2), 0, 64, stamp(1, 30), 1, 1);
    assert_eq!(store.execute(vec![large.clone()]), [Err(StoreError::Full)]);
    assert_eq!(store.statistics().batches, before);
    assert!(store.failure().is_none());
    assert_eq!(difference(&mut store, &model, &[oid(0), oid(1), oid(2)]), None);
    disk.set_capacity(None);
    store.tick();
    assert_eq!(ask(&mut store, large.clone()), model.execute(&large));
    store.checkpoint().unwrap();
    assert_eq!(difference(&mut store, &model, &[oid(0), oid(1), oid(2)]), None);
}

#[test]
fn a_list_of_unstable_changes_that_fills_the_log_refuses_more_until_it_shrinks() {
    let (_, mut store) = fresh();
    let mut stamps = Stamps(0);
    let mut batch = || -> Vec<Request> {
        (0..50).map(|block| write(oid(0), block, 1, stamps.next(), 1, 1)).collect()
    };
    let refused = (0..300).find(|_| store.execute(batch()).iter().any(Result::is_err));
    assert!(refused.is_some_and(|count| count > 50), "{refused:?}");
    assert!(store.execute(batch()).iter().all(|reply| *reply == Err(StoreError::Full)));
    store.checkpoint().unwrap();
    let stable = stamp(1, 1_000_000);
    ask(&mut store, Request::Watermark { vid: vid(1), stable });
    assert!(store.execute(batch()).iter().all(Result::is_ok));
}

#[test]
fn a_file_of_the_log_that_found_no_space_is_never_appended_to() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    disk.overstate_free_space();
    disk.set_capacity(Some(disk.used() + (200 << 10)));
    // Another file of the log is made beside this, and finds no space.
    ask(&mut store, write(oid(0), 0, 4, stamp(1, 1), 1, 1));
    store.turn(true);
    assert!(disk.file_bytes("wal/0003").is_some_and(|bytes| bytes.is_empty()));
    drop(store);
    disk.restart();
    for round in 0..3 {
        let mut store = open(&disk);
        for sequence in 0..300 {
            let request = write(oid(0), 0, 4, stamp(2 + round, 1 + sequence), 1, 1);
            assert_eq!(ask(&mut store, request), Reply::Done { blocks: 4 });
        }
        store.checkpoint().unwrap();
        drop(store);
        disk.power_cycle(u64::from(round));
    }
}

#[test]
fn an_open_without_space_says_so_and_works_later() {
    for space in [0, 16 << 10, 600 << 10, 1100 << 10] {
        let disk = FakeDisk::new();
        disk.set_capacity(Some(space));
        let error = Store::open(Box::new(disk.clone()), options()).err();
        let is_full = |error: StoreError| match error {
            StoreError::Failed { cause } => *cause == StoreError::Full,
            error => error == StoreError::Full,
        };
        assert!(error.is_some_and(is_full), "{space}");
        disk.restart();
        disk.set_capacity(None);
        ask(&mut open(&disk), write(oid(0), 0, 4, stamp(1, 1), 1, 1));
    }
}

#[test]
fn histories_on_a_disk_that_is_often_full_keep_to_the_model() {
    let total = std::cell::Cell::new(0);
    for_each_seed(12, |seed| {
        let disk = FakeDisk::new();
        let options = Options { segment_bytes: 1 << 20, ..options() };
        let open = || Store::open(Box::new(disk.clone()), options).unwrap().0;
        let mut store = open();
        let space = RESERVE + ((120 + 20 * (seed % 8)) << 10);
        disk.set_capacity(Some(disk.used() + space));
        let mut history = History::new(seed);
        let mut model = Model::default();
        let mut refused = 0;
        for step in 0..80 {
            let batch = history.batch();
            let replies = play(&mut store, &batch);
            for (request, reply) in batch.iter().zip(replies) {
                match reply {
                    Err(StoreError::Full) => refused += 1,
                    reply => assert_eq!(reply, Ok(model.execute(request)), "step {step}"),
                }
            }
            if step % 20 == 19 {
                store.checkpoint().unwrap();
                model.begin_segment();
            }
        }
        total.set(total.get() + refused);
        assert_eq!(difference(&mut store, &model, &oids()), None);
        drop(store);
        disk.power_cycle(seed);
        let mut store = open();
        model.begin_segment();
        assert_eq!(difference(&mut store, &model, &oids()), None, "after a crash");
    });
    assert!(total.get() > 0, "the disk was never full");
}
