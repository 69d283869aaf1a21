//! Limits: what a store does when the disk, the log or the unstable list has no room.
//!
//! Holds (of the store, checked here): CO3, CK3; nothing that was acknowledged waits for space to
//! be read.

use sheepdog_proto::{BLOCK_BYTES, Generation, Oid, Stamp, View};
use sheepdog_store::{FakeDisk, Options, Reply, Request, Store, StoreError};

use crate::history::{SHIFT, stamp, vid, write};
use crate::model::ask;

fn options() -> Options {
    Options { segment_bytes: 0, segments_max: 4, reserve_bytes: 0, salt: 7, ..Options::default() }
}

fn open(disk: &FakeDisk) -> Store {
    Store::open(Box::new(disk.clone()), options()).unwrap_or_else(|error| panic!("{error}")).0
}

fn object(index: u32) -> Oid {
    Oid::data(vid(1), index)
}

fn hole(oid: Oid, stamp: Stamp) -> Request {
    Request::Hole { oid, object_shift: SHIFT, first_block: 0, count: 1, stamp, view: View(1) }
}

fn read(oid: Oid) -> Request {
    Request::Read { oid, first_block: 0, count: 1 }
}

#[test]
fn the_unstable_list_never_outgrows_a_segment() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    let mut last = 0;
    for _ in 0..50 {
        let requests = (0..400).map(|number| hole(object(0), stamp(1, last + number + 1)));
        let done = store.execute(requests.collect());
        let count = done.iter().take_while(|reply| reply.is_ok()).count() as u64;
        last += count;
        if count < 400 {
            assert!(done[count as usize..].iter().all(|reply| *reply == Err(StoreError::Full)));
            break;
        }
    }
    assert!(last > 4000, "{last}");
    store.checkpoint().unwrap();
    drop(store);
    disk.power_cycle(1);
    let mut store = open(&disk);
    let late = || vec![hole(object(1), stamp(1, 1 << 30))];
    assert_eq!(store.execute(late()), [Err(StoreError::Full)]);
    ask(&mut store, read(object(0)));
    ask(&mut store, Request::Watermark { vid: vid(1), stable: stamp(1, last / 2) });
    assert_eq!(store.execute(late()), [Ok(Reply::Done { blocks: 1 })]);
    let Reply::Unstable(list) = ask(&mut store, Request::Unstable { vid: vid(1) }) else {
        panic!("no list");
    };
    assert_eq!(list.len() as u64, last - last / 2 + 1);
}

#[test]
fn a_settlement_can_name_more_objects_than_a_batch_holds() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    let many = || (0..100_000).map(object).collect::<Vec<_>>();
    ask(&mut store, write(object(70_000), 0, 1, stamp(1, 1), 1, 1));
    ask(&mut store, write(object(0), 0, 1, stamp(2, 1), 1, 1));
    for _ in 0..3 {
        let oids = many();
        ask(&mut store, Request::Settle { vid: vid(1), below: Generation(2), oids });
        ask(&mut store, write(object(0), 0, 1, stamp(2, 1), 1, 1));
    }
    ask(&mut store, write(object(0), 0, 1, stamp(2, 2), 1, 1));
    let left = Request::Unstable { vid: vid(1) };
    let Reply::Unstable(list) = ask(&mut store, left.clone()) else { panic!("no list") };
    assert!(list.iter().all(|change| change.stamp.generation() == Generation(2)), "{list:?}");
    drop(store);
    disk.power_cycle(1);
    let Reply::Unstable(again) = ask(&mut open(&disk), left) else { panic!("no list") };
    assert_eq!(again, list);
}

/// Blocks of an object and the one behind, each time new.
fn churn(store: &mut Store, sequence: &mut u64, rounds: u64) -> u64 {
    let mut done = 0;
    for round in 0..rounds {
        *sequence += 1;
        let request = write(object(0), (round % 16) as u32 * 15, 15, stamp(1, *sequence), 1, 1);
        store.submit(*sequence, request);
        for _ in 0..100 {
            store.turn(true);
            let replies = store.take_replies();
            if let Some((_, reply)) = replies.into_iter().next() {
                assert!(matches!(reply, Ok(_) | Err(StoreError::Full)), "{reply:?}");
                done += u64::from(reply.is_ok());
                break;
            }
            store.tick();
        }
    }
    done
}

#[test]
fn a_store_on_a_full_disk_opens_and_reads_and_goes_on_when_there_is_space() {
    for spare in [0, 3, 20, 137, 138, 200] {
        let disk = FakeDisk::new();
        let mut store = open(&disk);
        ask(&mut store, write(object(9), 0, 1, stamp(1, 1), 1, 1));
        let mut sequence = 1;
        churn(&mut store, &mut sequence, 4);
        for crash in 0..8 {
            disk.set_capacity(Some(disk.used() + spare * BLOCK_BYTES as u64));
            churn(&mut store, &mut sequence, 20);
            drop(store);
            disk.power_cycle(crash);
            store = open(&disk);
            assert!(matches!(ask(&mut store, read(object(9))), Reply::Read(_)), "{crash}");
            assert!(matches!(ask(&mut store, read(object(0))), Reply::Read(_)), "{crash}");
        }
        disk.set_capacity(None);
        store.tick();
        assert!(store.failure().is_none());
        assert_eq!(churn(&mut store, &mut sequence, 40), 40, "with {spare} pages to spare");
        assert!(store.checkpoint().is_ok());
    }
}

#[test]
fn a_file_of_the_log_that_found_no_space_is_filled_later() {
    let disk = FakeDisk::new();
    let options = Options { segments_max: 8, ..options() };
    let (mut store, _) = Store::open(Box::new(disk.clone()), options).unwrap();
    disk.overstate_free_space();
    disk.set_capacity(Some(disk.used() + (200 << 10)));
    let mut sequence = 0;
    churn(&mut store, &mut sequence, 60);
    disk.set_capacity(None);
    store.tick();
    churn(&mut store, &mut sequence, 200);
    assert!(store.failure().is_none());
    let files = || disk.paths().iter().filter(|path| path.starts_with("wal/")).count();
    assert!(files() > 3, "{}", files());
    let bytes = |path: &String| disk.file_bytes(path).unwrap().len();
    let short = disk.paths().into_iter().filter(|path| path.starts_with("wal/"));
    assert_eq!(short.filter(|path| bytes(path) < 552 << 10).count(), 0);
}

#[test]
fn a_block_that_came_back_while_a_checkpoint_waits_is_not_taken_for_the_old_one() {
    let disk = FakeDisk::new();
    let options = Options { segments_max: 12, ..options() };
    let (mut store, _) = Store::open(Box::new(disk.clone()), options).unwrap();
    let old = || write(object(0), 0, 1, stamp(1, 1), 1, 1);
    ask(&mut store, old());
    ask(&mut store, write(object(2), 0, 12, stamp(1, 2), 1, 1));
    disk.overstate_free_space();
    // Space for one more file of the log, and for nothing that the checkpoint writes.
    disk.set_capacity(Some(disk.used() + (552 << 10)));
    (0..600).for_each(|_| store.tick());
    let segment = store.segment();
    ask(&mut store, write(object(2), 0, 12, stamp(1, 3), 1, 1));
    assert_eq!(store.segment(), segment + 1, "a checkpoint has begun");
    ask(&mut store, Request::Reset { oid: object(0), stamp: stamp(1, 4), view: View(1) });
    ask(&mut store, Request::Watermark { vid: vid(1), stable: stamp(1, 4) });
    for number in 0..12 {
        ask(&mut store, write(object(2), 0, 12, stamp(1, 5 + number), 1, 1));
    }
    assert_eq!(store.segment(), segment + 2, "the reset is forgotten");
    assert_eq!(ask(&mut store, old()), Reply::Done { blocks: 1 });
    assert!(store.statistics().blocked_writes > 0, "the checkpoint waits");
    disk.set_capacity(None);
    store.tick();
    for _ in 0..3 {
        let Reply::Read(reply) = ask(&mut store, read(object(0))) else { panic!("no read") };
        let Request::Write { data, .. } = old() else { panic!("no write") };
        assert!(reply.data[..] == data[..]);
        store.checkpoint().unwrap();
    }
}

#[test]
fn a_change_larger_than_the_log_goes_on_behind_a_watermark_that_waits() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    let large = |sequence| write(object(0), 0, 256, stamp(1, sequence), 1, sequence);
    ask(&mut store, large(1));
    for sequence in 2..9 {
        ask(&mut store, Request::Watermark { vid: vid(1), stable: stamp(1, sequence - 1) });
        store.submit(sequence, large(sequence));
        // Nothing but the write itself may be needed for it to go on.
        let mut replies = Vec::new();
        for _ in 0..100 {
            store.turn(true);
            replies.extend(store.take_replies());
        }
        assert_eq!(replies, [(sequence, Ok(Reply::Done { blocks: 256 }))]);
    }
}
