use super::*;

#[test]
fn name_hash_equals_what_old_clients_compute() {
    for (name, vid) in [
        ("alice", 0xa0_3907),
        ("test", 0x7c_2b25),
        ("vm0", 0xc5_96d4),
        ("t1", 0x6a_5e16),
        ("a", 0x01_ec8c),
        ("debian-12.img", 0x47_cf51),
    ] {
        assert_eq!(Vid::hash_of_name(name.as_bytes()).get(), vid, "{name}");
    }
}

#[test]
fn oid_keeps_kind_vid_and_index_apart() {
    let vid = Vid::new(0x6a_5e16).unwrap();
    assert_eq!(Oid::data(vid, 7).get(), 0x006a_5e16_0000_0007);
    assert_eq!(Oid::map(vid, 0).get(), 0x806a_5e16_0000_0000);
    assert_eq!(Oid::vm_state(vid, 1).get(), 0x406a_5e16_0000_0001);
    for oid in [Oid::data(vid, u32::MAX), Oid::map(vid, 3), Oid::vm_state(vid, 9)] {
        assert_eq!(Oid::from_wire(oid.get()), Some(oid));
        assert_eq!(oid.vid(), vid);
    }
    assert_eq!(Oid::from_wire(0), None);
    assert_eq!(Oid::from_wire(1 << 56 | 1 << 32), None);
    assert_eq!(Oid::from_wire(1 << 60 | 1 << 32).unwrap().kind(), ObjectKind::Foreign);
}

#[test]
fn partition_of_an_oid_is_fixed_for_ever() {
    let vid = Vid::new(0x6a_5e16).unwrap();
    let found: Vec<u16> = (0..6).map(|i| Oid::data(vid, i).partition(10).0).collect();
    assert_eq!(found, GOLDEN_PARTITIONS);
    assert_eq!(Oid::data(vid, 0).partition(0), Partition(0));
}

#[test]
fn doubling_the_partitions_splits_each_in_two() {
    for index in 0..1000 {
        let oid = Oid::data(Vid::new(5).unwrap(), index);
        assert_eq!(oid.partition(11).0 >> 1, oid.partition(10).0);
    }
}

#[test]
fn vid_search_wraps_past_the_largest() {
    assert_eq!(Vid::new(Vid::MAX).unwrap().next().get(), 1);
    assert!(Vid::new(0).is_none() && Vid::new(Vid::MAX + 1).is_none());
}

const GOLDEN_PARTITIONS: [u16; 6] = [987, 1012, 1009, 841, 938, 249];
