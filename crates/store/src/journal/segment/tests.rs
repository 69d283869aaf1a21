use super::*;

#[test]
fn what_is_encoded_is_verified() {
    let header = SegmentHeader { sequence: 9, salt: 1234 };
    let (bytes, sum) = header.encode();
    assert_eq!(RawSegmentHeader(&bytes).verify(), Ok((header, sum)));
    assert_eq!(header.to_string(), "journal segment 9");
}

#[test]
fn no_flipped_bit_is_taken_for_a_segment() {
    let (bytes, _) = SegmentHeader { sequence: 9, salt: 1234 }.encode();
    for bit in 0..HEADER_BYTES * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(RawSegmentHeader(&bad).verify().is_err(), "bit {bit}");
    }
}
