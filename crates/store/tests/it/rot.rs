//! Rot: what the disk changes, misplaces or forgets gives an error or the right bytes, never
//! wrong ones, and the error names the place.
//!
//! Way: a history runs once; every case damages a copy of its disk, opens it and reads every
//!      block. Only the very last append of the log may be missed: a disk that forgets it looks
//!      as if the power had failed before it.

use std::collections::BTreeMap;

use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{Corruption, FakeDisk, OpenReport, Reply, Request, Store, StoreError};

use crate::history::{History, oids, small_options};
use crate::model::{Model, play};
use crate::seeds::for_each_seed;

const PAGE: usize = 4096;

fn open(disk: &FakeDisk) -> Result<(Store, OpenReport), StoreError> {
    Store::open(Box::new(disk.clone()), small_options())
}

/// A disk on which a history ran, and what may be on it.
struct Case {
    disk: FakeDisk,
    /// After the last commit, and before it.
    models: Vec<Model>,
}

/// Runs batches, and notes what is there after the last ones.
fn run(store: &mut Store, history: &mut History, models: &mut Vec<Model>, batches: usize) {
    for _ in 0..batches {
        let batch = history.batch();
        let before = store.statistics().batches;
        assert!(play(store, &batch).iter().all(Result::is_ok));
        let mut model = models[models.len() - 1].clone();
        let after: Vec<Model> = batch.iter().map(|request| model.after(request)).collect();
        if store.statistics().batches > before {
            // A question commits what is before it: each of these may have been the last.
            models.drain(..models.len() - 1);
        }
        models.extend(after);
    }
}

/// A history with two checkpoints, of which the second is the last thing that happens if it is
/// stopped; and the bytes of all files when the first was done.
fn case(seed: u64, is_stopped: bool) -> (Case, BTreeMap<String, Vec<u8>>) {
    let disk = FakeDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let (mut history, mut models) = (History::new(seed), vec![Model::default()]);
    run(&mut store, &mut history, &mut models, 8);
    store.checkpoint().unwrap();
    let old = files(&disk);
    run(&mut store, &mut history, &mut models, 6);
    store.checkpoint().unwrap();
    if is_stopped {
        models.drain(..models.len() - 1);
    } else {
        run(&mut store, &mut history, &mut models, 6);
    }
    drop(store);
    disk.restart();
    (Case { disk, models }, old)
}

fn files(disk: &FakeDisk) -> BTreeMap<String, Vec<u8>> {
    let paths = disk.paths().into_iter();
    paths.filter_map(|path| disk.file_bytes(&path).map(|bytes| (path, bytes))).collect()
}

impl Case {
    /// Opens a damaged copy. It is refused with a reason, or every block of it is right or bad.
    fn check(&self, damaged: &FakeDisk, what: &str) {
        let mut store = match open(damaged) {
            Ok((store, _)) => store,
            Err(StoreError::Corrupt(why)) => {
                let is_named = match &why {
                    Corruption::Segment { .. } => {
                        what.contains("wal/") || what.contains("checkpoint.")
                    }
                    Corruption::Batch { .. } | Corruption::Records { .. } => what.contains("wal/"),
                    Corruption::Index { .. } => what.contains("index"),
                    Corruption::Superblock { .. } => what.contains("super"),
                    _ => false,
                };
                assert!(is_named, "{what}: {why}");
                return;
            }
            Err(error) => panic!("{what}: {error}"),
        };
        for oid in oids() {
            for block in (0..8).chain(29..37).chain(60..67).chain(250..256) {
                let read = Request::Read { oid, first_block: block, count: 1 };
                let reply = match store.execute(vec![read]).remove(0) {
                    Err(StoreError::Corrupt(why)) => {
                        assert!(names(&why, oid, block), "{what}: {why} for block {block}");
                        continue;
                    }
                    Ok(Reply::Read(reply)) => reply,
                    other => panic!("{what}: {other:?}"),
                };
                let mut right = self.models.iter().map(|model| model.block(oid, block));
                // A lost watermark may keep the base of an object that is gone.
                let is_right = right.any(|(known, bytes)| {
                    reply.blocks[0].state == known.state && reply.data[..] == bytes[..]
                });
                assert!(is_right, "{what}: block {block} of {oid} is {:?}", reply.blocks[0]);
            }
        }
        assert!(store.failure().is_none(), "{what}");
    }

    /// A copy with one page as somebody else left it.
    fn with_page(&self, path: &str, place: usize, page: &[u8]) -> FakeDisk {
        let copy = self.disk.fork();
        let mut bytes = copy.file_bytes(path).unwrap();
        let start = place * PAGE;
        let end = (start + page.len()).min(bytes.len());
        bytes[start..end].copy_from_slice(&page[..end - start]);
        copy.plant(path, &bytes);
        copy
    }
}

/// Whether an error is about this block.
fn names(why: &Corruption, oid: sheepdog_proto::Oid, block: u32) -> bool {
    match why {
        Corruption::Block { oid: own, block: bad } => (*own, *bad) == (oid, block),
        Corruption::Page { oid: own, page, .. } => (*own, *page) == (oid, block / 256),
        _ => false,
    }
}

/// Bytes of each file that mean something.
struct Used(Vec<(String, Vec<usize>)>);

impl Used {
    fn of(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let used = |bytes: &[u8]| {
            let places = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0);
            places.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let all = files.iter().map(|(path, bytes)| (path.clone(), used(bytes)));
        Self(all.filter(|(_, used)| !used.is_empty()).collect())
    }

    /// One of them, or one near it.
    fn draw(&self, dice: &mut Dice) -> (String, u64) {
        let (path, used) = &self.0[dice.below(self.0.len() as u64) as usize];
        let near = used[dice.below(used.len() as u64) as usize] as u64 ^ dice.below(4);
        (path.clone(), near)
    }
}

fn flip_anywhere(seed: u64, is_stopped: bool, rounds: u64) {
    let (case, _) = case(seed, is_stopped);
    let used = Used::of(&files(&case.disk));
    let mut dice = Dice::new(seed);
    for _ in 0..rounds {
        let copy = case.disk.fork();
        let (path, offset) = used.draw(&mut dice);
        assert!(copy.flip_bit(&path, offset, dice.below(8) as u8));
        case.check(&copy, &format!("flip in {path} at {offset}"));
    }
}

#[test]
fn a_flipped_bit_of_a_stopped_store_gives_no_wrong_byte() {
    for_each_seed(3, |seed| flip_anywhere(seed, true, 60));
}

#[test]
fn a_flipped_bit_of_a_killed_store_gives_no_wrong_byte() {
    for_each_seed(3, |seed| flip_anywhere(seed, false, 60));
}

#[test]
fn a_flipped_bit_under_an_open_store_gives_no_wrong_byte() {
    for_each_seed(3, |seed| {
        let (case, _) = case(seed, true);
        let used = Used::of(&files(&case.disk));
        let mut dice = Dice::new(seed);
        for _ in 0..30 {
            let copy = case.disk.fork();
            let (mut store, _) = open(&copy).unwrap();
            let (path, offset) = used.draw(&mut dice);
            copy.flip_bit(&path, offset, dice.below(8) as u8);
            for oid in oids() {
                for (first_block, count) in [(0, 8), (29, 8), (60, 7), (250, 6)] {
                    let read = Request::Read { oid, first_block, count };
                    let Ok(Reply::Read(reply)) = store.execute(vec![read]).remove(0) else {
                        continue;
                    };
                    for (block, bytes) in (first_block..).zip(reply.data.chunks(PAGE)) {
                        assert_eq!(case.models[0].block(oid, block).1, bytes, "{path} {offset}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_page_that_was_written_to_another_place_gives_no_wrong_byte() {
    for_each_seed(3, |seed| {
        let (case, _) = case(seed, seed % 2 == 0);
        let files = files(&case.disk);
        let used = Used::of(&files);
        let mut dice = Dice::new(seed);
        for round in 0..60 {
            let (from, offset) = used.draw(&mut dice);
            let source = offset as usize / PAGE;
            let page = &files[&from][source * PAGE..];
            let page = &page[..page.len().min(PAGE)];
            // Every other one inside the same file.
            let (mut path, to) = used.draw(&mut dice);
            let mut place = to as usize / PAGE;
            if round % 2 == 0 {
                path = from.clone();
                place = dice.below(files[&path].len().div_ceil(PAGE) as u64).min(60) as usize;
            }
            let copy = case.with_page(&path, place, page);
            case.check(&copy, &format!("page {source} of {from} at page {place} of {path}"));
        }
    });
}

#[test]
fn a_page_of_which_the_last_write_was_lost_gives_no_wrong_byte() {
    let mut kinds = BTreeMap::<String, usize>::new();
    for is_stopped in [true, false] {
        let (case, old) = case(5, is_stopped);
        for (path, new) in files(&case.disk) {
            let old = old.get(&path).cloned().unwrap_or_default();
            for (place, page) in new.chunks(PAGE).enumerate() {
                let mut before = old.get(place * PAGE..).unwrap_or_default().to_vec();
                before.resize(page.len(), 0);
                if before == page {
                    continue;
                }
                let copy = case.with_page(&path, place, &before);
                case.check(&copy, &format!("lost write of page {place} of {path}"));
                *kinds.entry(path[..4].to_owned()).or_default() += 1;
            }
        }
    }
    for kind in ["data", "meta", "inde", "chec", "wal/"] {
        assert!(kinds.contains_key(kind), "{kind}: {kinds:?}");
    }
}

#[test]
fn any_whole_file_that_is_an_older_one_or_gone_gives_no_wrong_byte() {
    let (case, old) = case(6, true);
    let names: Vec<String> = old.keys().cloned().collect();
    for path in names {
        let copy = case.disk.fork();
        copy.plant(&path, &old[&path]);
        case.check(&copy, &format!("older {path}"));
        let copy = FakeDisk::new();
        for (other, bytes) in files(&case.disk).iter().filter(|(other, _)| **other != path) {
            copy.plant(other, bytes);
        }
        match open(&copy) {
            Ok(_) => case.check(&copy, &format!("without {path}")),
            // A file that must be there.
            Err(StoreError::Io { kind, .. }) => assert_eq!(kind, std::io::ErrorKind::NotFound),
            Err(StoreError::Corrupt(Corruption::NoSuperblock)) => assert_eq!(path, "super"),
            Err(StoreError::Corrupt(Corruption::LogFile { .. } | Corruption::Segment { .. })) => {
                assert!(path.starts_with("wal/"));
            }
            Err(error) => panic!("without {path}: {error}"),
        }
    }
}
