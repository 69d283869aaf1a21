use sheepdog_proto::{BLOCK_BYTES, Oid, Payload, Stamp, Vid, View, block_checksum};

use super::*;
use crate::disk::FakeDisk;
use crate::request::BlockState;

fn oid(index: u32) -> Oid {
    Oid::data(Vid::new(1).unwrap(), index)
}

fn write(index: u32, first_block: u32, count: u32, stamp: u64) -> Request {
    let oid = oid(index);
    let bytes = vec![stamp as u8; count as usize * BLOCK_BYTES];
    let blocks = (first_block..).zip(bytes.chunks(BLOCK_BYTES));
    let checksums = blocks.map(|(block, bytes)| block_checksum(oid, block, bytes)).collect();
    let (data, stamp, view) = (Payload::from(&bytes[..]), Stamp::from_wire(stamp), View(1));
    Request::Write { oid, object_shift: 20, first_block, stamp, view, checksums, data }
}

fn options() -> Options {
    Options { journal_bytes_max: 64 << 10, reserve_bytes: 0, ..Options::default() }
}

fn open(disk: &FakeDisk) -> Store {
    Store::open(Box::new(disk.clone()), options()).unwrap().0
}

#[test]
fn later_watermarks_stand_for_earlier_ones() {
    let vid = |number| Vid::new(number).unwrap();
    let stable = |generation: u64, sequence| Stamp::from_wire((generation << 40) | sequence);
    let mark = |number, generation, sequence| Record::Watermark {
        vid: vid(number),
        stable: stable(generation, sequence),
    };
    let settle =
        Record::Settle { vid: vid(1), below: sheepdog_proto::Generation(2), oids: Vec::new() };
    let records = vec![
        mark(1, 1, 5),
        mark(2, 1, 1),
        settle.clone(),
        mark(1, 1, 9),
        mark(1, 2, 3),
        mark(1, 1, 7),
    ];
    let merged = merge_waiting(records);
    assert_eq!(merged, [mark(1, 1, 9), mark(2, 1, 1), settle, mark(1, 2, 3)]);
}

#[test]
fn room_is_made_for_the_worst_batch() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    // Every second block is newer already, so that a write falls into single blocks.
    let newer = (0..32).map(|block| write(0, block * 2, 1, 9)).collect();
    assert!(store.execute(newer).iter().all(Result::is_ok));
    for stamp in 2..8 {
        // An append without room would panic.
        let replies = store.execute(vec![write(0, 0, 64, stamp), write(1, 0, 3, stamp)]);
        assert_eq!(replies[0], Ok(Reply::Done { blocks: 32 }), "{stamp}");
    }
}

#[test]
fn a_batch_larger_than_the_journal_is_one_commit() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    for stamp in 1..4 {
        assert_eq!(store.execute(vec![write(0, 0, 256, stamp)]), [Ok(Reply::Done { blocks: 256 })]);
    }
    drop(store);
    disk.power_cycle(1);
    let mut store = open(&disk);
    let read = Request::Read { oid: oid(0), first_block: 0, count: 256 };
    let replies = store.execute(vec![read]);
    let Ok(Reply::Read(reply)) = &replies[0] else {
        panic!("{replies:?}");
    };
    assert!(reply.data.iter().all(|byte| *byte == 3));
    assert!(matches!(reply.blocks[0].state, BlockState::Data { .. }));
    // The outsized segment is cut when it is used again.
    for stamp in 5..9 {
        store.execute(vec![write(0, 0, 1, stamp)]);
        store.checkpoint().unwrap();
    }
    let longest = disk
        .paths()
        .iter()
        .filter(|path| path.starts_with("journal/"))
        .filter_map(|path| disk.file_bytes(path))
        .map(|bytes| bytes.len())
        .max();
    assert_eq!(longest, Some(64 << 10));
}

#[test]
fn many_waiting_watermarks_are_committed_at_last() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    let marks = |from: u32| -> Vec<Request> {
        let vid = |number| Vid::new(number).unwrap();
        let stable = Stamp::from_wire(1);
        (from..from + 200).map(|number| Request::Watermark { vid: vid(number), stable }).collect()
    };
    store.execute(marks(1));
    assert_eq!((store.waiting.len(), store.journal_bytes()), (200, 0));
    store.execute(marks(1000));
    store.execute(marks(2000));
    assert!(store.waiting.len() < 2 * WAITING_MAX, "{}", store.waiting.len());
    assert!(store.journal_bytes() > 0);
}

#[test]
fn a_checkpoint_leaves_nothing_to_replay() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    store.execute(vec![write(0, 0, 3, 1), write(1, 0, 3, 2)]);
    assert!(store.journal_bytes() > 0);
    assert_eq!(store.object_count(), 2);
    let segment = store.segment();
    store.checkpoint().unwrap();
    assert_eq!((store.journal_bytes(), store.segment()), (0, segment + 1));
    drop(store);
    disk.power_cycle(1);
    let (_, report) = Store::open(Box::new(disk.clone()), options()).unwrap();
    let expected = OpenReport { objects: 2, ..OpenReport::default() };
    assert_eq!(report, expected);
}

#[test]
fn the_journal_is_checkpointed_when_it_is_full() {
    let disk = FakeDisk::new();
    let mut store = open(&disk);
    let first = store.segment();
    for stamp in 1..100 {
        assert!(store.execute(vec![write(0, 0, 1, stamp)])[0].is_ok());
        assert!(store.journal_bytes() <= options().journal_bytes_max);
    }
    assert!(store.segment() > first + 5);
    let segments = disk.paths().into_iter().filter(|path| path.starts_with("journal/"));
    assert_eq!(segments.count(), 2, "one in use and the spare");
}

#[test]
fn a_last_sequence_number_is_an_error_not_a_panic() {
    let disk = FakeDisk::new();
    drop(open(&disk));
    let header = SegmentHeader { sequence: u64::MAX, salt: 0 };
    let mut bytes = disk.file_bytes("journal/0000000000000001").unwrap();
    let (raw, previous) = header.encode();
    bytes[..raw.len()].copy_from_slice(&raw);
    let link = crate::journal::batch::Link { salt: 0, sequence: u64::MAX, number: 0, previous };
    let first = crate::journal::batch::Batch::default().encode(link);
    let head = first.parts(&[]).concat();
    bytes[4096..4096 + head.len()].copy_from_slice(&head);
    disk.plant("journal/ffffffffffffffff", &bytes);
    let error = Store::open(Box::new(disk.clone()), options()).err();
    assert!(matches!(error, Some(StoreError::Corrupt(Corruption::Segment { .. }))), "{error:?}");
}
