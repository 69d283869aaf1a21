use proptest::prelude::*;
use sheepdog_proto::{Generation, Vid};

use super::*;

fn oid() -> Oid {
    Oid::data(Vid::new(7).unwrap(), 3)
}

fn page() -> Page {
    let mut page = Page::empty(oid(), 5);
    let stamp = |sequence| Stamp::new(Generation(1), sequence);
    page.set_entry(0, Entry { stamp: stamp(4), state: BlockState::Data { checksum: 0xdead_beef } });
    page.set_entry(31, Entry { stamp: stamp(5), state: BlockState::Hole });
    page
}

fn verified(bytes: &[u8; PAGE_BYTES]) -> Result<Option<Page>, WireError> {
    match RawPage(bytes).verify(oid(), 5) {
        PageSlot::Empty => Ok(None),
        PageSlot::Page(page) => Ok(Some(*page)),
        PageSlot::Rotten(why) => Err(why),
    }
}

#[test]
fn what_is_encoded_is_verified() {
    assert_eq!(verified(&page().encode()), Ok(Some(page())));
    assert_eq!(verified(&[0; PAGE_BYTES]), Ok(None));
    // A page whose blocks all went is a page still.
    let empty = Page::empty(oid(), 5);
    assert_eq!(verified(&empty.encode()), Ok(Some(empty)));
}

#[test]
fn no_flipped_bit_is_taken_for_a_page() {
    let bytes = page().encode();
    for bit in 0..PAGE_BYTES * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(verified(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn a_page_of_another_place_is_refused() {
    let bytes = page().encode();
    let elsewhere = WireError::Invalid("metadata page: it belongs elsewhere");
    let other = Oid::data(Vid::new(7).unwrap(), 4);
    for (oid, number) in [(other, 5), (oid(), 6)] {
        let slot = RawPage(&bytes).verify(oid, number);
        assert!(matches!(slot, PageSlot::Rotten(why) if why == elsewhere));
    }
}

#[test]
fn entries_that_mean_nothing_are_refused() {
    // Stamp, checksum, state, reserved.
    let cases: [(u64, u32, u8, u16); 6] =
        [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (1, 1, 1, 0), (1, 1, 3, 0), (1, 1, 2, 1)];
    for (stamp, sum, state, reserved) in cases {
        let mut bytes = page().encode();
        let entry = &mut bytes[field::ENTRIES.offset..field::ENTRIES.offset + ENTRY_BYTES];
        entry_field::STAMP.put(entry, stamp);
        entry_field::CHECKSUM.put(entry, sum);
        entry_field::STATE.put(entry, state);
        entry_field::RESERVED.put(entry, reserved);
        let sum = checksum(&bytes[field::CHECKSUM.end()..]);
        field::CHECKSUM.put(&mut bytes, sum);
        assert!(verified(&bytes).is_err(), "{stamp} {sum} {state} {reserved}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        bytes in proptest::collection::vec(any::<u8>(), PAGE_BYTES),
    ) {
        let mut page = [0; PAGE_BYTES];
        page.copy_from_slice(&bytes);
        field::MAGIC.set(&mut page, &MAGIC);
        field::OID.put(&mut page, oid().get());
        field::NUMBER.put(&mut page, 5_u32);
        field::RESERVED.set(&mut page, &[0; 12]);
        let sum = checksum(&page[field::CHECKSUM.end()..]);
        field::CHECKSUM.put(&mut page, sum);
        // Almost always an entry makes no sense; if all do, they come back as they were.
        if let Ok(Some(decoded)) = verified(&page) {
            prop_assert_eq!(decoded.encode(), page);
        }
    }
}
