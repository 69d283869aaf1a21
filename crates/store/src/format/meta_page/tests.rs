use proptest::collection::vec;
use proptest::prelude::*;
use sheepdog_proto::{Generation, Vid};

use super::*;
use crate::format::salted_checksum;

const SALT: u64 = 0x5a17;

fn oid() -> Oid {
    Oid::data(Vid::new(7).unwrap(), 3)
}

fn stamp(sequence: u64) -> Stamp {
    Stamp::new(Generation(1), sequence)
}

fn data(sequence: u64, checksum: u32) -> Entry {
    Entry { stamp: stamp(sequence), state: BlockState::Data { checksum } }
}

fn hole(sequence: u64) -> Entry {
    Entry { stamp: stamp(sequence), state: BlockState::Hole }
}

fn entries() -> Vec<Entry> {
    let mut entries = vec![Entry::ABSENT; PAGE_BLOCKS as usize];
    entries[0] = data(4, 0xdead_beef);
    entries[1] = data(5, 0);
    entries[255] = hole(6);
    entries
}

fn verified(wanted: &PageHeader, bytes: &[u8; PAGE_BYTES]) -> Result<Vec<Entry>, WireError> {
    wanted.verify(SALT, bytes)?;
    decode(bytes)
}

#[test]
fn what_is_encoded_is_verified() {
    let header = header(oid(), 5, 9, 3);
    let bytes = encode(&header, SALT, &entries());
    assert_eq!(verified(&header, &bytes), Ok(entries()));
    let nothing = vec![Entry::ABSENT; PAGE_BLOCKS as usize];
    assert_eq!(verified(&header, &encode(&header, SALT, &nothing)), Ok(nothing));
}

#[test]
fn the_four_pages_of_a_slot_lie_together_and_each_knows_its_object() {
    let numbers: Vec<u64> = (4..9).map(|page| header(oid(), page, 9, 3).number).collect();
    assert_eq!(numbers, [36, 37, 38, 39, 36]);
    let header = header(oid(), 5, 9, 3);
    assert_eq!((header.owner, header.part, header.version), (oid().get(), 5, 3));
}

#[test]
fn a_page_of_another_object_slot_or_version_is_refused() {
    let own = header(oid(), 5, 9, 3);
    let bytes = encode(&own, SALT, &entries());
    let place = WireError::Invalid("place of a page");
    let other = Oid::data(Vid::new(7).unwrap(), 4);
    for wanted in [header(other, 5, 9, 3), header(oid(), 6, 9, 3), header(oid(), 5, 8, 3)] {
        assert_eq!(verified(&wanted, &bytes), Err(place));
    }
    let version = WireError::Invalid("version of a page");
    assert_eq!(verified(&header(oid(), 5, 9, 4), &bytes), Err(version));
}

#[test]
fn entries_that_mean_nothing_are_refused() {
    // Stamp, checksum, state, reserved.
    let cases: [(u64, u32, u8, u16); 9] = [
        (1, 0, ABSENT, 0),
        (0, 1, ABSENT, 0),
        (0, 0, DATA, 0),
        (0, 5, DATA, 0),
        (0, 0, HOLE, 0),
        (1, 1, HOLE, 0),
        (1, 1, 3, 0),
        (1, 1, DATA, 1),
        (1, 0, HOLE, 0x100),
    ];
    for (stamp, sum, state, reserved) in cases {
        let mut place = [0; ENTRY_BYTES];
        field::STAMP.put(&mut place, stamp);
        field::CHECKSUM.put(&mut place, sum);
        field::STATE.put(&mut place, state);
        field::RESERVED.put(&mut place, reserved);
        assert!(decode_entry(&place).is_err(), "{stamp} {sum} {state} {reserved}");
    }
}

#[test]
fn bytes_behind_the_entries_are_refused() {
    let own = header(oid(), 5, 9, 3);
    for at in ENTRIES_END..PAGE_BYTES {
        let mut bytes = encode(&own, SALT, &entries());
        bytes[at] = 1;
        let sum = salted_checksum(SALT, &bytes, page::field::CHECKSUM);
        page::field::CHECKSUM.put(&mut bytes, sum);
        let why = WireError::Invalid("reserved bytes of a metadata page");
        assert_eq!(verified(&own, &bytes), Err(why));
    }
}

fn some_entries() -> impl Strategy<Value = Entry> {
    prop_oneof![
        Just(Entry::ABSENT),
        (1..u64::MAX)
            .prop_map(|stamp| Entry { stamp: Stamp::from_wire(stamp), state: BlockState::Hole }),
        (1..u64::MAX, any::<u32>()).prop_map(|(stamp, checksum)| Entry {
            stamp: Stamp::from_wire(stamp),
            state: BlockState::Data { checksum }
        }),
    ]
}

proptest! {
    #[test]
    fn every_page_comes_back_and_no_flipped_bit_does(
        entries in vec(some_entries(), PAGE_BLOCKS as usize),
        (page, slot, version) in (0..64_u32, any::<u32>(), 1..u32::MAX),
        bit in 0..PAGE_BYTES * 8,
    ) {
        let header = header(oid(), page, slot, version);
        let mut bytes = encode(&header, SALT, &entries);
        prop_assert_eq!(verified(&header, &bytes), Ok(entries));
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verified(&header, &bytes).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(
        mut bytes in vec(any::<u8>(), PAGE_BYTES),
        plain in 0..PAGE_BLOCKS as usize,
    ) {
        // Entries that make sense up to some place, and zeros at the end.
        for place in bytes[page::HEADER_BYTES..].chunks_exact_mut(ENTRY_BYTES).take(plain) {
            field::STATE.put(place, DATA);
            field::RESERVED.put(place, 0_u16);
        }
        bytes[ENTRIES_END..].fill(0);
        let mut page = [0; PAGE_BYTES];
        page.copy_from_slice(&bytes);
        if let Ok(entries) = decode(&page) {
            let header = header(oid(), 0, 0, 1);
            let again = encode(&header, SALT, &entries);
            prop_assert_eq!(&again[page::HEADER_BYTES..], &page[page::HEADER_BYTES..]);
        }
    }
}
