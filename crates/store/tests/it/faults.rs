//! Errors of the disk: what fails stays failed, what was acknowledged stays.

use sheepdog_proto::Oid;
use sheepdog_store::disk::fake::Fault;
use sheepdog_store::{FakeDisk, Reply, Request, Store, StoreError};

use crate::history::{History, oids, small_options, stamp, vid, write};
use crate::model::{Model, ask, difference, play};
use crate::seeds::for_each_seed;

fn object() -> Oid {
    Oid::data(vid(1), 0)
}

#[test]
fn after_a_failed_sync_nothing_is_answered_any_more() {
    let disk = FakeDisk::new();
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    ask(&mut store, write(object(), 0, 1, stamp(1, 1), 1, 1));
    disk.fail(Fault::Sync, 0);
    let read = Request::Read { oid: object(), first_block: 0, count: 1 };
    let batch = vec![read.clone(), write(object(), 0, 1, stamp(1, 2), 1, 2)];
    let is_failed = |reply: &Result<Reply, StoreError>| {
        let Err(StoreError::Failed { cause }) = reply else { return false };
        matches!(**cause, StoreError::Io { .. })
    };
    assert!(store.execute(batch).iter().all(is_failed));
    let operations = disk.operations();
    let later = [read, Request::Unstable { vid: vid(1) }, write(object(), 1, 1, stamp(1, 3), 1, 1)];
    for request in later {
        assert!(store.execute(vec![request]).iter().all(is_failed));
    }
    assert!(store.checkpoint().is_err_and(|error| error.is_fatal()));
    assert_eq!(disk.operations(), operations, "the disk is left alone");
}

#[test]
fn a_failed_sync_of_a_checkpoint_stops_the_store_and_loses_nothing() {
    let disk = FakeDisk::new();
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    let mut model = Model::default();
    let request = write(object(), 0, 3, stamp(1, 1), 1, 1);
    model.execute(&request);
    ask(&mut store, request);
    disk.fail(Fault::Sync, 0);
    assert!(store.checkpoint().is_err_and(|error| error.is_fatal()));
    drop(store);
    disk.power_cycle(4);
    let (mut store, report) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    assert_eq!(report.batches, 1);
    assert_eq!(difference(&mut store, &model, &oids()), None);
}

#[test]
fn a_failed_read_is_an_error_of_its_request_alone() {
    let disk = FakeDisk::new();
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    ask(&mut store, write(object(), 0, 1, stamp(1, 1), 1, 1));
    let read = Request::Read { oid: object(), first_block: 0, count: 1 };
    disk.fail(Fault::Read, 0);
    let replies = store.execute(vec![read.clone(), read.clone()]);
    assert!(matches!(replies[0], Err(StoreError::Io { operation: "read", .. })), "{replies:?}");
    assert!(matches!(replies[1], Ok(Reply::Read(_))), "{replies:?}");
    assert!(store.failure().is_none());
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
    match Store::open(Box::new(disk.clone()), small_options()) {
        Err(_) => failed = true,
        Ok((mut store, _)) => {
            for _ in 0..10 {
                let batch = history.batch();
                let mut model = models[models.len() - 1].clone();
                let replies = play(&mut store, &mut model, &batch);
                for request in &batch {
                    model.execute(request);
                }
                failed = replies.iter().any(Result::is_err);
                if !failed {
                    models.clear();
                }
                models.push(model);
                if failed {
                    assert!(store.failure().is_some());
                    break;
                }
            }
        }
    }
    // The process ends; what the kernel has is still there, synced or dropped.
    disk.restart();
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    let unlike: Vec<_> = models
        .iter_mut()
        .map(|model| {
            model.begin_segment();
            difference(&mut store, model, &oids())
        })
        .collect();
    assert!(unlike.iter().any(Option::is_none), "neither old nor new: {unlike:#?}");
    failed
}
