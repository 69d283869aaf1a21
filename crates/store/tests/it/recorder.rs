//! Recordings: the disk at every sync of a store that ran, and without each of its syncs.

use std::collections::BTreeMap;

use sheepdog_proto::{Oid, Payload, Stamp};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::disk::recorder::{Recording, Replay, SyncKind, now};
use sheepdog_store::disk::{Operation, Ticket};
use sheepdog_store::{
    BlockState, Disk, FakeDisk, RealDisk, Recorder, Reply, Request, Store, StoreError,
};

use crate::history::{small_options, stamp, vid, write};

const BLOCKS: u32 = 256;

/// A block, and what was acknowledged of it: when, and with which stamp.
type Acknowledged = BTreeMap<(Oid, u32), Vec<(u64, Stamp)>>;

/// Runs a store on real files, small and large writes and checkpoints, and records it.
fn record(seed: u64) -> (Recording, Acknowledged) {
    let place = tempfile::tempdir().unwrap();
    let (directory, file) = (place.path().join("store"), place.path().join("recording"));
    std::fs::create_dir(&directory).unwrap();
    let disk = RealDisk::new(&directory).unwrap();
    let disk = Recorder::new(Box::new(disk), &file).unwrap();
    let (mut store, _) = Store::open(Box::new(disk), small_options()).unwrap();
    let mut dice = Dice::new(seed);
    let mut acknowledged = Acknowledged::new();
    for step in 1..=40 {
        let count = [1, 3, 16, 64][dice.below(4) as usize];
        let first = dice.below(u64::from(BLOCKS / count)) as u32 * count;
        let oid = Oid::data(vid(1), dice.below(2) as u32);
        let change = write(oid, first, count, stamp(1, step), 1, step);
        assert!(store.execute(vec![change])[0].is_ok());
        for block in first..first + count {
            acknowledged.entry((oid, block)).or_default().push((now(), stamp(1, step)));
        }
        if step % 13 == 0 {
            store.checkpoint().unwrap();
        }
    }
    drop(store);
    (Recording::load(&file).unwrap(), acknowledged)
}

/// What is wrong with a disk on which everything acknowledged before `time` must be.
fn fault(disk: FakeDisk, acknowledged: &Acknowledged, time: u64) -> Option<String> {
    let due: Vec<_> = acknowledged
        .iter()
        .filter_map(|(place, acks)| Some((place, acks.iter().rev().find(|(at, _)| *at < time)?.1)))
        .collect();
    let opened = Store::open(Box::new(disk), small_options());
    let (mut store, _) = match opened {
        Ok(opened) => opened,
        Err(StoreError::Corrupt(_) | StoreError::Io { .. }) if due.is_empty() => return None,
        Err(error) => return Some(error.to_string()),
    };
    for ((oid, block), wanted) in due {
        let read = Request::Read { oid: *oid, first_block: *block, count: 1 };
        let found = match store.execute(vec![read]).remove(0) {
            Ok(Reply::Read(read)) => read.blocks[0],
            other => return Some(format!("{oid} {block}: {other:?}")),
        };
        if found.stamp < wanted || !matches!(found.state, BlockState::Data { .. }) {
            return Some(format!("{oid} {block}: {found:?}, not {wanted:?}"));
        }
    }
    None
}

/// The first fault that a power cut right after one of these syncs would show.
fn fault_after(
    recording: &Recording,
    acknowledged: &Acknowledged,
    without: Option<usize>,
    syncs: std::ops::Range<usize>,
) -> Option<String> {
    let mut replay = Replay::new(recording, without);
    syncs.into_iter().find_map(|sync| {
        replay.go_on_to(sync).unwrap();
        let end = recording.syncs().get(sync + 1).map_or(u64::MAX, |next| next.time);
        let fault = fault(replay.after_power_cut(), acknowledged, end)?;
        Some(format!("after sync {sync}: {fault}"))
    })
}

#[test]
fn a_power_cut_after_any_recorded_sync_leaves_what_was_acknowledged() {
    let (recording, acknowledged) = record(1);
    let all = 0..recording.syncs().len();
    assert!(all.len() > 60, "{} syncs", all.len());
    assert_eq!(fault_after(&recording, &acknowledged, None, all), None);
}

#[test]
fn a_sync_that_is_left_out_is_missed() {
    let (recording, acknowledged) = record(2);
    let all = recording.syncs();
    for kind in [
        SyncKind::Append,
        SyncKind::Placed,
        SyncKind::CheckpointData,
        SyncKind::CheckpointMeta,
        SyncKind::CheckpointIndex,
    ] {
        let places: Vec<usize> = (0..all.len()).filter(|sync| all[*sync].kind == kind).collect();
        assert!(!places.is_empty(), "{kind:?}");
        let is_missed = places.iter().any(|sync| {
            let syncs = *sync..all.len().min(sync + 8);
            fault_after(&recording, &acknowledged, Some(*sync), syncs).is_some()
        });
        assert!(is_missed, "{kind:?}");
    }
}

#[test]
fn a_sync_covers_what_had_ended_when_it_began() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("recording");
    let mut disk = Recorder::new(Box::new(FakeDisk::new()), &path).unwrap();
    let file = disk.create("x").unwrap();
    disk.sync_dir("").unwrap();
    let write = |offset| {
        let parts = vec![Payload::from(&[7_u8; 512][..])];
        Operation::Write { file, offset, parts, durable: false, direct: false }
    };
    let mut ended = Vec::new();
    disk.submit(Ticket(1), write(0));
    disk.reap(true, &mut ended);
    disk.submit(Ticket(2), write(512));
    disk.submit(Ticket(3), Operation::Sync { file });
    disk.reap(true, &mut ended);
    disk.submit(Ticket(4), write(1024));
    disk.reap(true, &mut ended);
    drop(disk);
    let recording = Recording::load(&path).unwrap();
    assert_eq!(recording.syncs().len(), 2);
    let bytes = |sync, without| {
        let mut replay = Replay::new(&recording, without);
        replay.go_on_to(sync).unwrap();
        replay.after_power_cut().file_bytes("x")
    };
    assert_eq!(bytes(0, None), Some(Vec::new()));
    assert_eq!(bytes(1, None), Some(vec![7; 512]), "the second write had not ended");
    assert_eq!(bytes(1, Some(1)), Some(Vec::new()));
    assert_eq!(bytes(1, Some(0)), None);
    let error = Recorder::new(Box::new(FakeDisk::new()), &path).err();
    assert!(error.is_some(), "a recording is never overwritten");
}
