//! A process is killed, and power fails while its successor repairs: every pair of moments.
//!
//! Why: the successor sees what its predecessor never synced, and must not build on it.

use sheepdog_proto::Oid;
use sheepdog_store::disk::fake::Fault;
use sheepdog_store::{FakeDisk, Options, Reply, Request, Store};

use crate::history::{small_options, stamp, vid, write};
use crate::model::{Model, ask, difference};

/// Power cuts at one moment, each with other sectors and names lost.
const CUTS: u64 = 6;

fn object() -> Oid {
    Oid::data(vid(1), 0)
}

fn options() -> Options {
    Options { segment_bytes: 0, ..small_options() }
}

fn open(disk: &FakeDisk) -> Store {
    let opened = Store::open(Box::new(disk.clone()), options());
    opened.unwrap_or_else(|error| panic!("open after a crash: {error}")).0
}

/// A store with one object in place.
fn settled() -> FakeDisk {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    ask(&mut store, write(object(), 0, 4, stamp(1, 1), 1, 1));
    store.checkpoint().unwrap();
    drop(store);
    disk.restart();
    disk
}

/// Opens the store that a killed process left, cuts the power at every operation of the open,
/// and checks what is there afterwards.
fn cut_every_repair(left: &FakeDisk, check: impl Fn(&mut Store)) {
    let first = left.operations();
    let count = {
        let disk = left.fork();
        drop(open(&disk));
        disk.operations() - first
    };
    for cut in 0..=count {
        for seed in 0..CUTS {
            let disk = left.fork();
            disk.cut_at(first + cut);
            drop(Store::open(Box::new(disk.clone()), options()));
            disk.power_cycle(seed);
            check(&mut open(&disk));
        }
    }
}

#[test]
fn a_checkpoint_can_be_killed_anywhere_and_its_repair_cut_anywhere() {
    let more = [write(object(), 2, 4, stamp(1, 2), 1, 2), write(object(), 9, 1, stamp(1, 3), 1, 3)];
    let mut model = Model::default();
    model.execute(&write(object(), 0, 4, stamp(1, 1), 1, 1));
    for request in &more {
        model.execute(request);
    }
    model.begin_segment();
    let settled = settled();
    let run = |kill: Option<u64>| {
        let disk = settled.fork();
        let mut store = open(&disk);
        assert!(store.execute(more.to_vec()).iter().all(Result::is_ok));
        let before = disk.operations();
        if let Some(kill) = kill {
            disk.cut_at(before + kill);
        }
        let is_done = store.checkpoint().is_ok();
        let operations = disk.operations() - before;
        drop(store);
        disk.restart();
        (disk, is_done, operations)
    };
    let (_, is_done, operations) = run(None);
    assert!(is_done && operations > 5);
    for kill in 0..operations {
        let check = |store: &mut Store| {
            assert_eq!(difference(store, &model, &[object()]), None, "killed at {kill}");
        };
        cut_every_repair(&run(Some(kill)).0, check);
    }
}

#[test]
fn a_batch_whose_sync_failed_is_whole_or_absent_after_every_repair() {
    let disk = settled();
    let mut store = open(&disk);
    disk.fail(Fault::Sync, 0);
    let batch = vec![write(object(), 0, 4, stamp(1, 2), 1, 2)];
    assert!(store.execute(batch)[0].is_err());
    drop(store);
    disk.restart();
    cut_every_repair(&disk, |store| {
        let read = Request::Read { oid: object(), first_block: 0, count: 4 };
        let Reply::Read(reply) = ask(store, read) else {
            panic!("no read");
        };
        let first = reply.blocks[0].stamp;
        assert!(reply.blocks.iter().all(|block| block.stamp == first), "{reply:?}");
    });
}

#[test]
fn a_view_that_a_killed_process_raised_stays_raised() {
    let disk = settled();
    let mut store = open(&disk);
    ask(&mut store, write(object(), 0, 1, stamp(1, 1), 9, 1));
    drop(store);
    disk.restart();
    cut_every_repair(&disk, |store| {
        let Reply::List(listing) = ask(store, Request::List { after: None, limit: 9 }) else {
            panic!("no list");
        };
        assert_eq!(listing.objects[0].modified.0, 9);
    });
}
