//! Inspection: what stands on a disk is seen as the store sees it, damage is named with its place,
//! and nothing is changed.

mod damage;
mod home;

use std::collections::BTreeMap;

use sheepdog_proto::{BLOCK_BYTES, Oid, View};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::inspect::{Fault, FaultKind, Inspection, ObjectView};
use sheepdog_store::{BlockState, FakeDisk, Options, ReadReply, Reply, Request, Store, StoreError};

use crate::history::{SHIFT, stamp, vid, write};
use crate::seeds::for_each_seed;

/// Blocks of each object.
const BLOCKS: u32 = 1 << (SHIFT - 12);

fn options() -> Options {
    Options {
        segment_bytes: 0,
        segments_max: 8,
        dirty_bytes_max: 400 << 10,
        warm_units_max: 1,
        reserve_bytes: 0,
        salt: 0x5a17,
        node: 0xabcd,
        shard: 3,
        ..Options::default()
    }
}

fn oids() -> [Oid; 4] {
    [Oid::data(vid(1), 0), Oid::data(vid(1), 7), Oid::map(vid(1), 0), Oid::data(vid(9), 1)]
}

fn open(disk: &FakeDisk) -> Result<Store, StoreError> {
    Store::open(Box::new(disk.clone()), options()).map(|(store, _)| store)
}

fn do_all(store: &mut Store, requests: Vec<Request>) {
    for reply in store.execute(requests) {
        reply.unwrap();
    }
}

fn hole(oid: Oid, first_block: u32, count: u32, sequence: u64) -> Request {
    let (stamp, view) = (stamp(1, sequence), View(1));
    Request::Hole { oid, object_shift: SHIFT, first_block, count, stamp, view }
}

/// Everything that is on a disk.
fn contents(disk: &FakeDisk) -> BTreeMap<String, Vec<u8>> {
    disk.paths().into_iter().map(|path| (path.clone(), disk.file_bytes(&path).unwrap())).collect()
}

/// Looks at a disk; whatever is looked at in there, nothing changes.
fn inspect<T>(disk: &FakeDisk, look: impl FnOnce(&mut Inspection) -> T) -> T {
    let (before, operations) = (contents(disk), disk.operations());
    let result = look(&mut Inspection::of_disk(Box::new(disk.clone())));
    assert_eq!(disk.operations(), operations); // IN1
    assert!(contents(disk) == before, "an inspection has changed something"); // IN1
    result
}

/// A store with data in log and slabs, holes, a reset, and several objects.
fn some_store() -> (FakeDisk, Store) {
    let disk = FakeDisk::new();
    let mut store = open(&disk).unwrap();
    let [first, second, map, other] = oids();
    // By itself: a hole that comes while it is under way would leave nothing of its second half.
    do_all(&mut store, vec![write(first, 0, 128, stamp(1, 1), 1, 1)]);
    do_all(
        &mut store,
        vec![
            write(first, 200, 3, stamp(1, 2), 1, 2),
            write(second, 5, 1, stamp(1, 3), 1, 3),
            write(map, 0, 2, stamp(1, 4), 1, 4),
            hole(first, 64, 70, 5),
            write(other, 0, 4, stamp(1, 6), 1, 5),
        ],
    );
    store.checkpoint().unwrap();
    do_all(
        &mut store,
        vec![
            Request::Reset { oid: other, stamp: stamp(1, 7), view: View(2) },
            write(first, 1, 2, stamp(1, 8), 2, 6),
            write(second, 64, 64, stamp(1, 9), 2, 7),
            hole(second, 5, 1, 10),
        ],
    );
    (disk, store)
}

fn read(
    store: &mut Store,
    oid: Oid,
    first_block: u32,
    count: u32,
) -> Result<ReadReply, StoreError> {
    match store.execute(vec![Request::Read { oid, first_block, count }]).remove(0)? {
        Reply::Read(reply) => Ok(reply),
        other => panic!("{other:?}"),
    }
}

/// Whether an inspection says of an object what the store says, block by block. Returns blocks
/// that both cannot read.
fn compare(store: &mut Store, inspection: &mut Inspection, oid: Oid) -> u32 {
    let seen = inspection.read_object(oid);
    let mut lost = 0;
    for number in 0..BLOCKS {
        let place = number as usize * BLOCK_BYTES;
        let view = seen.as_ref().map(|seen| &seen.view);
        let block = view.and_then(|view| view.blocks.iter().find(|block| block.number == number));
        match read(store, oid, number, 1) {
            Ok(reply) => {
                let have = reply.blocks[0];
                if have.state == BlockState::Absent {
                    assert_eq!(block, None, "block {number} of {oid}");
                } else {
                    let block = block.unwrap_or_else(|| panic!("block {number} of {oid}"));
                    assert_eq!((block.stamp, block.state), (have.stamp, have.state));
                }
                let bytes = seen.as_ref().map(|seen| &seen.bytes[place..place + BLOCK_BYTES]);
                assert!(bytes.is_none_or(|bytes| bytes == &reply.data[..]), "block {number}"); // IN3
            }
            Err(StoreError::Corrupt(why)) => {
                let seen = seen.as_ref().unwrap_or_else(|| panic!("{oid} is not there"));
                // Of a page that is bad the store knows nothing any more, here the log counts.
                let is_page = |fault: &Fault| matches!(fault.kind, FaultKind::MetaPage { .. });
                let is_lost = seen.lost.contains(&number);
                assert!(
                    is_lost || seen.faults.iter().any(is_page),
                    "{why}, but {block:?} {:?}",
                    seen.faults
                );
                assert!(!seen.faults.is_empty());
                let is_zero = seen.bytes[place..place + BLOCK_BYTES].iter().all(|byte| *byte == 0);
                assert!(!is_lost || is_zero); // IN2
                lost += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    lost
}

#[test]
fn a_whole_store_is_seen_whole() {
    let (disk, store) = some_store();
    drop(store);
    disk.restart();
    let [first, second, map, other] = oids();
    inspect(&disk, |inspection| {
        assert_eq!(inspection.faults(), []);
        let overview = inspection.overview().clone();
        assert_eq!(overview.owner, Some((0xabcd, 3)));
        assert_eq!(overview.strangers, Vec::<String>::new());
        assert_eq!(overview.checkpoint, Some(1));
        assert_eq!(overview.unstable, 12);
        assert!(!overview.is_torn);
        let objects = inspection.objects();
        let seen: Vec<_> =
            objects.iter().map(|o| (o.oid, o.blocks, o.blocks_in_log, o.unknown)).collect();
        assert_eq!(seen, [(first, 137, 2, 0), (second, 65, 0, 0), (map, 2, 0, 0)]);
        assert_eq!(inspection.object(other), None);
        let view = inspection.object(first).unwrap();
        let place = |number| place_of(&view, number);
        assert!(place(0).starts_with("data/0000 at byte"), "{}", place(0));
        assert!(place(1).starts_with("wal/000"), "{}", place(1));
        assert_eq!(place(64), "nowhere");
        let mut records = Vec::new();
        inspection.batches(&mut |batch| {
            assert!(batch.is_whole);
            records.extend(batch.records.into_iter().map(|record| record.kind));
        });
        records.retain(|kind| !kind.starts_with("unstable"));
        records.sort_unstable();
        assert_eq!(records, ["hole", "placed", "reset", "write"]);
        let mut slots = Vec::new();
        inspection.index_pages(&mut |page| {
            slots.extend(page.slots.iter().map(|slot| (slot.oid, slot.present[0])));
        });
        slots.sort_unstable();
        assert_eq!(slots, [(first, 137), (second, 1), (other, 4), (map, 2)]);
        let verified = inspection.verify(&mut |fault| panic!("{fault}"));
        assert_eq!((verified.objects, verified.bad, verified.harmless), (3, 0, 0));
        assert_eq!((verified.blocks, verified.bytes), (133, 133 << 12));
    });
    let mut store = open(&disk).unwrap();
    inspect(&disk, |inspection| {
        for oid in oids() {
            assert_eq!(compare(&mut store, inspection, oid), 0);
        }
    });
}

fn place_of(view: &ObjectView, number: u32) -> String {
    let block = view.blocks.iter().find(|block| block.number == number).unwrap();
    block.place.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string)
}

/// Draws a change.
fn change(dice: &mut Dice, sequence: u64) -> Request {
    let oid = oids()[dice.below(4) as usize];
    let first = dice.below(u64::from(BLOCKS)) as u32;
    let (first, count) = match dice.below(6) {
        0 => (first / 64 * 64, 64),
        1 => (first / 16 * 16, 16 + dice.below(90) as u32),
        _ => (first % 80, 1 + dice.below(5) as u32),
    };
    let count = count.min(BLOCKS - first);
    match dice.below(12) {
        0 | 1 => hole(oid, first, count, sequence),
        2 => Request::Reset { oid, stamp: stamp(1, sequence), view: View(1) },
        3 => Request::Watermark { vid: oid.vid(), stable: stamp(1, sequence - 1) },
        _ => write(oid, first, count, stamp(1, sequence), 1, sequence),
    }
}

/// Disks as crashes leave them at any moment of a history.
fn crashed_disks(seed: u64) -> Vec<FakeDisk> {
    let mut dice = Dice::new(seed ^ 0x1005);
    let disk = FakeDisk::new();
    disk.shuffle(seed);
    let mut store = open(&disk).unwrap();
    disk.keep_forks();
    for sequence in 1..60 {
        let request = change(&mut dice, sequence);
        store.submit(sequence, request);
        store.turn(dice.below(2) == 0);
    }
    store.turn(true);
    let mut forks = disk.take_forks();
    forks.retain(|_| dice.below(12) == 0);
    forks.push(disk.fork());
    for fork in &forks {
        fork.power_cycle(dice.roll());
    }
    forks
}

#[test]
fn after_any_crash_an_inspection_sees_what_an_open_finds() {
    for_each_seed(6, |seed| {
        for disk in crashed_disks(seed) {
            let copy = disk.fork();
            let mut store = open(&copy).unwrap();
            let unstable: usize = [vid(1), vid(9)]
                .into_iter()
                .map(|vid| match store.execute(vec![Request::Unstable { vid }]).remove(0) {
                    Ok(Reply::Unstable(list)) => list.len(),
                    other => panic!("{other:?}"),
                })
                .sum();
            inspect(&disk, |inspection| {
                let bad = inspection.faults().iter().find(|fault| !fault.kind.is_harmless());
                assert_eq!(bad, None);
                assert_eq!(inspection.overview().unstable, unstable as u64);
                for oid in oids() {
                    assert_eq!(compare(&mut store, inspection, oid), 0);
                }
                let verified = inspection.verify(&mut |_| {});
                assert_eq!(verified.bad, 0);
                assert_eq!(verified.objects as usize, store.object_count());
            });
        }
    });
}

/// Flips a random bit, mostly of bytes that mean something.
fn flip(disk: &FakeDisk, dice: &mut Dice) -> (String, u64) {
    let files: Vec<(String, Vec<u8>)> =
        contents(disk).into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    let (path, bytes) = &files[dice.below(files.len() as u64) as usize];
    let used: Vec<u64> =
        (0..).zip(bytes).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
    let offset = if dice.below(4) > 0 && !used.is_empty() {
        used[dice.below(used.len() as u64) as usize]
    } else {
        dice.below(bytes.len() as u64)
    };
    assert!(disk.flip_bit(path, offset, dice.below(8) as u8));
    (path.clone(), offset)
}

#[test]
fn a_flipped_bit_is_a_fault_for_both_or_for_neither() {
    let found = std::cell::Cell::new([0; 3]);
    for_each_seed(6, |seed| {
        let mut dice = Dice::new(seed ^ 0xf11b);
        for disk in crashed_disks(seed) {
            let place = flip(&disk, &mut dice);
            let copy = disk.fork();
            let opened = open(&copy);
            inspect(&disk, |inspection| {
                let bad = inspection.faults().iter().any(|fault| !fault.kind.is_harmless());
                let [mut refused, mut lost, whole] = found.get();
                match opened {
                    Ok(mut store) => {
                        assert!(!bad || place.0 == "super", "{place:?}: {:?}", inspection.faults());
                        let blocks: u32 = oids()
                            .into_iter()
                            .map(|oid| compare(&mut store, inspection, oid))
                            .sum();
                        lost += u32::from(blocks > 0);
                    }
                    Err(StoreError::Corrupt(why)) => {
                        assert!(bad, "{place:?}: {why}"); // IF1
                        refused += 1;
                        // All that can still be read is read.
                        for oid in oids() {
                            inspection.read_object(oid);
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
                inspection.verify(&mut |_| {});
                found.set([refused, lost, whole + 1]);
            });
        }
    });
    let [refused, lost, all] = found.get();
    println!("{all} flips, {refused} stores refused, {lost} with lost blocks");
}
