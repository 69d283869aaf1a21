//! Rot of each kind of place: which error names it, what is spared, and what heals it.

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{Oid, View};
use sheepdog_store::{Corruption, FakeDisk, Listing, Options, Reply, Request, Store, StoreError};

use crate::history::{small_options, stamp, vid, write};
use crate::model::ask;

fn options() -> Options {
    Options { segment_bytes: 0, ..small_options() }
}

fn oid(index: u32) -> Oid {
    Oid::data(vid(1), index)
}

fn read(oid: Oid, first_block: u32, count: u32) -> Request {
    Request::Read { oid, first_block, count }
}

/// A store with two objects in place, the first in the first unit and in slot 0; stopped.
fn stopped() -> FakeDisk {
    let disk = FakeDisk::new();
    let (mut store, _) = Store::open(Box::new(disk.clone()), options()).unwrap();
    ask(&mut store, write(oid(0), 0, 40, stamp(1, 1), 1, 1));
    ask(&mut store, write(oid(1), 0, 4, stamp(1, 2), 1, 1));
    store.checkpoint().unwrap();
    drop(store);
    disk.restart();
    disk
}

fn open(disk: &FakeDisk) -> Store {
    Store::open(Box::new(disk.clone()), options()).unwrap().0
}

fn refusal(disk: &FakeDisk) -> Corruption {
    let before = disk.operations();
    let error = Store::open(Box::new(disk.clone()), options()).err();
    assert_eq!(disk.operations(), before, "a refused open changes nothing"); // OP1
    match error {
        Some(StoreError::Corrupt(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn corrupt(reply: &Result<Reply, StoreError>) -> &Corruption {
    match reply {
        Err(StoreError::Corrupt(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn list(store: &mut Store) -> Listing {
    let Reply::List(listing) = ask(store, Request::List { after: None, limit: 9 }) else {
        panic!("no list");
    };
    listing
}

#[test]
fn a_bad_block_is_named_and_the_others_are_read() {
    let disk = stopped();
    assert!(disk.flip_bit("data/0000", 3 * 4096 + 17, 5));
    let mut store = open(&disk);
    let replies = store.execute(vec![read(oid(0), 0, 8), read(oid(0), 3, 1), read(oid(0), 4, 36)]);
    let bad = Corruption::Block { oid: oid(0), block: 3 };
    assert_eq!((corrupt(&replies[0]), corrupt(&replies[1])), (&bad, &bad));
    assert!(replies[2].is_ok());
    // Its stamp is known; whoever writes it again heals it.
    let stamps = Request::Stamps { oid: oid(0), first_block: 3, count: 1 };
    assert!(matches!(ask(&mut store, stamps), Reply::Stamps { .. }));
    ask(&mut store, write(oid(0), 3, 1, stamp(1, 9), 1, 1));
    ask(&mut store, read(oid(0), 0, 8));
    store.checkpoint().unwrap();
    ask(&mut store, read(oid(0), 0, 8));
}

#[test]
fn a_bad_metadata_page_is_named_and_its_object_listed() {
    let disk = stopped();
    assert!(disk.flip_bit("meta", 64 + 40, 0));
    let mut store = open(&disk);
    let replies = store.execute(vec![
        read(oid(0), 8, 8),
        write(oid(0), 33, 1, stamp(1, 9), 1, 1),
        read(oid(1), 0, 4),
        // What it says of pages, it says of none.
        read(oid(0), 0, 1),
    ]);
    let (first, second) = (WireError::Checksum("page"), WireError::Invalid("magic of a page"));
    let bad = Corruption::Page { oid: oid(0), page: 0, first, second };
    assert_eq!((corrupt(&replies[0]), corrupt(&replies[1])), (&bad, &bad));
    assert!(replies[2].is_ok());
    assert_eq!(corrupt(&replies[3]), &bad);
    let listing = list(&mut store);
    assert_eq!(listing.rotten, [(oid(0), bad)]);
    assert_eq!(listing.objects.len(), 1);
    // A reset forgets it, and the object can be fetched again.
    ask(&mut store, Request::Reset { oid: oid(0), stamp: stamp(1, 10), view: View(1) });
    ask(&mut store, write(oid(0), 0, 4, stamp(1, 11), 1, 1));
    store.checkpoint().unwrap();
    drop(store);
    disk.restart();
    let mut store = open(&disk);
    ask(&mut store, read(oid(0), 0, 256));
    assert_eq!((list(&mut store).objects.len(), list(&mut store).rotten.len()), (2, 0));
}

#[test]
fn a_bad_metadata_page_that_the_replay_needs_is_bad_afterwards_too() {
    let disk = stopped();
    let mut store = open(&disk);
    ask(&mut store, write(oid(0), 2, 2, stamp(1, 9), 1, 1));
    ask(&mut store, write(oid(1), 2, 2, stamp(1, 9), 1, 1));
    drop(store);
    disk.restart();
    assert!(disk.flip_bit("meta", 64 + 40, 0));
    let mut store = open(&disk);
    for round in 0..2 {
        let replies = store.execute(vec![read(oid(0), 2, 1), read(oid(1), 0, 4)]);
        assert!(matches!(corrupt(&replies[0]), Corruption::Page { page: 0, .. }), "{round}");
        assert!(replies[1].is_ok());
        assert_eq!(list(&mut store).rotten.len(), 1);
        store.checkpoint().unwrap();
        drop(store);
        disk.restart();
        store = open(&disk);
        if round == 1 {
            // Nobody has asked for the page yet.
            assert_eq!(list(&mut store).objects.len(), 2);
        }
        store.execute(vec![read(oid(0), 2, 1)]);
    }
}

#[test]
fn a_bad_index_page_stops_the_open() {
    let disk = stopped();
    assert!(disk.flip_bit("index", 64 + 40, 0));
    let (first, second) = (WireError::Checksum("page"), WireError::Invalid("magic of a page"));
    assert_eq!(refusal(&disk), Corruption::Index { page: 0, first, second });
}

#[test]
fn a_bad_checkpoint_is_stood_in_for_by_the_one_before_and_the_log() {
    let disk = stopped();
    // The first checkpoint of the store, of segment 1; the newest is in the other file.
    assert!(disk.flip_bit("checkpoint.b", 20, 0));
    let (mut store, report) = Store::open(Box::new(disk.clone()), options()).unwrap();
    assert_eq!(report.batches, 3);
    ask(&mut store, read(oid(0), 0, 40));
    assert_eq!(list(&mut store).objects.len(), 2);
    // It writes over the bad one next.
    store.checkpoint().unwrap();
    drop(store);
    disk.restart();
    let (_, report) = Store::open(Box::new(disk.clone()), options()).unwrap();
    assert_eq!((report.batches, report.objects), (0, 2));
}

#[test]
fn a_bad_checkpoint_whose_log_is_gone_stops_the_open() {
    let disk = stopped();
    let mut store = open(&disk);
    for sequence in 10..16 {
        ask(&mut store, write(oid(0), 0, 1, stamp(1, sequence), 1, 1));
        store.checkpoint().unwrap();
    }
    let segment = store.segment();
    drop(store);
    disk.restart();
    // Six more checkpoints: the newest is in the same file again.
    assert!(disk.flip_bit("checkpoint.b", 20, 0));
    match Store::open(Box::new(disk.clone()), options()) {
        // Its file of the log may not have been used again yet.
        Ok((mut store, report)) => {
            assert!(report.batches > 0);
            ask(&mut store, read(oid(0), 0, 40));
        }
        Err(StoreError::Corrupt(Corruption::Segment { segment: gone, .. })) => {
            assert!(gone < segment);
        }
        Err(error) => panic!("{error}"),
    }
    assert!(disk.flip_bit("checkpoint.a", 20, 0));
    let both = WireError::Checksum("checkpoint");
    assert!(disk.flip_bit("checkpoint.b", 64, 0));
    assert_eq!(refusal(&disk), Corruption::Checkpoint { first: both, second: both });
}

#[test]
fn one_bad_superblock_is_written_again_and_two_stop_the_open() {
    for offset in [0, 4096] {
        let disk = stopped();
        let good = disk.file_bytes("super");
        assert!(disk.flip_bit("super", offset + 30, 2));
        let (store, report) = Store::open(Box::new(disk.clone()), options()).unwrap();
        assert!(report.was_repaired);
        drop(store);
        assert_eq!(disk.file_bytes("super"), good);
        assert!(disk.flip_bit("super", 30, 2) && disk.flip_bit("super", 4096 + 30, 2));
        disk.restart();
        let both = WireError::Checksum("store's superblock");
        assert_eq!(refusal(&disk), Corruption::Superblock { first: both, second: both });
    }
}

#[test]
fn a_bad_batch_in_the_middle_of_the_log_is_named() {
    let disk = stopped();
    let mut store = open(&disk);
    for sequence in 10..13 {
        ask(&mut store, write(oid(0), 0, 1, stamp(1, sequence), 1, 1));
    }
    let segment = store.segment();
    drop(store);
    disk.restart();
    let is_newest = |path: &&String| {
        let header = disk.file_bytes(path).unwrap_or_default();
        path.starts_with("wal/") && header[12..16] == segment.to_le_bytes()
    };
    let paths = disk.paths();
    let path = paths.iter().find(is_newest).unwrap();
    assert!(disk.flip_bit(path, 8192 + 8192 + 8192 - 1, 0));
    // Its first batch, with the unstable list, has two pages; so have the others.
    let bad = Corruption::Batch { segment, offset: 16384, later: 24576 };
    assert_eq!(refusal(&disk), bad);
}
