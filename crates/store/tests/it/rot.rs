//! Bit rot: a flipped bit anywhere gives an error or the right bytes, never wrong ones.

use sheepdog_proto::Oid;
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{Corruption, FakeDisk, Reply, Request, Store, StoreError};

use crate::history::{History, oids, small_options, stamp, vid, write};
use crate::model::{Model, ask, play};
use crate::seeds::for_each_seed;

/// Every block, one by one, is that of one of the models, or an error.
fn check_blocks(store: &mut Store, models: &[Model]) {
    for oid in oids() {
        for block in (0..8).chain(29..37).chain(60..67).chain(250..256) {
            let read = Request::Read { oid, first_block: block, count: 1 };
            let mut replies = store.execute(vec![read]);
            match replies.remove(0) {
                Err(StoreError::Corrupt(_)) => {}
                Ok(Reply::Read(reply)) => {
                    let right = models.iter().map(|model| model.block(oid, block));
                    let is_right = right.into_iter().any(|(known, bytes)| {
                        // A lost watermark may keep the base of an object that is gone.
                        reply.blocks[0].state == known.state && reply.data[..] == bytes[..]
                    });
                    let expected: Vec<_> =
                        models.iter().map(|model| model.block(oid, block).0).collect();
                    let have = reply.blocks[0];
                    assert!(is_right, "block {block} of {oid} is {have:?}, not {expected:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Flips a random bit in a random file of the disk. Returns where.
fn flip(disk: &FakeDisk, dice: &mut Dice) -> (String, u64) {
    let files = disk.paths().into_iter().filter(|path| path != "journal/spare");
    let files: Vec<(String, Vec<u8>)> = files
        .filter_map(|path| disk.file_bytes(&path).map(|bytes| (path, bytes)))
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    let (path, bytes) = &files[dice.below(files.len() as u64) as usize];
    // Most bytes are unused; half of the flips hit bytes that mean something.
    let used: Vec<u64> =
        (0..).zip(bytes).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
    let offset = if dice.below(2) == 0 && !used.is_empty() {
        used[dice.below(used.len() as u64) as usize]
    } else {
        dice.below(bytes.len() as u64)
    };
    assert!(disk.flip_bit(path, offset, dice.below(8) as u8));
    (path.clone(), offset)
}

/// A store after some batches; the models before and after the last one that was a commit.
fn some_store(seed: u64) -> (FakeDisk, Store, Vec<Model>) {
    let disk = FakeDisk::new();
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    let mut history = History::new(seed);
    let mut models = vec![Model::default(), Model::default()];
    for _ in 0..12 {
        let batch = history.batch();
        let replies = play(&mut store, &mut models[1], &batch);
        assert!(replies.iter().all(Result::is_ok));
        let mut model = models[1].clone();
        for request in &batch {
            model.execute(request);
        }
        if model.objects != models[1].objects {
            models = vec![models.remove(1), model];
        } else {
            models[1] = model;
        }
    }
    (disk, store, models)
}

#[test]
fn a_flipped_bit_at_rest_gives_no_wrong_byte() {
    for_each_seed(4, |seed| {
        let mut dice = Dice::new(seed);
        for _ in 0..25 {
            let (disk, mut store, models) = some_store(seed);
            store.checkpoint().unwrap();
            drop(store);
            let place = flip(&disk, &mut dice);
            disk.restart();
            match Store::open(Box::new(disk.clone()), small_options()) {
                Ok((mut store, _)) => check_blocks(&mut store, &models[1..]),
                Err(StoreError::Corrupt(_)) => assert!(place.0.starts_with("journal/")),
                Err(error) => panic!("{place:?}: {error}"),
            }
        }
    });
}

#[test]
fn a_flipped_bit_under_an_open_store_gives_no_wrong_byte() {
    for_each_seed(4, |seed| {
        let mut dice = Dice::new(seed);
        for _ in 0..10 {
            let (disk, mut store, models) = some_store(seed);
            flip(&disk, &mut dice);
            check_blocks(&mut store, &models[1..]);
        }
    });
}

#[test]
fn a_flipped_bit_after_a_crash_gives_no_wrong_byte() {
    for_each_seed(4, |seed| {
        let mut dice = Dice::new(seed);
        for _ in 0..25 {
            let (disk, store, models) = some_store(seed);
            drop(store);
            disk.power_cycle(dice.roll());
            flip(&disk, &mut dice);
            match Store::open(Box::new(disk.clone()), small_options()) {
                // A flip in the last batch makes it look like one that was never finished.
                Ok((mut store, _)) => check_blocks(&mut store, &models),
                Err(StoreError::Corrupt(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn rot_is_named_by_object_and_block_and_spares_the_others() {
    let disk = FakeDisk::new();
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    let oid = Oid::data(vid(1), 0);
    ask(&mut store, write(oid, 0, 40, stamp(1, 1), 1, 1));
    let path = disk.paths().into_iter().find(|path| path.starts_with("obj/")).unwrap();
    let read = |first_block, count| Request::Read { oid, first_block, count };
    // Block 3 begins after the header and the eight pages of a 1 MiB object.
    assert!(disk.flip_bit(&path, 8192 + 3 * 4096 + 17, 5));
    let replies = store.execute(vec![read(0, 8), read(3, 1), read(4, 36)]);
    let bad = Err(StoreError::Corrupt(Corruption::Block { oid, block: 3 }));
    assert_eq!(replies[..2], [bad.clone(), bad]);
    assert!(replies[2].is_ok());
    // The page of blocks 32 ..= 63.
    drop(store);
    disk.restart();
    assert!(disk.flip_bit(&path, 4096 + 512 + 40, 0));
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    let replies = store.execute(vec![
        read(8, 8),
        read(32, 1),
        write(oid, 33, 1, stamp(1, 2), 1, 1),
        Request::Reset { oid, stamp: stamp(1, 3), view: sheepdog_proto::View(1) },
        Request::List { after: None, limit: 10 },
    ]);
    assert!(replies[0].is_ok());
    for reply in &replies[1..4] {
        let is_page = matches!(reply, Err(StoreError::Corrupt(Corruption::Page { page: 1, .. })));
        assert!(is_page, "{reply:?}");
    }
    match &replies[4] {
        Ok(Reply::List(listing)) => assert_eq!(listing.rotten[0].0, oid),
        other => panic!("{other:?}"),
    }
    // The header.
    drop(store);
    disk.restart();
    assert!(disk.flip_bit(&path, 20, 0));
    let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    let reply = store.execute(vec![read(8, 1)]).remove(0);
    assert!(matches!(reply, Err(StoreError::Corrupt(Corruption::Header { .. }))), "{reply:?}");
}

#[test]
fn a_lost_journal_or_lost_objects_stop_the_open() {
    let (disk, mut store, _) = some_store(3);
    store.checkpoint().unwrap();
    drop(store);
    let without = |prefix: &str| {
        let copy = FakeDisk::new();
        for path in disk.paths().iter().filter(|path| !path.starts_with(prefix)) {
            copy.plant(path, &disk.file_bytes(path).unwrap());
        }
        Store::open(Box::new(copy), small_options()).err()
    };
    assert_eq!(without("journal/"), Some(Corruption::NoJournal.into()));
    assert_eq!(without("obj/"), Some(Corruption::NoObjects.into()));
    assert_eq!(without("nothing"), None);
}
