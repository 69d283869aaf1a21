//! Golden files: a store as version 1 wrote it, whole and damaged.
//!
//! Why: what is on disks out there must stay readable, and must be written the same.
//! Way: `golden/v1/store` has the files of one store under their real names; zeros at their ends
//!      are left out and put back by `whole`. `golden/v1/damaged/NAME` has the files in which a
//!      damaged store differs from it. `SHEEPDOG_STORE_GOLDEN=write` writes them anew. That is for
//!      a new version of the formats, in a directory of its own, never to make this test pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{BLOCK_BYTES, Generation, Oid, Payload, View, block_checksum};
use sheepdog_store::{
    Corruption, FakeDisk, OpenReport, Options, Reply, Request, Store, StoreError,
};

use crate::history::{SHIFT, small_options, stamp, vid, write};
use crate::model::{Model, ask, difference};

/// Bytes of each file of the log.
const SEGMENT_BYTES: usize = 552 << 10;
/// Borders at which zeros are left out.
const PAGE: usize = 4096;

type Files = BTreeMap<String, Vec<u8>>;

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES as u64,
        salt: 0x0123_4567_89ab_cdef,
        node: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
        shard: 3,
        ..small_options()
    }
}

fn oid() -> Oid {
    Oid::data(vid(0xabcdef), 2)
}

fn other() -> Oid {
    Oid::map(vid(5), 0)
}

fn hole(first_block: u32, count: u32, sequence: u64, view: u64) -> Request {
    let (stamp, view) = (stamp(1, sequence), View(view));
    Request::Hole { oid: oid(), object_shift: SHIFT, first_block, count, stamp, view }
}

/// Blocks that are all alike, so that the file of what is put in place is small when packed.
fn plain(first_block: u32, count: u32, sequence: u64) -> Request {
    let (oid, bytes) = (oid(), [0x5a; BLOCK_BYTES]);
    let blocks = first_block..first_block + count;
    let checksums = blocks.map(|block| block_checksum(oid, block, &bytes)).collect();
    let data = Payload::from(&bytes.repeat(count as usize)[..]);
    let (stamp, view, object_shift) = (stamp(1, sequence), View(4), SHIFT);
    Request::Write { oid, object_shift, first_block, stamp, view, checksums, data }
}

/// What is in place: its batch was checkpointed.
fn first_batch() -> Vec<Request> {
    let (oid, view) = (oid(), View(3));
    vec![
        Request::Reset { oid, stamp: stamp(1, 1), view },
        write(oid, 0, 2, stamp(1, 2), 3, 1),
        hole(31, 2, 3, 3),
    ]
}

/// What is in the log only, a batch each. Every kind of record is there.
fn later_batches() -> Vec<Vec<Request>> {
    let (oid, view) = (oid(), View(4));
    let (stable, below) = (stamp(1, 3), Generation(1));
    vec![
        vec![write(oid, 1, 2, stamp(1, 5), 3, 2), write(other(), 0, 1, stamp(7, 1), 3, 3)],
        vec![
            Request::Watermark { vid: oid.vid(), stable },
            Request::Settle { vid: oid.vid(), below, oids: vec![oid] },
            hole(255, 1, 6, 4),
        ],
        vec![plain(8, 16, 7)],
        vec![
            write(other(), 0, 1, stamp(7, 1), 5, 3),
            Request::Reset { oid: other(), stamp: stamp(7, 2), view },
        ],
        vec![write(oid, 2, 1, stamp(2, 1), 4, 4), write(oid, 0, 1, stamp(1, 1), 9, 4)],
    ]
}

/// What is there after each batch.
fn models() -> Vec<Model> {
    let mut model = Model::default();
    let after = |batch: Vec<Request>| {
        for request in &batch {
            model.execute(request);
        }
        model.clone()
    };
    std::iter::once(first_batch()).chain(later_batches()).map(after).collect()
}

/// Files of a store, without zeros at their ends.
fn written() -> Files {
    let disk = FakeDisk::new();
    let (mut store, _) = Store::open(Box::new(disk.clone()), options()).unwrap();
    assert!(store.execute(first_batch()).iter().all(Result::is_ok));
    store.checkpoint().unwrap();
    for batch in later_batches() {
        assert!(store.execute(batch).iter().all(Result::is_ok));
    }
    let without_zeros = |path: String| {
        let mut bytes = disk.file_bytes(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used.next_multiple_of(PAGE));
        (path, bytes)
    };
    disk.paths().into_iter().map(without_zeros).collect()
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1").join(name)
}

fn read_files(directory: &Path, prefix: &str, files: &mut Files) {
    let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("{directory:?}: {e}"));
    for entry in entries {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_files(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}

fn golden(name: &str) -> Files {
    let mut files = Files::new();
    read_files(&directory(name), "", &mut files);
    files
}

/// A disk with these files, whole.
fn whole(files: &Files) -> FakeDisk {
    let disk = FakeDisk::new();
    for (path, bytes) in files {
        let mut bytes = bytes.clone();
        if path.starts_with("wal/") {
            bytes.resize(SEGMENT_BYTES, 0);
        }
        disk.plant(path, &bytes);
    }
    disk
}

fn open(files: &Files) -> Result<(Store, OpenReport), StoreError> {
    Store::open(Box::new(whole(files)), options())
}

/// The golden store with the files of a damaged one.
fn damaged(name: &str) -> Files {
    let mut files = golden("store");
    files.extend(golden(&format!("damaged/{name}")));
    files
}

/// Damages, each with the files that differ. Places are those of version 1.
fn damages(good: &Files) -> Vec<(&'static str, Files)> {
    let flipped = |path: &str, at: &[usize]| {
        let mut bytes = good[path].clone();
        for at in at {
            bytes[*at] ^= 1;
        }
        Files::from([(path.to_owned(), bytes)])
    };
    let newest = newest_segment(good);
    let used = good[&newest].len();
    vec![
        ("super-first-copy", flipped("super", &[20])),
        ("super-both-copies", flipped("super", &[20, PAGE + 20])),
        ("checkpoint-newest", flipped("checkpoint.b", &[20])),
        ("index-page", flipped("index", &[64 + 9])),
        ("meta-page", flipped("meta", &[64 + 9])),
        ("block", flipped("data/0000", &[7, PAGE + 7])),
        ("log-header", flipped(&newest, &[20])),
        ("log-middle", flipped(&newest, &[4 * PAGE + 100])),
        ("log-tail", flipped(&newest, &[used - 1000])),
    ]
}

/// The file of the log with the highest segment number.
fn newest_segment(files: &Files) -> String {
    let number = |bytes: &[u8]| bytes.get(12..16).map_or([0; 4], |n| n.try_into().unwrap());
    let log = files.iter().filter(|(path, _)| path.starts_with("wal/"));
    let newest = log.max_by_key(|(_, bytes)| u32::from_le_bytes(number(bytes)));
    newest.unwrap().0.clone()
}

fn write_golden(name: &str, files: &Files) {
    for (path, bytes) in files {
        let path = directory(name).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn the_formats_are_written_as_version_1_wrote_them() {
    let files = written();
    if std::env::var("SHEEPDOG_STORE_GOLDEN").is_ok_and(|value| value == "write") {
        write_golden("store", &files);
        for (name, files) in damages(&files) {
            write_golden(&format!("damaged/{name}"), &files);
        }
    }
    let golden_files = golden("store");
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&files), names(&golden_files));
    for (path, bytes) in &files {
        let golden = &golden_files[path];
        let first = bytes.iter().zip(golden).position(|(own, golden)| own != golden);
        assert_eq!((first, bytes.len()), (None, golden.len()), "{path} has changed");
    }
    for (name, files) in damages(&golden_files) {
        assert!(golden(&format!("damaged/{name}")) == files, "{name} is damaged otherwise");
    }
}

#[test]
fn a_store_of_version_1_is_read() {
    let (mut store, report) = open(&golden("store")).unwrap();
    let expected = OpenReport { objects: 1, batches: 5, ..OpenReport::default() };
    assert_eq!(report, expected);
    let mut model = models().pop().unwrap();
    model.begin_segment();
    assert_eq!(difference(&mut store, &model, &[oid(), other()]), None);
    let read = Request::Read { oid: oid(), first_block: 4, count: 30 };
    assert_eq!(ask(&mut store, read.clone()), model.execute(&read));
    for vid in [oid().vid(), vid(5)] {
        let request = Request::Unstable { vid };
        assert_eq!(ask(&mut store, request.clone()), model.execute(&request));
    }
}

#[test]
fn a_store_of_version_1_is_gone_on_with() {
    let disk = whole(&golden("store"));
    let open = || Store::open(Box::new(disk.clone()), options()).unwrap().0;
    let mut model = models().pop().unwrap();
    let mut store = open();
    let request = write(oid(), 3, 70, stamp(3, 1), 9, 9);
    assert_eq!(ask(&mut store, request.clone()), model.execute(&request));
    store.checkpoint().unwrap();
    drop(store);
    disk.power_cycle(1);
    model.begin_segment();
    assert_eq!(difference(&mut open(), &model, &[oid(), other()]), None);
}

#[test]
fn a_store_of_another_sheep_is_refused() {
    let options = Options { node: 1, ..options() };
    let error = Store::open(Box::new(whole(&golden("store"))), options).err();
    let Options { node, shard, .. } = self::options();
    assert_eq!(error, Some(Corruption::OtherOwner { node, shard }.into()));
}

#[test]
fn what_stands_twice_may_be_damaged_once() {
    let mut model = models().pop().unwrap();
    model.begin_segment();
    for (name, batches) in [("super-first-copy", 5), ("log-header", 5), ("checkpoint-newest", 7)] {
        let (mut store, report) = open(&damaged(name)).unwrap();
        assert_eq!((report.batches, report.was_repaired), (batches, name.starts_with("super")));
        assert_eq!(difference(&mut store, &model, &[oid(), other()]), None, "{name}");
    }
}

#[test]
fn a_torn_tail_ends_the_log() {
    let (mut store, report) = open(&damaged("log-tail")).unwrap();
    assert_eq!((report.batches, report.is_torn), (4, true));
    let mut model = models().remove(4);
    model.begin_segment();
    assert_eq!(difference(&mut store, &model, &[oid(), other()]), None);
}

#[test]
fn damaged_roots_and_logs_are_refused_with_the_place() {
    let error = |name| open(&damaged(name)).err().unwrap();
    let super_sum = WireError::Checksum("store's superblock");
    let both = Corruption::Superblock { first: super_sum, second: super_sum };
    assert_eq!(error("super-both-copies"), both.into());
    let (first, second) = (WireError::Checksum("page"), WireError::Invalid("magic of a page"));
    assert_eq!(error("index-page"), Corruption::Index { page: 0, first, second }.into());
    let batch = Corruption::Batch { segment: 3, offset: 3 * 4096, later: 7 * 4096 };
    assert_eq!(error("log-middle"), batch.into());
}

#[test]
fn damaged_blocks_and_metadata_are_errors_of_what_is_damaged() {
    let reply = |name: &str, block| {
        let (mut store, _) = open(&damaged(name)).unwrap();
        let read = Request::Read { oid: oid(), first_block: block, count: 1 };
        store.execute(vec![read]).remove(0)
    };
    let block = Corruption::Block { oid: oid(), block: 0 };
    assert_eq!(reply("block", 0), Err(block.into()));
    // This one was written again, and stands in the log.
    assert!(matches!(reply("block", 1), Ok(Reply::Read(_))));
    let page = reply("meta-page", 0);
    assert!(matches!(page, Err(StoreError::Corrupt(Corruption::Page { page: 0, .. }))), "{page:?}");
}
