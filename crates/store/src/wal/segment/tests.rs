use super::*;

const HEADER: SegmentHeader = SegmentHeader { segment: 9, previous: 77, previous_batches: 5 };

#[test]
fn what_is_encoded_is_verified() {
    let (bytes, sum) = HEADER.encode(1234);
    assert_eq!(SegmentHeader::verify(1234, &bytes), Ok((HEADER, sum)));
    assert_eq!(HEADER.to_string(), "log segment 9");
    assert_eq!(
        SegmentHeader::verify(1235, &bytes),
        Err(WireError::Checksum("segment header")),
        "another store's"
    );
}

#[test]
fn no_flipped_bit_is_taken_for_a_segment() {
    let (bytes, _) = HEADER.encode(1234);
    for bit in 0..HEADER_BYTES * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::verify(1234, &bad).is_err(), "bit {bit}");
    }
}
