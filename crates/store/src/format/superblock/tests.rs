use proptest::prelude::*;

use super::*;

fn superblock() -> Superblock {
    Superblock {
        node: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
        shard: 3,
        salt: 0x0123_4567_89ab_cdef,
        segment_bytes: 8 << 20,
    }
}

/// A copy that was changed by somebody who knows how to compute a checksum.
fn changed(change: impl FnOnce(&mut [u8])) -> Result<Superblock, WireError> {
    let mut bytes = superblock().encode();
    change(&mut bytes);
    let sum = checksum(&bytes[..field::CHECKSUM.offset]);
    field::CHECKSUM.put(&mut bytes, sum);
    Superblock::verify(&bytes)
}

#[test]
fn what_is_encoded_is_verified() {
    assert_eq!(Superblock::verify(&superblock().encode()), Ok(superblock()));
}

#[test]
fn no_flipped_bit_is_taken_for_a_superblock() {
    let bytes = superblock().encode();
    for bit in 0..COPY_BYTES * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Superblock::verify(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn the_error_says_what_is_wrong() {
    let invalid = |what| Err(WireError::Invalid(what));
    assert_eq!(changed(|_| {}), Ok(superblock()));
    assert_eq!(changed(|bytes| bytes[0] = 0), invalid("magic of a store's superblock"));
    assert_eq!(Superblock::verify(&[0; COPY_BYTES]), invalid("magic of a store's superblock"));
    assert_eq!(changed(|bytes| field::VERSION.put(bytes, 2_u16)), Err(WireError::Version(2)));
    let other = "field of a store's superblock";
    assert_eq!(changed(|bytes| field::UNIT_SHIFT.put(bytes, 17_u8)), invalid(other));
    assert_eq!(changed(|bytes| bytes[field::ZERO.end() - 1] = 1), invalid(other));
    for bytes in [0, SEGMENT_BYTES_MIN - 4096, SEGMENT_BYTES_MIN + 512, u64::MAX] {
        assert_eq!(changed(|copy| field::SEGMENT_BYTES.put(copy, bytes)), invalid(other));
    }
    for at in [field::RESERVED.offset, field::RESERVED.end() - 1] {
        assert_eq!(changed(|bytes| bytes[at] = 1), invalid(other));
    }
}

proptest! {
    #[test]
    fn every_superblock_comes_back(node: u128, shard: u16, salt: u64, pages in 138..1_u64 << 40) {
        let superblock = Superblock { node, shard, salt, segment_bytes: pages * 4096 };
        prop_assert_eq!(Superblock::verify(&superblock.encode()), Ok(superblock));
    }

    #[test]
    fn no_bytes_make_the_check_panic(bytes in proptest::collection::vec(any::<u8>(), COPY_BYTES)) {
        let copy = bytes.first_chunk::<COPY_BYTES>().unwrap();
        prop_assert!(Superblock::verify(copy).is_err());
    }
}
