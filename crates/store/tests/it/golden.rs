//! Golden files: a store as version 1 wrote it, whole and damaged.
//!
//! Why: what is on disks out there must stay readable, and must be written the same.
//! Way: `SHEEPDOG_STORE_GOLDEN=write` writes objects and journals anew. That is for a new version
//!      of the formats, in a directory of its own, never to make this test pass.

use sheepdog_proto::{Oid, View};
use sheepdog_store::{
    Corruption, FakeDisk, OpenReport, Options, Reply, Request, Store, StoreError,
};

use crate::history::{SHIFT, small_options, stamp, vid, write};
use crate::model::{Model, ask, difference};

const SEGMENT: &str = "journal/0000000000000002";

fn options() -> Options {
    Options { salt: 0x0123_4567_89ab_cdef, ..small_options() }
}

fn oid() -> Oid {
    Oid::data(vid(0xabcdef), 2)
}

fn object_path() -> String {
    format!("obj/{:02x}/{}", oid().partition(8).0, oid())
}

fn golden_path(name: &str) -> String {
    format!("{}/golden/v1/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn golden(name: &str) -> Vec<u8> {
    let path = golden_path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is in the object file: its batch was checkpointed.
fn first_batch() -> Vec<Request> {
    let (oid, view) = (oid(), View(3));
    vec![
        Request::Reset { oid, stamp: stamp(1, 1), view },
        write(oid, 0, 2, stamp(1, 2), 3, 1),
        Request::Hole {
            oid,
            object_shift: SHIFT,
            first_block: 31,
            count: 2,
            stamp: stamp(1, 3),
            view,
        },
    ]
}

/// What is in the journal only, a batch each. Every kind of record is there.
fn later_batches() -> Vec<Vec<Request>> {
    let (oid, other, view) = (oid(), Oid::map(vid(5), 0), View(4));
    let stable = stamp(1, 3);
    let below = sheepdog_proto::Generation(1);
    vec![
        vec![write(oid, 1, 2, stamp(1, 4), 3, 2), write(other, 0, 1, stamp(7, 1), 3, 3)],
        vec![
            Request::Watermark { vid: oid.vid(), stable },
            Request::Settle { vid: oid.vid(), below, oids: vec![oid] },
            Request::Hole {
                oid,
                object_shift: SHIFT,
                first_block: 40,
                count: 1,
                stamp: stamp(1, 5),
                view,
            },
        ],
        vec![
            write(other, 0, 1, stamp(7, 1), 5, 3),
            Request::Reset { oid: other, stamp: stamp(7, 2), view },
        ],
        vec![write(oid, 2, 1, stamp(2, 1), 4, 4), write(oid, 0, 1, stamp(1, 1), 9, 4)],
    ]
}

fn models() -> Vec<Model> {
    let mut model = Model::default();
    let mut models = Vec::new();
    for batch in std::iter::once(first_batch()).chain(later_batches()) {
        for request in &batch {
            model.execute(request);
        }
        models.push(model.clone());
    }
    models
}

/// Object file after the checkpoint, and segment at the end, without what was only reserved.
fn written() -> (Vec<u8>, Vec<u8>) {
    let disk = FakeDisk::new();
    // Opened once before, so that the checkpoint makes segment 2.
    let (mut store, _) = Store::open(Box::new(disk.clone()), options()).unwrap();
    assert!(store.execute(first_batch()).iter().all(Result::is_ok));
    store.checkpoint().unwrap();
    let object = disk.file_bytes(&object_path()).unwrap();
    for batch in later_batches() {
        assert!(store.execute(batch).iter().all(Result::is_ok));
    }
    let mut segment = disk.file_bytes(SEGMENT).unwrap();
    let used = segment.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    segment.truncate(used.next_multiple_of(4096));
    (object, segment)
}

/// A disk with this object file and this segment.
fn disk_with(object: &[u8], segment: &[u8]) -> FakeDisk {
    let disk = FakeDisk::new();
    disk.plant(&object_path(), object);
    disk.plant(SEGMENT, segment);
    disk.plant("new/left-over", b"");
    disk
}

fn opened(object: &str, segment: &str) -> Result<(Store, OpenReport), StoreError> {
    let disk = disk_with(&golden(object), &golden(segment));
    Store::open(Box::new(disk), options())
}

#[test]
fn the_formats_are_written_as_version_1_wrote_them() {
    let (object, segment) = written();
    if std::env::var("SHEEPDOG_STORE_GOLDEN").is_ok_and(|value| value == "write") {
        write_golden(&object, &segment);
    }
    assert!(object == golden("object-file.bin"), "the object file has changed");
    assert!(segment == golden("journal.bin"), "the journal has changed");
}

#[test]
fn a_store_of_version_1_is_read() {
    let (mut store, report) = opened("object-file.bin", "journal.bin").unwrap();
    let expected = OpenReport { objects: 1, batches: 4, ..OpenReport::default() };
    assert_eq!(report, expected);
    let mut model = models().pop().unwrap();
    model.begin_segment();
    assert_eq!(difference(&mut store, &model, &[oid(), Oid::map(vid(5), 0)]), None);
    for vid in [oid().vid(), vid(5)] {
        let request = Request::Unstable { vid };
        assert_eq!(ask(&mut store, request.clone()), model.execute(&request));
    }
}

#[test]
fn a_torn_tail_ends_the_journal() {
    let (mut store, report) = opened("object-file.bin", "journal.torn-tail.bin").unwrap();
    assert_eq!((report.batches, report.is_torn), (3, true));
    let mut model = models().remove(3);
    model.begin_segment();
    assert_eq!(difference(&mut store, &model, &[oid()]), None);
}

#[test]
fn damaged_journals_are_refused_with_the_place() {
    let error = |segment| opened("object-file.bin", segment).err();
    let bad = Corruption::Batch { segment: 2, offset: 8192, later: 24576 };
    assert_eq!(error("journal.rot-in-the-middle.bin"), Some(bad.into()));
    match error("journal.header-rotten.bin") {
        Some(StoreError::Corrupt(Corruption::Segment { segment: 2, .. })) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn damaged_object_files_are_errors_of_what_is_damaged() {
    // Only the unstable list: nothing in the journal repairs the object.
    let first_error = |object: &str, block| {
        let (mut store, _) = opened(object, "journal.empty.bin").unwrap();
        let read = Request::Read { oid: oid(), first_block: block, count: 1 };
        store.execute(vec![read]).remove(0)
    };
    let corrupt = |reply| match reply {
        Err(StoreError::Corrupt(corruption)) => corruption,
        other => panic!("{other:?}"),
    };
    let block = corrupt(first_error("object-file.block-rotten.bin", 1));
    assert_eq!(block, Corruption::Block { oid: oid(), block: 1 });
    assert!(matches!(first_error("object-file.block-rotten.bin", 0), Ok(Reply::Read(_))));
    let page = corrupt(first_error("object-file.page-rotten.bin", 32));
    assert!(matches!(page, Corruption::Page { page: 1, .. }), "{page}");
    assert!(matches!(first_error("object-file.page-rotten.bin", 0), Ok(Reply::Read(_))));
    let header = corrupt(first_error("object-file.header-rotten.bin", 0));
    assert!(matches!(header, Corruption::Header { .. }), "{header}");
    assert!(matches!(first_error("object-file.bin", 32), Ok(Reply::Read(_))));
}

fn write_golden(object: &[u8], segment: &[u8]) {
    let save = |name: &str, bytes: &[u8]| std::fs::write(golden_path(name), bytes).unwrap();
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    save("object-file.bin", object);
    save("object-file.header-rotten.bin", &flipped(object, 30));
    save("object-file.page-rotten.bin", &flipped(object, 4096 + 512 + 33));
    save("object-file.block-rotten.bin", &flipped(object, 8192 + 4096 + 7));
    save("journal.bin", segment);
    save("journal.header-rotten.bin", &flipped(segment, 20));
    save("journal.rot-in-the-middle.bin", &flipped(segment, 8192 + 5000));
    save("journal.torn-tail.bin", &flipped(segment, segment.len() - 3000));
    save("journal.empty.bin", &segment[..8192]);
}
