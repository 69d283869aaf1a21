use sheepdog_proto::command::{Addresses, Command, Copies};
use sheepdog_proto::{Incarnation, LogIndex, Oid};
use sheepdog_store::bucket_of;

use super::*;

fn formatted(bits: u8) -> ClusterState {
    let mut state = ClusterState::default();
    let mut push = |command: &Command| {
        let index = LogIndex(state.index.0 + 1);
        state.apply(index, command).unwrap();
    };
    for node in 0..3_u32 {
        let (uuid, zone, addresses) = (u128::from(node) + 9, node, Addresses::default());
        push(&Command::Join { uuid, zone, weight: 64, shards: 2, addresses });
    }
    let (copies, partition_bits) = (Copies::Exactly(2), bits);
    push(&Command::Format { cluster: 1, time_ns: 1, partition_bits, object_shift: 22, copies });
    state
}

#[test]
fn a_partition_has_a_part_in_the_buckets_of_its_objects() {
    for bits in [0, 1, 7, 8, 9, 14] {
        for number in 0..2000 {
            let oid = Oid::data(sheepdog_proto::Vid::new(77).unwrap(), number);
            let buckets = buckets_of(oid.partition(bits), bits);
            assert!(buckets.contains(&u32::from(bucket_of(oid))), "{bits} bits, {oid}");
        }
        let parts: usize =
            (0..1_u32 << bits).map(|p| buckets_of(Partition(p as u16), bits).count()).sum();
        assert_eq!(parts, 256.max(1 << bits), "{bits} bits");
    }
}

#[test]
fn only_groups_of_the_sheep_and_of_the_buckets_are_named() {
    let node = NodeId(1);
    for bits in [3, 8, 10] {
        let mut state = formatted(bits);
        let all = taken(&state, node, |_| true);
        let own = |pg: &PgId| state.group(*pg).unwrap().in_sync.contains(&node);
        assert!(!all.is_empty() && all.len() < 1 << bits && all.iter().all(own));
        assert!(taken(&state, node, |_| false).is_empty());
        let low = taken(&state, node, |bucket| bucket < 128);
        let high = taken(&state, node, |bucket| bucket >= 128);
        assert_eq!([low.clone(), high].concat(), all);
        let incarnation = Incarnation(state.members.get(node).unwrap().incarnation.0);
        let index = LogIndex(state.index.0 + 1);
        state.apply(index, &Command::Demote { node, incarnation, groups: low }).unwrap();
        assert!(taken(&state, node, |bucket| bucket < 128).is_empty());
    }
    assert!(taken(&ClusterState::default(), node, |_| true).is_empty());
}
