//! A full disk on which something is given up: writing goes on by itself.

use sheepdog_proto::{Oid, View};
use sheepdog_store::{FakeDisk, Options, Reply, Request, Store, StoreError};

use crate::history::{SHIFT, small_options, stamp, vid, write};
use crate::model::ask;

/// How often a refused write is tried again, as sheep do ten times a second.
const TRIES: usize = 20;

const RESERVE: u64 = 2 << 20;

/// A store, and its disk, which has about so many bytes left.
fn store_on(bytes: u64) -> (Store, FakeDisk) {
    let disk = FakeDisk::new();
    let options = Options { warm_units_max: 64, reserve_bytes: RESERVE, ..small_options() };
    let (store, _) = Store::open(Box::new(disk.clone()), options).unwrap();
    disk.set_capacity(Some(disk.used() + bytes + RESERVE));
    (store, disk)
}

fn store_with(bytes: u64) -> Store {
    store_on(bytes).0
}

fn oid(index: u32) -> Oid {
    Oid::data(vid(1), index)
}

/// Fills the disk with objects of `blocks` blocks, all but the last of which is there.
fn fill(store: &mut Store, blocks: u32, sequence: &mut u64) -> u32 {
    for index in 0..1000 {
        *sequence += 1;
        let change = write(oid(index), 0, blocks, stamp(1, *sequence), 1, 1);
        match store.execute(vec![change]).remove(0) {
            Ok(_) => {}
            Err(StoreError::Full) => return index,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk never fills");
}

/// Tries a write until it is taken.
fn is_taken(store: &mut Store, index: u32, blocks: u32, sequence: &mut u64) -> bool {
    *sequence += 1;
    let change = write(oid(index), 0, blocks, stamp(1, *sequence), 1, 1);
    (0..TRIES).any(|_| {
        store.tick();
        match store.execute(vec![change.clone()]).remove(0) {
            Ok(_) => true,
            Err(StoreError::Full) => false,
            Err(error) => panic!("{error}"),
        }
    })
}

#[test]
fn the_space_of_objects_that_were_reset_is_used_again() {
    for blocks in [3, 64, 256] {
        let (mut store, mut sequence) = (store_with(16 << 20), 0);
        let full = fill(&mut store, blocks, &mut sequence);
        assert!(full >= 8, "{full} objects of {blocks} blocks");
        assert!(!is_taken(&mut store, full, blocks, &mut sequence), "there is no space yet");
        for index in 0..full / 4 {
            sequence += 1;
            let reset =
                Request::Reset { oid: oid(index), stamp: stamp(1, sequence), view: View(1) };
            assert_eq!(ask(&mut store, reset), Reply::Done { blocks });
        }
        for index in full..full + 2 {
            assert!(is_taken(&mut store, index, blocks, &mut sequence), "{blocks} blocks");
        }
        assert!(store.failure().is_none());
    }
}

#[test]
fn the_space_of_parts_that_became_holes_is_used_again() {
    let (mut store, mut sequence) = (store_with(8 << 20), 0);
    let full = fill(&mut store, 64, &mut sequence);
    for index in 0..8 {
        sequence += 1;
        let (first_block, count, view) = (8, 40, View(1));
        let (oid, stamp) = (oid(index), stamp(1, sequence));
        let hole = Request::Hole { oid, object_shift: SHIFT, first_block, count, stamp, view };
        assert_eq!(ask(&mut store, hole), Reply::Done { blocks: count });
    }
    assert!(is_taken(&mut store, full, 64, &mut sequence));
    assert!(is_taken(&mut store, full + 1, 5, &mut sequence));
}

#[test]
fn whole_units_that_were_given_up_serve_small_writes() {
    let (mut store, mut sequence) = (store_with(8 << 20), 0);
    let full = fill(&mut store, 256, &mut sequence);
    sequence += 1;
    let reset = Request::Reset { oid: oid(0), stamp: stamp(1, sequence), view: View(1) };
    ask(&mut store, reset);
    for index in full..full + 60 {
        assert!(is_taken(&mut store, index, 2, &mut sequence), "object {index} of {full}");
    }
}

#[test]
fn the_space_goes_back_to_the_file_system_also_when_others_need_it() {
    let (mut store, disk) = store_on(16 << 20);
    let mut sequence = 0;
    fill(&mut store, 256, &mut sequence);
    let used = disk.used();
    for index in 0..4 {
        sequence += 1;
        let reset = Request::Reset { oid: oid(index), stamp: stamp(1, sequence), view: View(1) };
        ask(&mut store, reset);
    }
    for _ in 0..TRIES {
        store.tick();
        store.turn(true);
    }
    let freed = used.saturating_sub(disk.used());
    // Of four, one may have become a file of the log.
    assert!(freed >= 5 << 19, "{freed} bytes");
}
