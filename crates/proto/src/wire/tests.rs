use super::*;
use proptest::prelude::*;

#[test]
fn a_reader_refuses_what_is_not_there() {
    let mut reader = Reader::new(&[1, 0]);
    assert_eq!(reader.u32(), Err(WireError::Short));
    assert_eq!(reader.u16(), Ok(1));
    assert_eq!(reader.u8(), Err(WireError::Short));
    assert_eq!(Reader::new(&[0, 1]).zeros(2), Err(WireError::Invalid("reserved bytes")));
    assert_eq!(Reader::new(&[9]).end(), Err(WireError::Invalid("trailing bytes")));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(a: u8, b: u16, c: u32, d: u64, e: u128, text in "\\PC{0,40}") {
        let mut writer = Writer::new();
        writer.u8(a).u16(b).u32(c).u64(d).u128(e).text(&text).zeros(3);
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.u8(), Ok(a));
        prop_assert_eq!(reader.u16(), Ok(b));
        prop_assert_eq!(reader.u32(), Ok(c));
        prop_assert_eq!(reader.u64(), Ok(d));
        prop_assert_eq!(reader.u128(), Ok(e));
        prop_assert_eq!(reader.text(), Ok(text));
        prop_assert_eq!(reader.zeros(3), Ok(()));
        prop_assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn no_bytes_make_a_text_reader_panic(bytes: Vec<u8>) {
        let _ = Reader::new(&bytes).text();
    }
}
