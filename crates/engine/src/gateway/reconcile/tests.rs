use super::*;
use sheepdog_proto::{Buffer, Generation, NodeId, Vid};

fn copy(node: u16, stamp: u64, state: BlockState) -> Copy {
    let oid = Oid::data(Vid::new(1).unwrap(), 0);
    let bytes = Buffer::copy_of(&[node as u8; BLOCK_BYTES]).share();
    let checksum = sheepdog_proto::block_checksum(oid, 5, &bytes);
    let stamp = Stamp::new(Generation(1), stamp);
    let data = if state == BlockState::Data { bytes } else { Payload::empty() };
    (Place { node: NodeId(node), shard: 0 }, vec![BlockMeta { stamp, checksum, state }], data)
}

fn repaired(copies: &[Copy]) -> Option<(Mutation, Stamp)> {
    repair(Oid::data(Vid::new(1).unwrap(), 0), 5, 0, copies)
}

#[test]
fn equal_copies_need_no_repair() {
    let data = BlockState::Data;
    assert!(repaired(&[copy(0, 4, data), copy(1, 4, data)]).is_none());
}

#[test]
fn the_newest_copy_wins_with_its_own_stamp() {
    let data = BlockState::Data;
    let repair = repaired(&[copy(0, 4, data), copy(1, 9, data), copy(2, 0, BlockState::Absent)]);
    let Some((Mutation::Write { first, data, .. }, stamp)) = repair else { panic!("{repair:?}") };
    assert_eq!((first, data[0], stamp), (5, 1, Stamp::new(Generation(1), 9))); // N2
    let hole = repaired(&[copy(0, 4, data_state()), copy(1, 9, BlockState::Hole)]);
    assert!(matches!(hole, Some((Mutation::Hole { first: 5, count: 1 }, _))));
}

fn data_state() -> BlockState {
    BlockState::Data
}

#[test]
fn neighbouring_blocks_are_compared_together() {
    let blocks: BTreeSet<u32> = [1, 2, 3, 7].into_iter().chain(300..600).collect();
    assert_eq!(runs(&blocks), [(1, 3), (7, 1), (300, 256), (556, 44)]);
}
