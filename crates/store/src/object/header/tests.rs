use sheepdog_proto::{Generation, Vid};

use super::*;

fn header() -> Header {
    let oid = Oid::data(Vid::new(7).unwrap(), 3);
    let base = Stamp::new(Generation(2), 9);
    Header { oid, shape: Shape::new(22).unwrap(), base, modified: View(41) }
}

#[test]
fn what_is_encoded_is_verified() {
    let bytes = header().encode();
    assert_eq!(RawHeader(&bytes).verify(header().oid), Ok(header()));
    assert!(!RawHeader(&bytes).is_zero());
    assert!(RawHeader(&[0; HEADER_BYTES]).is_zero());
    assert_eq!(
        header().to_string(),
        "object 0000000700000003 2^22 bytes base 2:9 modified in view 41"
    );
}

#[test]
fn no_flipped_bit_is_taken_for_a_header() {
    let bytes = header().encode();
    for bit in 0..HEADER_BYTES * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(RawHeader(&bad).verify(header().oid).is_err(), "bit {bit}");
    }
}

#[test]
fn the_error_says_what_is_wrong() {
    let other = Oid::data(Vid::new(7).unwrap(), 4);
    let check = |change: fn(&mut [u8; HEADER_BYTES]), oid, expected| {
        let mut bytes = header().encode();
        change(&mut bytes);
        let sum = checksum(&bytes[..field::CHECKSUM.offset]);
        field::CHECKSUM.put(&mut bytes, sum);
        assert_eq!(RawHeader(&bytes).verify(oid), Err(expected));
    };
    let oid = header().oid;
    let misplaced = "object header: it is that of another object";
    check(|_| {}, other, WireError::Invalid(misplaced));
    check(|bytes| bytes[0] = 0, oid, WireError::Invalid("magic of an object file"));
    check(|bytes| field::VERSION.put(bytes, 2_u16), oid, WireError::Version(2));
    check(|bytes| field::SHIFT.put(bytes, 27_u8), oid, WireError::Invalid("object shift"));
    let reserved = "reserved bytes of an object header";
    check(|bytes| bytes[100] = 1, oid, WireError::Invalid(reserved));
}
