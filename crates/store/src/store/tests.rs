use std::collections::BTreeSet;

use sheepdog_proto::{Oid, Payload, Stamp, Vid, View, block_checksum};

use super::files::SLAB_UNITS;
use super::*;
use crate::disk::FakeDisk;
use crate::request::ReadReply;

fn oid() -> Oid {
    Oid::data(Vid::new(1).unwrap(), 0)
}

fn open(disk: &FakeDisk) -> Store {
    let options = Options { segment_bytes: 0, reserve_bytes: 0, ..Options::default() };
    Store::open(Box::new(disk.clone()), options).unwrap().0
}

fn write(first_block: u32, count: u32, fill: u8) -> Request {
    let data = Payload::from(&vec![fill; count as usize * 4096][..]);
    let checksums = (first_block..)
        .zip(data.chunks(4096))
        .map(|(block, bytes)| block_checksum(oid(), block, bytes))
        .collect();
    let (stamp, view) = (Stamp::from_wire(u64::from(fill)), View(1));
    Request::Write { oid: oid(), object_shift: 20, first_block, stamp, view, checksums, data }
}

fn ask(store: &mut Store, request: Request) -> Reply {
    store.execute(vec![request]).remove(0).unwrap()
}

/// First bytes of the first blocks.
fn bytes(store: &mut Store, count: u32) -> Vec<u8> {
    let read = Request::Read { oid: oid(), first_block: 0, count };
    let Reply::Read(ReadReply { data, .. }) = ask(store, read) else { panic!("no read") };
    data.chunks(4096).map(|block| block[0]).collect()
}

/// A store whose first slab is used up, on a disk that is full although it says that it is not.
fn with_full_slab() -> (FakeDisk, Store) {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    store.contents.units.rebuild(&BTreeSet::from([SLAB_UNITS - 1]));
    store.contents.units.take_surplus(0);
    store.turn(true);
    disk.overstate_free_space();
    disk.set_capacity(Some(disk.used()));
    (disk, store)
}

#[test]
fn a_checkpoint_waits_for_a_slab_that_finds_no_space() {
    let (disk, mut store) = with_full_slab();
    ask(&mut store, write(0, 2, 1));
    assert_eq!(store.checkpoint(), Err(StoreError::Full));
    assert!(store.checkpointer.is_blocked());
    ask(&mut store, write(1, 1, 2));
    assert_eq!(bytes(&mut store, 2), [1, 2]);
    disk.set_capacity(None);
    store.tick();
    store.checkpoint().unwrap();
    assert_eq!(store.contents.overlay.bytes(), 0);
    assert_eq!(bytes(&mut store, 2), [1, 2]);
    assert!(disk.paths().contains(&"data/0001".to_owned()));
    drop(store);
    disk.power_cycle(1);
    assert_eq!(bytes(&mut open(&disk), 2), [1, 2]);
}

#[test]
fn a_large_write_goes_to_the_log_if_its_slab_finds_no_space() {
    let (disk, mut store) = with_full_slab();
    assert_eq!(ask(&mut store, write(0, 64, 1)), Reply::Done { blocks: 64 });
    assert!(store.statistics().wal_bytes > 64 * 4096);
    assert_eq!(bytes(&mut store, 64), [1; 64]);
    disk.set_capacity(None);
    store.checkpoint().unwrap();
    assert_eq!(bytes(&mut store, 64), [1; 64]);
}
