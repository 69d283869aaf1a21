//! Crashes at every write and sync: what was acknowledged is there, all of it or nothing of
//! the rest.
//!
//! Holds (of the store, checked here):
//!   ST1 after a crash the store is as after the last acknowledged batch and some of the requests
//!       of the one that was being executed: each whole, and all before it;
//!   ST6 the unstable list has every change that no watermark or settlement took off.

use sheepdog_proto::Oid;
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{FakeDisk, Reply, Request, Store};

use crate::history::{Event, History, oids, small_options, vid};
use crate::model::{Model, ask, difference, play, try_settle};
use crate::seeds::for_each_seed;

/// Batches of one history.
const BATCHES: usize = 14;

/// How a run ended.
struct Ended {
    /// As after the last batch that was acknowledged.
    acknowledged: Model,
    /// As after each request of the batch that was not, if there was one. A question commits
    /// what is before it, so that not all of a batch need be one commit.
    possible: Vec<Model>,
}

/// Runs a history until it ends or the disk fails; the power goes off at `cut`.
fn run(disk: &FakeDisk, seed: u64, cut: Option<u64>) -> Ended {
    let mut history = History::new(seed);
    let mut model = Model::default();
    let open = || {
        cut.into_iter().for_each(|cut| disk.cut_at(cut));
        Store::open(Box::new(disk.clone()), small_options())
    };
    let Ok((mut store, _)) = open() else {
        return Ended { acknowledged: model, possible: Vec::new() };
    };
    for _ in 0..BATCHES {
        let batch = history.batch();
        let replies = play(&mut store, &batch);
        let before = model.clone();
        let possible: Vec<Model> = batch.iter().map(|request| model.after(request)).collect();
        if replies.iter().any(Result::is_err) {
            assert!(store.failure().is_some(), "an error that does not stop the store");
            return Ended { acknowledged: before, possible };
        }
        match history.event() {
            Event::Nothing => {}
            Event::Checkpoint => {
                let is_done = store.checkpoint().is_ok();
                model.begin_segment();
                if !is_done {
                    return Ended { acknowledged: model, possible: Vec::new() };
                }
            }
            Event::Restart => {
                drop(store);
                disk.restart();
                let Ok((opened, _)) = open() else {
                    return Ended { acknowledged: model, possible: Vec::new() };
                };
                store = opened;
                assert_eq!(adopt_unstable(&mut store, &mut model), None);
                let before = model.clone();
                if try_settle(&mut store, &mut model).is_err() {
                    return Ended { acknowledged: before, possible: vec![model] };
                }
            }
        }
    }
    Ended { acknowledged: model, possible: Vec::new() }
}

/// After a crash the list may be longer than it need be; the model goes on with it. Says what
/// is missing, if anything is.
fn adopt_unstable(store: &mut Store, model: &mut Model) -> Option<String> {
    let listed: Vec<_> = [vid(1), vid(2), vid(9)]
        .into_iter()
        .flat_map(|vid| match ask(store, Request::Unstable { vid }) {
            Reply::Unstable(listed) => listed,
            other => panic!("{other:?}"),
        })
        .collect();
    if let Some(missing) = model.unstable.iter().find(|change| !listed.contains(change)) {
        return Some(format!("{missing:?} is not in the unstable list")); // ST6
    }
    model.unstable = listed.into_iter().collect();
    model.begin_segment();
    None
}

/// Those of the history, and the one of `settle`.
fn all_oids() -> Vec<Oid> {
    let mut oids = oids();
    oids.push(Oid::data(vid(9), 0));
    oids
}

/// Opens the store again and compares it with what it may be.
fn check(disk: &FakeDisk, ended: Ended) {
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options())
        .unwrap_or_else(|error| panic!("open after a crash: {error}"));
    let models = std::iter::once(ended.acknowledged).chain(ended.possible);
    let mut differences = Vec::new();
    for mut model in models {
        model.begin_segment();
        let unlike = difference(&mut store, &model, &all_oids())
            .or_else(|| adopt_unstable(&mut store, &mut model));
        if unlike.is_none() {
            go_on(&mut store, model);
            return;
        }
        differences.extend(unlike);
    }
    panic!("neither old nor new: {differences:#?}"); // ST1
}

/// A store that survived works on.
fn go_on(store: &mut Store, mut model: Model) {
    try_settle(store, &mut model).unwrap();
    let mut history = History::new(99);
    for _ in 0..4 {
        let batch = history.batch();
        let replies = play(store, &batch);
        for (request, reply) in batch.iter().zip(replies) {
            assert_eq!(reply, Ok(model.execute(request)), "after a crash: {request:?}");
        }
    }
}

/// How many changes and syncs a history makes when nothing happens.
fn operations(seed: u64) -> u64 {
    let disk = FakeDisk::new();
    let ended = run(&disk, seed, None);
    assert!(ended.possible.is_empty(), "a history fails without a fault");
    disk.operations()
}

#[test]
fn a_power_cut_at_any_write_or_sync_leaves_old_or_new() {
    for_each_seed(4, |seed| {
        for cut in 0..operations(seed) {
            let disk = FakeDisk::new();
            let ended = run(&disk, seed, Some(cut));
            disk.power_cycle(seed ^ (cut << 32));
            eprintln_on_panic(cut, || check(&disk, ended));
        }
    });
}

#[test]
fn a_power_cut_while_a_crash_is_repaired_leaves_old_or_new() {
    for_each_seed(4, |seed| {
        let total = operations(seed);
        let mut dice = Dice::new(seed ^ 0x5eed);
        for _ in 0..60 {
            let cut = dice.below(total);
            let kills = dice.below(2) == 0;
            let disk = FakeDisk::new();
            let ended = run(&disk, seed, Some(cut));
            // A killed process leaves everything to the kernel, a power cut does not.
            if kills {
                disk.restart();
            } else {
                disk.power_cycle(dice.roll());
            }
            let second = disk.operations() + dice.below(30);
            disk.cut_at(second);
            let opened = Store::open(Box::new(disk.clone()), small_options());
            drop(opened);
            disk.power_cycle(dice.roll());
            eprintln_on_panic(cut, || check(&disk, ended));
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    for_each_seed(2, |seed| {
        for cut in 0..operations(seed) {
            let disk = FakeDisk::new();
            let ended = run(&disk, seed, Some(cut));
            disk.restart();
            eprintln_on_panic(cut, || check(&disk, ended));
        }
    });
}

/// Says at which operation the crash was.
fn eprintln_on_panic(cut: u64, case: impl FnOnce()) {
    struct Announce(u64);
    impl Drop for Announce {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("crash at operation {}", self.0);
            }
        }
    }
    let _announce = Announce(cut);
    case();
}
