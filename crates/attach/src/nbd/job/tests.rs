use proptest::prelude::*;

use super::*;

fn parts(offset: u64, len: u32) -> Vec<(u64, u32)> {
    Parts::of(&Request { flags: 0, command: 0, cookie: 0, offset, len }).collect()
}

#[test]
fn a_range_is_cut_where_a_mebibyte_begins() {
    assert_eq!(parts(5, 0), []);
    assert_eq!(parts(4096, 4096), [(4096, 4096)]);
    assert_eq!(parts(0, 1 << 20), [(0, 1 << 20)]);
    assert_eq!(parts((1 << 20) - 1, 2), [((1 << 20) - 1, 1), (1 << 20, 1)]);
    assert_eq!(parts(0, 32 << 20).len(), 32);
}

proptest! {
    #[test]
    fn parts_cover_a_range_and_cut_no_block(offset in 0..1_u64 << 50, len in 0..40_u32 << 20) {
        let parts = parts(offset, len);
        let mut next = offset;
        for (start, len) in &parts {
            prop_assert_eq!(*start, next);
            prop_assert!(*len > 0 && u64::from(*len) <= PART_BYTES);
            prop_assert_eq!(start / PART_BYTES, (start + u64::from(*len) - 1) / PART_BYTES);
            next += u64::from(*len);
        }
        prop_assert_eq!(next, offset + u64::from(len));
        // T3: every border inside the range is one between blocks.
        prop_assert!(parts.iter().skip(1).all(|(start, _)| start % BLOCK_BYTES as u64 == 0));
    }
}

#[test]
fn an_answer_of_another_length_or_kind_is_an_error() {
    let payload = Payload::from(&[1_u8; 10][..]);
    assert!(bytes_of(Ok(Answer::Data(payload.clone())), 10).is_ok());
    for len in [0, 9, 11] {
        let wrong = bytes_of(Ok(Answer::Data(payload.clone())), len); // T2
        assert_eq!(wrong.unwrap_err().errno, errno::EIO);
    }
    assert!(bytes_of(Ok(Answer::Done), 10).is_err());
    assert!(bytes_of(Ok(Answer::Extents(Vec::new())), 0).is_err());
}
