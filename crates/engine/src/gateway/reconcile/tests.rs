use super::*;
use sheepdog_proto::{Buffer, Generation, Vid};

fn oid() -> Oid {
    Oid::data(Vid::new(1).unwrap(), 0)
}

fn copy(fill: u8, stamp: u64, state: BlockState) -> Copy {
    let bytes = Buffer::copy_of(&[fill; BLOCK_BYTES]).share();
    let checksum = sheepdog_proto::block_checksum(oid(), 5, &bytes);
    let stamp = Stamp::new(Generation(1), stamp);
    let data = if state == BlockState::Data { bytes } else { Payload::empty() };
    Some((vec![BlockMeta { stamp, checksum, state }], data))
}

/// The first byte of the block that is written to all, or "hole", or "none".
fn check(copies: &[Copy], expect: &str) {
    check_beside(false, copies, expect);
}

fn check_beside(has_joiners: bool, copies: &[Copy], expect: &str) {
    let others = Others { has_joiners, may_lack_object: false };
    let found = match repair(oid(), 5, 0, copies, others) {
        None => "none".to_owned(),
        Some((Mutation::Write { first: 5, data, .. }, _)) => data[0].to_string(),
        Some((Mutation::Hole { first: 5, count: 1 }, _)) => "hole".to_owned(),
        Some(other) => format!("{other:?}"),
    };
    assert_eq!(found, expect, "{copies:?}");
}

#[test]
fn equal_copies_are_written_anew_for_whoever_is_away() {
    let data = BlockState::Data;
    check(&[copy(7, 4, data), copy(7, 4, data)], "7");
    check(&[copy(0, 4, BlockState::Hole)], "hole");
}

#[test]
fn what_no_copy_has_needs_no_repair_but_for_a_joiner() {
    let absent = || [copy(0, 0, BlockState::Absent), copy(0, 3, BlockState::Absent)];
    check(&absent(), "none");
    check_beside(true, &absent(), "hole");
    check(&[copy(0, 0, BlockState::Absent), copy(0, 3, BlockState::Absent)], "none");
    check(&[None, None], "none");
}

#[test]
fn nobody_makes_an_object_that_nobody_has_unless_it_was_reset() {
    let absent = [copy(0, 0, BlockState::Absent)];
    let needs = |may_lack_object| {
        let others = Others { has_joiners: true, may_lack_object };
        repair(oid(), 5, 0, &absent, others).map(|(_, needs)| needs)
    };
    assert_eq!(needs(false), Some(Needs::Object));
    assert_eq!(needs(true), Some(Needs::Nothing), "it may be on the joiner already");
}

#[test]
fn the_newest_copy_wins() {
    let data = BlockState::Data;
    check(&[copy(7, 4, data), copy(8, 9, data), copy(0, 0, BlockState::Absent)], "8");
    check(&[copy(7, 4, data), copy(0, 9, BlockState::Hole)], "hole");
}

#[test]
fn a_copy_that_cannot_be_read_makes_the_choice_final() {
    let data = BlockState::Data;
    check(&[None, copy(7, 4, data), copy(7, 4, data)], "7"); // N2
    check(&[None, copy(0, 0, BlockState::Absent)], "hole");
}

#[test]
fn neighbouring_blocks_are_compared_together() {
    let blocks: BTreeSet<u32> = [1, 2, 3, 7].into_iter().chain(300..600).collect();
    assert_eq!(runs(&blocks), [(1, 3), (7, 1), (300, 256), (556, 44)]);
}
