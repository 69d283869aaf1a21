//! Each kind of damage is named with its place, and the rest can still be read.

use sheepdog_store::inspect::{Fault, FaultKind, Inspection, Place};
use sheepdog_store::{FakeDisk, StoreError};

use super::*;
use crate::history::write;

/// A disk with all files of `disk` but those that `is_gone`.
fn without(disk: &FakeDisk, is_gone: impl Fn(&str) -> bool) -> FakeDisk {
    let copy = FakeDisk::new();
    for (path, bytes) in contents(disk).iter().filter(|(path, _)| !is_gone(path)) {
        copy.plant(path, bytes);
    }
    copy
}

fn some_disk() -> FakeDisk {
    let (disk, store) = some_store();
    drop(store);
    disk.restart();
    disk
}

/// All faults of a disk.
fn faults(disk: &FakeDisk) -> Vec<Fault> {
    inspect(disk, |inspection| {
        let mut faults = Vec::new();
        inspection.verify(&mut |fault| faults.push(fault.clone()));
        assert!(faults.iter().all(|fault| !fault.kind.advice().is_empty()));
        faults
    })
}

fn shown(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// Blocks of all objects that can be read.
fn readable(inspection: &mut Inspection) -> usize {
    let mut count = 0;
    for object in oids().into_iter().filter_map(|oid| inspection.read_object(oid)) {
        let known = object.view.blocks.iter();
        count += known.filter(|block| !object.lost.contains(&block.number)).count();
    }
    count
}

/// What can be read of [`some_store`].
const ALL: usize = 137 + 65 + 2;

#[test]
fn a_bad_superblock_is_named_and_its_salt_may_still_be_right() {
    let disk = some_disk();
    disk.flip_bit("super", 4096 + 100, 0);
    assert_eq!(
        shown(&faults(&disk)),
        [
            "super at byte 4096: copy 1 of the superblock: checksum of store's superblock does not match"
        ]
    );
    disk.flip_bit("super", 100, 0);
    let seen = faults(&disk);
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[2].kind, FaultKind::Superblock { is_guessed: true });
    assert!(matches!(open(&disk), Err(StoreError::Corrupt(_))));
    assert_eq!(inspect(&disk, readable), ALL);
    // The salt itself.
    disk.flip_bit("super", 17, 0);
    disk.flip_bit("super", 4096 + 17, 0);
    let seen = faults(&disk);
    assert_eq!(seen[2].kind, FaultKind::Superblock { is_guessed: false });
    assert_eq!(inspect(&disk, readable), 0);
}

#[test]
fn without_a_checkpoint_the_newest_pages_and_the_log_have_everything() {
    let disk = some_disk();
    disk.flip_bit("checkpoint.b", 20, 0);
    let seen = faults(&disk);
    assert_eq!(seen[0].place.to_string(), "checkpoint.b at byte 0");
    assert!(seen[0].kind.is_harmless(), "the first checkpoint is there");
    disk.flip_bit("checkpoint.a", 20, 0);
    let seen = faults(&disk);
    assert_eq!(seen[2].kind, FaultKind::NoCheckpoint);
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(inspect(&disk, readable), ALL);
}

#[test]
fn a_bad_index_page_hides_its_objects_only() {
    let disk = FakeDisk::new();
    let mut store = open(&disk).unwrap();
    // A page has 31 slots.
    let oid = |index| Oid::data(vid(1), index);
    do_all(&mut store, (0..40).map(|n| write(oid(n), 0, 1, stamp(1, 1), 1, 1)).collect());
    store.checkpoint().unwrap();
    drop(store);
    let used = inspect(&disk, |inspection| {
        let mut used = Vec::new();
        inspection.index_pages(&mut |page| used.push(page.offsets[page.used.unwrap()]));
        used
    });
    // The stamp of the newest block of slot 3: its metadata page proves the rest of it.
    disk.flip_bit("index", used[0] + 64 + 3 * 128 + 16, 3);
    // The object's name in slot 4.
    disk.flip_bit("index", used[0] + 64 + 4 * 128, 3);
    let seen = faults(&disk);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].place.to_string(), "index at byte 0");
    assert!(matches!(seen[0].kind, FaultKind::IndexPage { page: 0, rescued: 30, .. }));
    assert!(matches!(open(&disk.fork()), Err(StoreError::Corrupt(_))));
    let all = |inspection: &mut Inspection| {
        let objects = inspection.objects();
        objects.into_iter().map(|object| object.oid).collect::<Vec<_>>()
    };
    inspect(&disk, |inspection| {
        assert_eq!(all(inspection), (0..40).filter(|n| *n != 4).map(oid).collect::<Vec<_>>());
        assert_eq!(inspection.read_object(oid(3)).unwrap().lost, []);
    });
    let mut bytes = disk.file_bytes("index").unwrap();
    bytes[..8192].fill(0xee);
    disk.plant("index", &bytes);
    let seen = faults(&disk);
    assert!(matches!(seen[0].kind, FaultKind::IndexPage { page: 0, rescued: 0, .. }));
    inspect(&disk, |inspection| {
        assert_eq!(all(inspection), (31..40).map(oid).collect::<Vec<_>>());
        assert_eq!(inspection.read_object(oid(31)).unwrap().lost, []);
    });
}

#[test]
fn a_bad_metadata_page_hides_what_only_it_knows() {
    let disk = some_disk();
    let [first, ..] = oids();
    let bytes = disk.file_bytes("meta").unwrap();
    // The page of the first object: magic, kind, its oid.
    let place = bytes
        .chunks(4096)
        .position(|page| page.starts_with(b"SDPG") && page[24..32] == first.get().to_le_bytes());
    let place = place.unwrap() as u64 * 4096;
    disk.flip_bit("meta", place + 70, 0);
    let seen = faults(&disk);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].place.offset, place / 8192 * 8192);
    assert!(matches!(seen[0].kind, FaultKind::MetaPage { page: 0, oid, .. } if oid == first));
    inspect(&disk, |inspection| {
        let object = inspection.read_object(first).unwrap();
        // Two blocks are in the log.
        assert_eq!((object.view.blocks.len(), object.lost.len()), (2, 254));
        assert_eq!(readable(inspection), 2 + 65 + 2);
        assert!(object.bytes[4096..3 * 4096].iter().any(|byte| *byte != 0));
    });
}

#[test]
fn a_bad_block_is_named_with_file_and_byte() {
    let [first, second, ..] = oids();
    for (oid, number) in [(first, 0), (first, 201), (second, 70)] {
        let disk = some_disk();
        let place = inspect(&disk, |inspection| {
            let view = inspection.object(oid).unwrap();
            view.blocks.iter().find(|block| block.number == number).unwrap().place.clone()
        });
        let place = place.unwrap();
        assert_eq!(place.file, "data/0000");
        disk.flip_bit(&place.file, place.offset + 4095, 7);
        let seen = faults(&disk);
        let kind = FaultKind::Block { oid, block: number };
        assert_eq!(seen, [Fault { place, kind }]);
        let object = inspect(&disk, |inspection| inspection.read_object(oid).unwrap());
        assert_eq!(object.lost, [number]);
    }
    let disk = without(&some_disk(), |path| path.starts_with("data/"));
    let seen = faults(&disk);
    assert!(seen.len() > 100 && seen.iter().all(|fault| !fault.kind.is_harmless()));
}

/// A disk whose log has a few batches, and where they are.
fn some_log() -> (FakeDisk, Vec<(String, u64)>) {
    let disk = FakeDisk::new();
    let mut store = open(&disk).unwrap();
    let [first, second, ..] = oids();
    for number in 0..6 {
        let oid = if number % 2 == 0 { first } else { second };
        do_all(&mut store, vec![write(oid, number, 1, stamp(1, u64::from(number) + 1), 1, 1)]);
    }
    drop(store);
    let mut places = Vec::new();
    inspect(&disk, |inspection| {
        inspection.batches(&mut |batch| places.push((batch.place.file, batch.place.offset)));
    });
    assert!(places.len() >= 6);
    (disk, places.split_off(places.len() - 6))
}

#[test]
fn a_bad_batch_is_named_and_the_rest_of_the_log_is_read() {
    let (disk, places) = some_log();
    let (file, offset) = &places[2];
    disk.flip_bit(file, offset + 70, 0);
    assert!(matches!(open(&disk.fork()), Err(StoreError::Corrupt(_)))); // ST4
    let seen = faults(&disk);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((&seen[0].place.file, seen[0].place.offset), (file, *offset));
    assert!(matches!(seen[0].kind, FaultKind::Batch { lost: 1, .. }));
    assert_eq!(inspect(&disk, readable), 5);
    // A second one, and the header of a third: both are passed over.
    disk.flip_bit(&places[3].0, places[3].1 + 10, 0);
    let seen = faults(&disk);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(matches!(seen[0].kind, FaultKind::Batch { lost: 2, .. }));
    assert_eq!(inspect(&disk, readable), 4);
}

#[test]
fn a_bad_block_in_the_log_costs_only_itself() {
    let (disk, places) = some_log();
    let (file, offset) = &places[2];
    disk.flip_bit(file, offset + 4096 + 9, 0);
    let seen = faults(&disk);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(matches!(seen[0].kind, FaultKind::BatchBlock { block: 2, .. }));
    assert_eq!(seen[0].place.offset, offset + 4096);
    assert!(matches!(seen[1].kind, FaultKind::Block { block: 2, .. }));
    assert_eq!(inspect(&disk, readable), 5);
}

#[test]
fn a_bad_last_batch_is_a_torn_tail() {
    let (disk, places) = some_log();
    let (file, offset) = &places[5];
    disk.flip_bit(file, offset + 4096 + 9, 0);
    inspect(&disk, |inspection| {
        assert!(inspection.overview().is_torn);
        assert_eq!(inspection.overview().log_end.as_ref().unwrap().offset, *offset);
        assert_eq!(readable(inspection), 5);
    });
    assert_eq!(faults(&disk), []);
}

#[test]
fn a_segment_is_known_without_its_headers_and_missed_when_it_is_gone() {
    let (disk, places) = some_log();
    let (file, _) = &places[0];
    disk.flip_bit(file, 17, 0);
    let seen = faults(&disk);
    assert!(matches!(seen[..], [Fault { kind: FaultKind::SegmentCopy { .. }, .. }]), "{seen:?}");
    assert!(open(&disk.fork()).is_ok());
    disk.flip_bit(file, 4096 + 17, 0);
    let seen = faults(&disk);
    assert!(matches!(seen[..], [Fault { kind: FaultKind::SegmentHeader { .. }, .. }]), "{seen:?}");
    assert!(open(&disk.fork()).is_err());
    assert_eq!(inspect(&disk, readable), 6);
    // Each open begins a segment.
    disk.flip_bit(file, 17, 0);
    for number in 0..2 {
        let mut store = open(&disk).unwrap();
        let change = write(oids()[2], number, 1, stamp(1, 20 + u64::from(number)), 1, 1);
        do_all(&mut store, vec![change]);
    }
    let gone = without(&disk, |path| path == file);
    let seen = faults(&gone);
    assert_eq!(seen[0], Fault { place: place(file), kind: FaultKind::Missing });
    assert!(matches!(seen[1].kind, FaultKind::SegmentGone { .. }), "{seen:?}");
    assert_eq!(inspect(&gone, readable), 2);
}

#[test]
fn a_segment_without_headers_and_with_one_batch_is_an_append_that_was_cut() {
    let (disk, places) = some_log();
    let mut store = open(&disk).unwrap();
    do_all(&mut store, vec![write(oids()[2], 0, 1, stamp(1, 20), 1, 1)]);
    drop(store);
    let file = inspect(&disk, |inspection| inspection.overview().log_end.clone().unwrap().file);
    assert_ne!(file, places[5].0);
    disk.flip_bit(&file, 17, 0);
    disk.flip_bit(&file, 4096 + 17, 0);
    assert_eq!(faults(&disk), []);
    assert_eq!(inspect(&disk, readable), 6);
    assert!(open(&disk.fork()).is_ok());
}

fn place(file: &str) -> Place {
    Place { file: file.to_owned(), offset: 0 }
}

#[test]
fn what_the_kernel_cannot_read_is_a_fault_and_no_end() {
    use sheepdog_store::disk::fake::Fault as DiskFault;
    let disk = some_disk();
    for after in 0..200 {
        disk.fail(DiskFault::Read, after);
        let mut inspection = Inspection::of_disk(Box::new(disk.clone()));
        let mut unreadable = 0;
        inspection.verify(&mut |fault| {
            unreadable += u32::from(matches!(fault.kind, FaultKind::Unreadable(_)));
        });
        // A second try of the same place may be the one that works.
        assert!(unreadable <= 1, "read {after}");
        disk.restart();
    }
    let nothing = FakeDisk::new();
    let seen = faults(&nothing);
    assert!(seen.iter().any(|fault| fault.kind == FaultKind::Missing), "{seen:?}");
}
