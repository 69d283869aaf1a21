//! Errors of the disk: what fails stays failed, what was acknowledged stays.

use sheepdog_proto::Oid;
use sheepdog_store::disk::fake::Fault;
use sheepdog_store::{Corruption, Disk, FakeDisk, Options, Reply, Request, Store, StoreError};

use crate::history::{History, oids, small_options, stamp, vid, write};
use crate::model::{Model, ask, difference, play};
use crate::seeds::for_each_seed;

fn options() -> Options {
    Options { segment_bytes: 0, ..small_options() }
}

fn open(disk: &FakeDisk) -> Store {
    Store::open(Box::new(disk.clone()), options()).unwrap().0
}

fn object() -> Oid {
    Oid::data(vid(1), 0)
}

fn read(oid: Oid) -> Request {
    Request::Read { oid, first_block: 0, count: 1 }
}

fn is_failed(reply: &Result<Reply, StoreError>) -> bool {
    let Err(StoreError::Failed { cause }) = reply else { return false };
    matches!(**cause, StoreError::Io { .. })
}

/// Nothing is done any more, whatever is asked, and nothing reaches the disk.
fn check_stopped(disk: &FakeDisk, store: &mut Store) {
    let operations = disk.operations();
    let later = [
        read(object()),
        Request::Unstable { vid: vid(1) },
        Request::Watermark { vid: vid(1), stable: stamp(1, 1) },
        write(object(), 1, 1, stamp(1, 9), 1, 1),
    ];
    for request in later {
        assert!(store.execute(vec![request]).iter().all(is_failed)); // ST5
    }
    assert!(store.checkpoint().is_err_and(|error| error.is_fatal()));
    store.tick();
    store.turn(true);
    assert_eq!(disk.operations(), operations, "the disk is left alone");
    assert!(store.failure().is_some_and(StoreError::is_fatal));
}

#[test]
fn after_a_failed_sync_or_write_nothing_is_answered_any_more() {
    // To the log, and to the place.
    for (first_block, count) in [(0, 1), (64, 64)] {
        for fault in [Fault::Sync, Fault::Write] {
            let disk = FakeDisk::new();
            let mut store = open(&disk);
            ask(&mut store, write(object(), 0, 1, stamp(1, 1), 1, 1));
            store.turn(true);
            disk.fail(fault, 0);
            let change = write(object(), first_block, count, stamp(1, 2), 1, 2);
            let batch = vec![change, read(object()), Request::List { after: None, limit: 1 }];
            let replies = store.execute(batch);
            assert!(is_failed(&replies[0]), "{replies:?}");
            check_stopped(&disk, &mut store);
        }
    }
}

#[test]
fn an_error_at_any_step_of_a_checkpoint_stops_the_store_and_loses_nothing() {
    let mut model = Model::default();
    let requests =
        [write(object(), 0, 3, stamp(1, 1), 1, 1), write(object(), 9, 3, stamp(1, 2), 1, 1)];
    for request in &requests {
        model.execute(request);
    }
    model.begin_segment();
    let mut stopped = 0;
    for fault in [Fault::Sync, Fault::Write] {
        for after in 0.. {
            let disk = FakeDisk::new();
            let mut store = open(&disk);
            ask(&mut store, requests[0].clone());
            store.checkpoint().unwrap();
            ask(&mut store, requests[1].clone());
            store.turn(true);
            disk.fail(fault, after);
            let is_done = store.checkpoint().is_ok();
            if !is_done {
                stopped += 1;
                check_stopped(&disk, &mut store);
            }
            drop(store);
            disk.power_cycle(after);
            assert_eq!(difference(&mut open(&disk), &model, &oids()), None, "{fault:?} {after}");
            if is_done {
                break;
            }
        }
    }
    // Log, blocks, page and index page, root; three syncs, and the two durable writes'.
    assert!(stopped >= 9, "only {stopped} steps of a checkpoint");
}

#[test]
fn a_failed_read_of_a_block_is_an_error_of_its_request_alone() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    ask(&mut store, write(object(), 0, 1, stamp(1, 1), 1, 1));
    store.checkpoint().unwrap();
    disk.fail(Fault::Read, 0);
    let replies = store.execute(vec![read(object()), read(object())]);
    assert!(matches!(replies[0], Err(StoreError::Io { operation: "read", .. })), "{replies:?}");
    assert!(matches!(replies[1], Ok(Reply::Read(_))), "{replies:?}");
    assert!(store.failure().is_none());
    ask(&mut store, write(object(), 0, 1, stamp(1, 2), 1, 1));
}

#[test]
fn a_failed_read_of_metadata_is_an_error_of_its_object_alone() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    let other = Oid::data(vid(1), 1);
    for oid in [object(), other] {
        ask(&mut store, write(oid, 0, 1, stamp(1, 1), 1, 1));
    }
    store.checkpoint().unwrap();
    drop(store);
    disk.restart();
    let mut store = open(&disk);
    disk.fail(Fault::Read, 0);
    let bad = Corruption::Unreadable { oid: object(), page: 0 };
    let change = write(object(), 0, 1, stamp(1, 2), 1, 1);
    let list = Request::List { after: None, limit: 9 };
    let replies = store.execute(vec![read(object()), change, read(other), list]);
    assert_eq!(replies[..2], [Err(bad.clone().into()), Err(bad.clone().into())]);
    assert!(matches!(replies[2], Ok(Reply::Read(_))), "{replies:?}");
    let Ok(Reply::List(listing)) = &replies[3] else { panic!("{replies:?}") };
    assert_eq!((listing.objects.len(), &listing.rotten[..]), (1, &[(object(), bad)][..]));
    assert!(store.failure().is_none());
    // Whoever has another copy resets the object, and fetches it.
    let reset = Request::Reset { oid: object(), stamp: stamp(1, 3), view: sheepdog_proto::View(1) };
    ask(&mut store, reset);
    ask(&mut store, write(object(), 0, 1, stamp(1, 4), 1, 1));
    assert!(matches!(ask(&mut store, read(object())), Reply::Read(_)));
    let Reply::List(listing) = ask(&mut store, Request::List { after: None, limit: 9 }) else {
        panic!("no list");
    };
    assert_eq!((listing.objects.len(), listing.rotten.len()), (2, 0));
}

#[test]
fn an_open_that_cannot_read_changes_nothing_and_works_later() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    ask(&mut store, write(object(), 0, 3, stamp(1, 1), 1, 1));
    store.checkpoint().unwrap();
    ask(&mut store, write(object(), 0, 3, stamp(1, 2), 1, 1));
    drop(store);
    disk.restart();
    for after in 0..100 {
        let copy = disk.fork();
        copy.fail(Fault::Read, after);
        let before = copy.operations();
        let error = Store::open(Box::new(copy.clone()), options()).err();
        let Some(error) = error else {
            assert!(after > 8, "an open reads more than {after} times");
            return;
        };
        assert!(matches!(error, StoreError::Io { operation: "read", .. }), "{error}");
        assert_eq!(copy.operations(), before, "read {after}"); // OP1
        copy.restart();
        ask(&mut open(&copy), read(object()));
    }
    panic!("an open never works");
}

#[test]
fn a_file_of_the_log_that_vanishes_is_missed() {
    let options = Options { segments_max: 24, ..options() };
    let open = |disk: &FakeDisk| Store::open(Box::new(disk.clone()), options);
    let disk = FakeDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    for sequence in 1..60 {
        ask(&mut store, write(object(), 0, 12, stamp(1, sequence), 1, sequence));
    }
    drop(store);
    disk.restart();
    let files: Vec<_> = disk.paths().into_iter().filter(|p| p.starts_with("wal/")).collect();
    assert!(files.len() > 5, "{files:?}");
    // Of the one with the highest name nobody knows that it was there.
    for path in &files[..files.len() - 1] {
        let mut copy = disk.fork();
        copy.remove(path).unwrap();
        let before = copy.operations();
        let error = open(&copy).err();
        let missed = Corruption::LogFile { path: path.clone() };
        let is_missed = error == Some(missed.into());
        assert!(is_missed, "{path}: {error:?}");
        assert_eq!(copy.operations(), before);
    }
}

#[test]
fn an_error_at_any_write_or_sync_loses_nothing_it_acknowledged() {
    for_each_seed(2, |seed| {
        for kind in [Fault::Write, Fault::Sync] {
            for after in 0.. {
                let disk = FakeDisk::new();
                disk.fail(kind, after);
                if !run_with_fault(&disk, seed) {
                    break;
                }
            }
        }
    });
}

/// Runs a history into an injected error, and checks what is there afterwards. False if the
/// history ended before the error.
fn run_with_fault(disk: &FakeDisk, seed: u64) -> bool {
    let mut history = History::new(seed);
    let mut models = vec![Model::default()];
    let mut failed = false;
    match Store::open(Box::new(disk.clone()), options()) {
        Err(_) => failed = true,
        Ok((mut store, _)) => {
            for _ in 0..10 {
                let batch = history.batch();
                let mut model = models[models.len() - 1].clone();
                let replies = play(&mut store, &batch);
                // A question commits what is before it: any of these may be there.
                let later: Vec<Model> = batch.iter().map(|request| model.after(request)).collect();
                failed = replies.iter().any(Result::is_err);
                if failed {
                    assert!(store.failure().is_some());
                    models.extend(later);
                    break;
                }
                models = vec![model];
            }
            failed |= store.failure().is_some();
        }
    }
    // The process ends; what the kernel has is still there, synced or dropped.
    disk.restart();
    let mut store = open(disk);
    let found = which(&mut store, &mut models);
    drop(store);
    // What the next one has built on is durable.
    disk.power_cycle(seed);
    let mut store = open(disk);
    models[found].begin_segment();
    assert_eq!(difference(&mut store, &models[found], &oids()), None);
    failed
}

/// Which of these the store is like.
fn which(store: &mut Store, models: &mut [Model]) -> usize {
    let mut unlike = Vec::new();
    for (number, model) in models.iter_mut().enumerate() {
        model.begin_segment();
        match difference(store, model, &oids()) {
            None => return number,
            Some(difference) => unlike.push(difference),
        }
    }
    panic!("neither old nor new: {unlike:#?}");
}

#[test]
fn a_store_that_was_opened_after_any_failed_sync_survives_the_next_power_cut() {
    // How far the life after the failure comes: into a segment that it uses again, or further.
    for writes in [1, 8, 16, 30] {
        let mut after = 0;
        while fail_checkpoint_and_go_on(after, writes) {
            after += 1;
        }
        assert!(after > 2, "a checkpoint syncs more than {after} times");
    }
}

/// False if the checkpoint ended before the sync that was to fail.
fn fail_checkpoint_and_go_on(after: u64, writes: u64) -> bool {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    let mut sequence = 0;
    // Two checkpoints, so that both files of them are in use, and one that may fail.
    for _ in 0..2 {
        write_on(&mut store, &mut sequence, 30);
        store.checkpoint().unwrap();
    }
    write_on(&mut store, &mut sequence, 30);
    disk.fail(Fault::Sync, after);
    let has_failed = store.checkpoint().is_err();
    drop(store);
    disk.restart();
    let mut store = open(&disk);
    write_on(&mut store, &mut sequence, writes);
    drop(store);
    disk.lose_unsynced();
    let mut store = open(&disk);
    let Reply::Read(reply) = ask(&mut store, read(object())) else { panic!("no read") };
    assert_eq!(reply.blocks[0].stamp, stamp(1, sequence), "sync {after}, {writes} writes");
    has_failed
}

/// Some eleven of these fill a segment.
fn write_on(store: &mut Store, sequence: &mut u64, writes: u64) {
    for _ in 0..writes {
        *sequence += 1;
        ask(store, write(object(), 0, 12, stamp(1, *sequence), 1, *sequence));
    }
}
