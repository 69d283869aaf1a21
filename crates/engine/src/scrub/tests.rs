use super::*;
use sheepdog_proto::{Generation, Payload, Stamp};

fn meta(stamp: u64, state: BlockState) -> BlockMeta {
    BlockMeta { stamp: Stamp::new(Generation(1), stamp), checksum: 0, state }
}

fn pulled(blocks: Vec<BlockMeta>, unstable: &[u64]) -> Pulled {
    let unstable = unstable.iter().map(|stamp| Stamp::new(Generation(1), *stamp)).collect();
    Pulled { base: Stamp::NONE, unstable, blocks, data: Payload::empty() }
}

#[test]
fn what_is_under_way_is_no_difference() {
    let (old, new) = (meta(4, BlockState::Data), meta(9, BlockState::Data));
    let found = |open_here: &[u64], open_there: &[u64]| {
        let (ours, theirs) = (pulled(vec![old], open_here), pulled(vec![new], open_there));
        differences(7, &ours, &theirs)
    };
    let [difference] = found(&[], &[3])[..] else { panic!("one block differs") };
    assert_eq!((difference.block, difference.is_behind()), (7, true));
    assert_eq!(found(&[], &[9]), [], "SC1");
    assert_eq!(found(&[4], &[]), [], "SC1");
}

#[test]
fn a_base_that_one_copy_forgot_is_no_difference_but_a_lost_block_is() {
    let absent = |stamp| meta(stamp, BlockState::Absent);
    let blocks = |last| vec![absent(0), last];
    let equal = differences(0, &pulled(blocks(absent(0)), &[]), &pulled(blocks(absent(3)), &[]));
    assert_eq!(equal, []);
    let data = meta(5, BlockState::Data);
    let lost = differences(0, &pulled(blocks(absent(0)), &[]), &pulled(blocks(data), &[]));
    assert_eq!((lost.len(), lost[0].is_behind()), (1, true));
    let damaged = BlockMeta { checksum: 1, ..data };
    let unequal = differences(0, &pulled(vec![data], &[]), &pulled(vec![damaged], &[]));
    assert_eq!((unequal.len(), unequal[0].is_behind()), (1, false));
}

#[test]
fn only_what_is_seen_twice_counts() {
    let found = |ours: u64, theirs: u64| {
        let (ours, theirs) = (meta(ours, BlockState::Data), meta(theirs, BlockState::Data));
        differences(0, &pulled(vec![ours], &[]), &pulled(vec![theirs], &[]))
    };
    assert_eq!(confirmed(&found(4, 5), found(5, 6)), [], "SC2: it is written all the time");
    assert_eq!(confirmed(&found(4, 5), found(4, 5)).len(), 1);
}
