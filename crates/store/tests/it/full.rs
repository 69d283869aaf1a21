//! A full disk: changes that need space are refused, everything else works.

use sheepdog_proto::{Oid, View};
use sheepdog_store::{FakeDisk, Options, Reply, Request, Store, StoreError};

use crate::history::{History, oids, small_options, stamp, vid, write};
use crate::model::{Model, ask, difference, play};
use crate::seeds::for_each_seed;

#[test]
fn a_full_disk_refuses_new_blocks_and_nothing_else() {
    let disk = FakeDisk::new();
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    let oid = |index| Oid::data(vid(1), index);
    disk.set_capacity(Some(disk.used() + (400 << 10)));
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        stamp(1, sequence)
    };
    let mut stored = 0;
    let refused = loop {
        let reply = store.execute(vec![write(oid(stored / 8), (stored % 8) * 3, 3, next(), 1, 1)]);
        match &reply[0] {
            Ok(_) => stored += 1,
            Err(error) => break error.clone(),
        }
        assert!(stored < 1000, "the disk never fills");
    };
    assert_eq!(refused, StoreError::Full);
    assert!(stored > 8, "{stored}");
    // Blocks that have their place can be written, again and again.
    for round in 0..100 {
        let again = write(oid(0), 0, 3, next(), 1, round);
        assert_eq!(ask(&mut store, again), Reply::Done { blocks: 3 }, "round {round}");
    }
    // What was there is there, and what is given back can be used.
    let read = Request::Read { oid: oid(0), first_block: 0, count: 24 };
    assert!(matches!(ask(&mut store, read), Reply::Read(_)));
    let reset = Request::Reset { oid: oid(0), stamp: next(), view: View(1) };
    assert_eq!(ask(&mut store, reset), Reply::Done { blocks: 24 });
    ask(&mut store, write(oid(50), 0, 3, next(), 1, 1));
}

#[test]
fn space_is_left_for_the_file_system() {
    let disk = FakeDisk::new();
    let options = Options { reserve_bytes: 1 << 20, ..small_options() };
    let (mut store, _) = Store::open(Box::new(disk.clone()), options).unwrap();
    disk.set_capacity(Some(disk.used() + (1 << 20) + (64 << 10)));
    let oid = Oid::data(vid(1), 0);
    assert_eq!(store.free_space(), Ok(64 << 10));
    assert!(store.execute(vec![write(oid, 0, 8, stamp(1, 1), 1, 1)])[0].is_ok());
    let reply = store.execute(vec![write(oid, 8, 8, stamp(1, 2), 1, 1)]);
    assert_eq!(reply, [Err(StoreError::Full)]);
}

#[test]
fn space_that_another_process_takes_is_missed_before_anything_is_changed() {
    let disk = FakeDisk::new();
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    let oid = Oid::data(vid(1), 0);
    ask(&mut store, write(oid, 0, 4, stamp(1, 1), 1, 1));
    disk.overstate_free_space();
    disk.set_capacity(Some(disk.used() + (8 << 10)));
    let syncs = disk.syncs();
    for (place, first) in [(oid, 4), (Oid::data(vid(1), 1), 0)] {
        let replies = store.execute(vec![write(place, first, 4, stamp(1, 2), 1, 1)]);
        assert_eq!(replies, [Err(StoreError::Full)]);
    }
    assert_eq!(disk.syncs(), syncs, "nothing reached the journal");
    assert!(store.failure().is_none());
    ask(&mut store, write(oid, 0, 4, stamp(1, 3), 1, 1));
}

#[test]
fn an_open_without_space_says_so_and_works_later() {
    let disk = FakeDisk::new();
    disk.set_capacity(Some(16 << 10));
    let open = || Store::open(Box::new(disk.clone()), small_options());
    assert!(matches!(open().err(), Some(StoreError::Full)));
    disk.restart();
    disk.set_capacity(None);
    assert!(open().is_ok());
}

#[test]
fn histories_on_a_disk_that_is_often_full_keep_to_the_model() {
    let total = std::cell::Cell::new(0);
    for_each_seed(12, |seed| {
        let disk = FakeDisk::new();
        let open = || Store::open(Box::new(disk.clone()), small_options()).unwrap().0;
        let mut store = open();
        disk.set_capacity(Some(disk.used() + ((60 + 20 * (seed % 8)) << 10)));
        let mut history = History::new(seed);
        let mut model = Model::default();
        let mut refused = 0;
        for step in 0..80 {
            let batch = history.batch();
            let replies = play(&mut store, &mut model, &batch);
            for (request, reply) in batch.iter().zip(replies) {
                match reply {
                    Err(StoreError::Full) => refused += 1,
                    reply => assert_eq!(reply, Ok(model.execute(request)), "step {step}"),
                }
            }
            if step % 20 == 19 {
                match store.checkpoint() {
                    Ok(()) => model.begin_segment(),
                    Err(StoreError::Full) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        total.set(total.get() + refused);
        assert_eq!(difference(&mut store, &model, &oids()), None);
        drop(store);
        disk.set_capacity(None);
        disk.power_cycle(seed);
        let mut store = open();
        model.begin_segment();
        assert_eq!(difference(&mut store, &model, &oids()), None, "after a crash");
    });
    assert!(total.get() > 0, "the disk was never full");
}
