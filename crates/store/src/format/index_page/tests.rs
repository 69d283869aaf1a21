use proptest::collection::vec;
use proptest::prelude::*;
use sheepdog_proto::Vid;

use super::*;
use crate::format::salted_checksum;

const SALT: u64 = 0x5a17;
const SLOTS: usize = PAGE_SLOTS as usize;

fn slot() -> Slot {
    let mut units = [0; FRAGMENT_UNITS];
    (units[0], units[15]) = (1, u32::MAX);
    Slot {
        oid: Oid::data(Vid::new(7).unwrap(), 3),
        shape: Shape::new(26).unwrap(),
        base: Stamp::from_wire(1),
        newest: Stamp::from_wire(2),
        modified: View(3),
        fragment: 15,
        units,
        versions: [4, 5, 0, u32::MAX],
        present: [256, 1, 0, 255],
    }
}

fn slots() -> Vec<Option<Slot>> {
    let mut slots = vec![None; SLOTS];
    (slots[0], slots[30]) = (Some(slot()), Some(Slot { fragment: 0, ..slot() }));
    slots
}

fn verified(wanted: &PageHeader, bytes: &[u8; PAGE_BYTES]) -> Result<Vec<Option<Slot>>, WireError> {
    wanted.verify(SALT, bytes)?;
    decode(bytes)
}

/// A page of which one slot was changed by somebody who knows the salt.
fn changed(change: impl FnOnce(&mut [u8])) -> Result<Vec<Option<Slot>>, WireError> {
    let header = header(2, 9);
    let mut bytes = encode(&header, SALT, &slots());
    change(&mut bytes[page::HEADER_BYTES..page::HEADER_BYTES + SLOT_BYTES]);
    let sum = salted_checksum(SALT, &bytes, page::field::CHECKSUM);
    page::field::CHECKSUM.put(&mut bytes, sum);
    verified(&header, &bytes)
}

#[test]
fn what_is_encoded_is_verified() {
    let header = header(2, 9);
    let bytes = encode(&header, SALT, &slots());
    assert_eq!(verified(&header, &bytes), Ok(slots()));
    let free = vec![None; SLOTS];
    assert_eq!(verified(&header, &encode(&header, SALT, &free)), Ok(free)); // IX2
}

#[test]
fn another_page_version_or_store_is_refused() {
    let bytes = encode(&header(2, 9), SALT, &slots());
    let place = WireError::Invalid("place of a page");
    assert_eq!(verified(&header(3, 9), &bytes), Err(place));
    let version = WireError::Invalid("version of a page");
    assert_eq!(verified(&header(2, 8), &bytes), Err(version));
    let other = header(2, 9).verify(SALT + 1, &bytes);
    assert_eq!(other, Err(WireError::Checksum("page")));
}

#[test]
fn slots_that_mean_nothing_are_refused() {
    let invalid = Err(WireError::Invalid("slot of the index"));
    assert_eq!(changed(|_| {}), Ok(slots()));
    assert_eq!(changed(|slot| field::OID.put(slot, 0_u64)), invalid);
    assert_eq!(changed(|slot| field::SHIFT.put(slot, 19_u8)), invalid);
    assert_eq!(changed(|slot| field::SHIFT.put(slot, 27_u8)), invalid);
    // Fragments that the object does not have.
    assert_eq!(changed(|slot| field::FRAGMENT.put(slot, 16_u16)), invalid);
    assert_eq!(changed(|slot| field::SHIFT.put(slot, 25_u8)), invalid);
    // More blocks than a page has.
    assert_eq!(changed(|slot| field::PRESENT.of_mut(slot)[..2].fill(1)), invalid);
    for at in field::RESERVED.offset..field::RESERVED.end() {
        assert_eq!(changed(|slot| slot[at] = 1), invalid);
    }
}

#[test]
fn bytes_behind_the_slots_are_refused() {
    let header = header(2, 9);
    for at in page::HEADER_BYTES + SLOTS * SLOT_BYTES..PAGE_BYTES {
        let mut bytes = encode(&header, SALT, &slots());
        bytes[at] = 1;
        let sum = salted_checksum(SALT, &bytes, page::field::CHECKSUM);
        page::field::CHECKSUM.put(&mut bytes, sum);
        let why = WireError::Invalid("reserved bytes of an index page");
        assert_eq!(verified(&header, &bytes), Err(why));
    }
}

fn some_slots() -> impl Strategy<Value = Option<Slot>> {
    let oid = (1..=Vid::MAX).prop_filter_map("a vid", Vid::new).prop_map(|vid| Oid::map(vid, 1));
    let shape = (20..=26_u8).prop_filter_map("a shape", Shape::new);
    let place = shape.prop_flat_map(|shape| (Just(shape), 0..shape.fragments() as u16));
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    let units = proptest::array::uniform16(any::<u32>());
    let versions = proptest::array::uniform4(any::<u32>());
    let present = proptest::array::uniform4(0..=256_u16);
    let slot = (oid, place, numbers, units, versions, present).prop_map(
        |(oid, (shape, fragment), (base, newest, view), units, versions, present)| Slot {
            oid,
            shape,
            base: Stamp::from_wire(base),
            newest: Stamp::from_wire(newest),
            modified: View(view),
            fragment,
            units,
            versions,
            present,
        },
    );
    prop_oneof![Just(None), slot.prop_map(Some)]
}

proptest! {
    #[test]
    fn every_page_comes_back_and_no_flipped_bit_does(
        slots in vec(some_slots(), SLOTS),
        (number, version) in (any::<u32>(), 1..u32::MAX),
        bit in 0..PAGE_BYTES * 8,
    ) {
        let header = header(number, version);
        let mut bytes = encode(&header, SALT, &slots);
        prop_assert_eq!(verified(&header, &bytes), Ok(slots));
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verified(&header, &bytes).is_err());
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        slot in some_slots().prop_filter_map("in use", |slot| slot),
        bit in 0..SLOT_BYTES * 8,
    ) {
        let mut bytes = [0; SLOT_BYTES];
        slot.encode(&mut bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(Some(decoded)) = Slot::decode(&bytes) {
            let mut again = [0; SLOT_BYTES];
            decoded.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), PAGE_BYTES)) {
        let mut page = [0; PAGE_BYTES];
        page.copy_from_slice(&bytes);
        let _ = decode(&page);
    }
}
