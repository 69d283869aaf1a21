use super::*;
use crate::local::fixture::check_page;
use proptest::prelude::*;

const PLACE: Place = Place { index: 7, synced: 4, previous: 0x0a0b_0c0d };

fn record(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    emit(&mut bytes, PLACE, 99, Token { life: 3, sequence: 5 }, payload);
    bytes
}

/// Header and body as a reader takes them, with the checks that a reader makes.
fn parse(bytes: &[u8]) -> Result<(Header, Vec<u8>), WireError> {
    let header = Header::parse(bytes)?;
    let mut reader = Reader::new(bytes);
    reader.bytes(HEADER_BYTES)?;
    let body = reader.bytes(header.padded_bytes())?;
    reader.end()?;
    if checksum(body) != header.body_checksum {
        return Err(WireError::Checksum("body"));
    }
    Ok((header, body[..header.body_bytes as usize].to_vec()))
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed(
        index in 1_u64.., behind: u64, session: u128, life: u64, sequence: u64, previous: u32,
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let synced = behind % index;
        let token = Token { life, sequence };
        let mut bytes = Vec::new();
        let chain = emit(&mut bytes, Place { index, synced, previous }, session, token, &payload);
        prop_assert_eq!(bytes.len() % ALIGN_BYTES, 0);
        let (header, body) = parse(&bytes).unwrap();
        prop_assert_eq!(body, payload);
        prop_assert_eq!((header.index, header.synced, header.previous), (index, synced, previous));
        prop_assert_eq!((header.session, header.token, header.checksum), (session, token, chain));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        prop_assert!(Header::parse(&bytes).is_err());
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let good = record(b"thirteen byte"); // R1: padding included
    assert!(parse(&good).is_ok());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_found() {
    let good = record(b"payload");
    for length in 0..good.len() {
        assert!(parse(&good[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_sound_header_of_another_version_is_named_not_called_damaged() {
    let mut bytes = record(b"");
    bytes[4] = 2;
    let sum = checksum(&bytes[..CHECKED_BYTES]);
    bytes[CHECKED_BYTES..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(Header::parse(&bytes), Err(WireError::Version(2)));
}

#[test]
fn fields_stand_where_the_layout_says_and_the_page_draws_it() {
    let bytes = record(b"abc");
    let field = |name: &str| {
        let (_, start, length) = LAYOUT.iter().find(|field| field.0 == name).unwrap();
        let mut value = [0; 16];
        value[..*length].copy_from_slice(&bytes[*start..start + length]);
        u128::from_le_bytes(value)
    };
    assert_eq!(&bytes[..4], b"SDCL");
    assert_eq!(field("version"), 1);
    assert_eq!((field("index"), field("synced"), field("previous")), (7, 4, 0x0a0b_0c0d));
    assert_eq!((field("session"), field("life"), field("sequence")), (99, 3, 5));
    assert_eq!(field("body_bytes"), 3);
    assert_eq!(field("body_checksum"), u128::from(checksum(b"abc\0\0\0\0\0")));
    assert_eq!(field("header_checksum"), u128::from(checksum(&bytes[..CHECKED_BYTES])));
    check_page("Record header", &LAYOUT, HEADER_BYTES);
}
