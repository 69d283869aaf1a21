use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn cuts_cover_the_range_once_and_cross_no_object(
        offset in 0_u64..40_000_000, len in 0_u64..20_000_000, shift in 20_u32..24,
    ) {
        let object = 1_u64 << shift;
        let mut at = offset;
        for cut in cut(offset, len, object, u64::from(PIECE_BLOCKS)) {
            prop_assert_eq!(u64::from(cut.index) * object + cut.bytes.start, at);
            prop_assert_eq!(cut.at as u64, at - offset);
            prop_assert!(cut.bytes.end <= object && cut.len() > 0);
            prop_assert!(cut.blocks().len() as u32 <= PIECE_BLOCKS);
            at += cut.len() as u64;
        }
        prop_assert_eq!(at, offset + len);
    }

    #[test]
    fn edges_are_partial_blocks_and_the_middle_is_whole(
        offset in 0_u64..20_000, len in 0_u64..20_000,
    ) {
        let mut at = offset;
        for (part, whole) in split_edges(offset, len) {
            prop_assert_eq!(part.start, at);
            at = part.end;
            if whole {
                prop_assert!(part.start % BLOCK == 0 && part.end % BLOCK == 0);
            } else {
                prop_assert!(part.start / BLOCK == (part.end - 1) / BLOCK, "one block");
            }
        }
        prop_assert_eq!(at, offset + len);
    }
}

#[test]
fn a_write_inside_one_block_stays_one_part() {
    assert_eq!(split_edges(100, 50), [(100..150, false)]);
    assert_eq!(split_edges(4096, 4096), [(4096..8192, true)]);
    assert_eq!(split_edges(4000, 200), [(4000..4096, false), (4096..4200, false)]);
}
