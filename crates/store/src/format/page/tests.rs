use proptest::prelude::*;

use super::*;

const SALT: u64 = 0x5a17;
const HEADER: PageHeader =
    PageHeader { kind: Kind::Meta, version: 7, number: 21, owner: 0x0a_0000_0001, part: 5 };

fn sealed(header: &PageHeader, salt: u64) -> [u8; PAGE_BYTES] {
    let mut page = [0; PAGE_BYTES];
    for (place, byte) in (0_u32..).zip(&mut page[HEADER_BYTES..]) {
        *byte = (place % 251) as u8;
    }
    header.seal(salt, &mut page);
    page
}

/// A page whose header was changed by somebody who knows the salt.
fn resealed(change: impl FnOnce(&mut [u8; PAGE_BYTES])) -> [u8; PAGE_BYTES] {
    let mut page = sealed(&HEADER, SALT);
    change(&mut page);
    let sum = salted_checksum(SALT, &page, field::CHECKSUM);
    field::CHECKSUM.put(&mut page, sum);
    page
}

#[test]
fn what_is_sealed_is_verified() {
    assert_eq!(HEADER.verify(SALT, &sealed(&HEADER, SALT)), Ok(()));
    let index = PageHeader { kind: Kind::Index, version: 1, number: 0, owner: 0, part: 0 };
    assert_eq!(index.verify(SALT, &sealed(&index, SALT)), Ok(()));
}

#[test]
fn no_flipped_bit_is_taken_for_a_page() {
    let page = sealed(&HEADER, SALT);
    // All bits of the header, and one of each byte of the body.
    let body = (HEADER_BYTES..PAGE_BYTES).map(|at| at * 8 + at % 8);
    for bit in (0..HEADER_BYTES * 8).chain(body) {
        let mut bad = page;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(HEADER.verify(SALT, &bad).is_err(), "bit {bit}");
    }
}

#[test]
fn another_place_another_owner_and_another_version_are_refused() {
    let page = sealed(&HEADER, SALT);
    let elsewhere = [
        PageHeader { kind: Kind::Index, ..HEADER },
        PageHeader { number: 22, ..HEADER },
        PageHeader { owner: 0x0a_0000_0002, ..HEADER },
        PageHeader { part: 4, ..HEADER },
    ];
    for wanted in elsewhere {
        let why = WireError::Invalid("place of a page"); // FM3
        assert_eq!(wanted.verify(SALT, &page), Err(why), "{wanted:?}");
    }
    for version in [6, 8, 0] {
        let wanted = PageHeader { version, ..HEADER };
        let why = WireError::Invalid("version of a page"); // PG1
        assert_eq!(wanted.verify(SALT, &page), Err(why));
    }
}

#[test]
fn a_page_of_another_store_is_refused() {
    let page = sealed(&HEADER, SALT);
    assert_eq!(HEADER.verify(SALT + 1, &page), Err(WireError::Checksum("page"))); // FM2
}

#[test]
fn the_error_says_what_is_wrong() {
    let check = |page, why| assert_eq!(HEADER.verify(SALT, &page), Err(why));
    check([0; PAGE_BYTES], WireError::Invalid("magic of a page"));
    check(resealed(|page| page[0] = 0), WireError::Invalid("magic of a page"));
    let reserved = WireError::Invalid("reserved bytes of a page");
    check(resealed(|page| field::ZERO.set(page, &[0, 1, 0])), reserved);
    check(resealed(|page| page[field::RESERVED.offset + 27] = 1), reserved);
}

#[test]
fn of_two_copies_the_wanted_version_counts_wherever_it_is() {
    let (old, new) = (PageHeader { version: 6, ..HEADER }, HEADER);
    let (old_page, new_page) = (sealed(&old, SALT), sealed(&new, SALT));
    let both = [new_page, old_page].concat();
    assert_eq!(choose_copy(&new, SALT, &both), Ok((0, &new_page)));
    assert_eq!(choose_copy(&old, SALT, &both), Ok((1, &old_page)));
    let swapped = [old_page, new_page].concat();
    assert_eq!(choose_copy(&new, SALT, &swapped), Ok((1, &new_page)));
    // A lost write: the version that is wanted is nowhere.
    let version = WireError::Invalid("version of a page");
    let magic = WireError::Invalid("magic of a page");
    let lost = [old_page, [0; PAGE_BYTES]].concat();
    assert_eq!(choose_copy(&new, SALT, &lost), Err([version, magic]));
    let short = &lost[..PAGE_BYTES + 100];
    assert_eq!(choose_copy(&new, SALT, short), Err([version, WireError::Short]));
}

#[test]
fn copies_are_neighbours_and_pages_do_not_overlap() {
    let offsets: Vec<u64> =
        (0..3).flat_map(|number| [copy_offset(number, 0), copy_offset(number, 1)]).collect();
    assert_eq!(offsets, [0, 4096, 8192, 12288, 16384, 20480]);
}

fn headers() -> impl Strategy<Value = PageHeader> {
    let kind = prop_oneof![Just(Kind::Meta), Just(Kind::Index)];
    (kind, any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
        |(kind, version, number, owner, part)| PageHeader { kind, version, number, owner, part },
    )
}

proptest! {
    #[test]
    fn a_page_is_verified_as_itself_and_as_no_other(
        header in headers(),
        other in headers(),
        salt: u64,
    ) {
        let page = sealed(&header, salt);
        prop_assert_eq!(header.verify(salt, &page), Ok(()));
        prop_assert_eq!(other.verify(salt, &page).is_ok(), other == header);
    }

    #[test]
    fn no_bytes_make_the_check_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..2 * PAGE_BYTES),
        is_magic: bool,
    ) {
        let mut bytes = bytes;
        if is_magic && bytes.len() >= PAGE_BYTES {
            bytes[..4].copy_from_slice(&MAGIC);
        }
        prop_assert!(choose_copy(&HEADER, SALT, &bytes).is_err());
    }
}
