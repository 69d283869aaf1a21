use super::*;
use crate::layout::documented;
use proptest::prelude::*;

fn entry(uuid: u128, state: DiskState, path: &str) -> DiskEntry {
    DiskEntry { uuid, weight: uuid as u64 + (1 << 30), state, path: PathBuf::from(path) }
}

fn table() -> DiskTable {
    let disks = vec![
        entry(1 << 100, DiskState::InUse, ""),
        entry(2 << 100, DiskState::Leaving, "/srv/disk one"),
        entry(3 << 100, DiskState::Failed, "/srv/disk2"),
        entry(5, DiskState::InUse, &format!("/{}", "d".repeat(PATH_BYTES_MAX - 1))),
    ];
    let mut table = DiskTable::new(7 << 90, 3, disks);
    table.counter = 9;
    table.buckets[..3].copy_from_slice(&[1, 2, 1]);
    table
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&bytes[..field::CHECKSUM.offset]);
    field::CHECKSUM.put(&mut bytes, sum);
    bytes
}

#[test]
fn what_is_encoded_is_verified_and_no_flipped_bit_is() {
    let bytes = table().encode();
    assert_eq!(DiskTable::verify(&bytes), Ok(table()));
    for bit in (0..COPY_BYTES * 8).step_by(13) {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(DiskTable::verify(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn the_golden_table_is_read_and_written() {
    let path = format!("{}/golden/v1/disks.bin", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(table().encode() == golden, "the format has changed: make it a new version");
    assert_eq!(DiskTable::verify(&golden), Ok(table()));
}

#[test]
fn a_table_that_makes_no_sense_is_refused() {
    let bytes = table().encode();
    let slot = |number: usize| field::SLOTS.offset + number * SLOT_BYTES;
    for (place, value, why) in [
        (field::BUCKETS.offset + 200, 9, "bucket of a table of disks"),
        (slot(0) + field::STATE.offset, 4, "state of a disk"),
        (slot(5) + field::DISK.offset, 4, "state of a disk"),
        (slot(0) + field::PATH_BYTES.offset + 1, 2, "path of a disk"),
        (slot(1) + field::PATH_BYTES.offset, 3, "reserved bytes of a disk"),
        (field::RESERVED.offset, 1, "reserved bytes of a table of disks"),
    ] {
        let mut bad = bytes.clone();
        bad[place] = value;
        assert_eq!(DiskTable::verify(&sealed(bad)), Err(WireError::Invalid(why)));
    }
    let mut newer = bytes;
    field::VERSION.put(&mut newer, 2_u16);
    assert_eq!(DiskTable::verify(&sealed(newer)), Err(WireError::Version(2)));
}

#[test]
fn the_document_shows_the_fields_of_the_code() {
    documented("disks", "Table", &FIELDS);
    documented("disks", "Slot", &SLOT_FIELDS);
}

#[test]
fn what_leaves_or_failed_is_given_nothing() {
    let table = table();
    let wanted = table.wanted();
    assert!(wanted.iter().all(|slot| [0, 3].contains(slot)));
    let mut moved = 0;
    for (bucket, slot) in wanted.iter().enumerate().skip(3) {
        moved += usize::from(table.buckets[bucket] != *slot);
    }
    assert_eq!(moved, 0, "what is where it shall be stays there");
    let mut none = table;
    none.disks.values_mut().for_each(|disk| disk.state = DiskState::Failed);
    assert_eq!(none.wanted(), none.buckets);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        at in 0..COPY_BYTES,
    ) {
        let mut copy = table().encode();
        let end = (at + bytes.len()).min(COPY_BYTES);
        copy[at..end].copy_from_slice(&bytes[..end - at]);
        let copy = sealed(copy);
        if let Ok(table) = DiskTable::verify(&copy) {
            prop_assert_eq!(table.encode(), copy);
        }
    }

    #[test]
    fn an_object_is_in_the_bucket_of_its_partition(oid in 1_u64.., bits in 8_u8..15) {
        let Some(oid) = Oid::from_wire(oid) else { return Ok(()) };
        prop_assert_eq!(u16::from(bucket_of(oid)), oid.partition(bits).0 >> (bits - 8));
    }
}
