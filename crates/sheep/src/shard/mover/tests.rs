use sheepdog_proto::{Stamp, Vid, View};

use super::*;

const ORDER: MoveOrder = MoveOrder { id: 7, bucket: 0, from: 1, to: 2 };

fn moving() -> Moving {
    let copy = BucketCopy::new(ORDER.bucket);
    Moving { order: ORDER, copy, is_double: false, needs_both: false, is_broken: false }
}

/// An object of the bucket that moves, or of another.
fn object(is_in: bool) -> Oid {
    let all = (0..).map(|index| Oid::data(Vid::new(5).unwrap(), index));
    all.into_iter().find(|oid| (bucket_of(*oid) == ORDER.bucket) == is_in).unwrap()
}

fn changes(oid: Oid) -> [Request; 3] {
    let (stamp, view) = (Stamp::from_wire(1 << 40), View(1));
    let reset = Request::Reset { oid, stamp, view };
    let (first_block, count, object_shift) = (0, 1, 22);
    let hole = Request::Hole { oid, object_shift, first_block, count, stamp, view };
    [reset.clone(), hole, Request::Settled(Box::new(reset))]
}

#[test]
fn changes_of_the_bucket_go_to_both_disks_once_the_copy_says_so() {
    let mut moving = moving();
    let (inside, outside) = (object(true), object(false));
    for change in &changes(inside) {
        assert!(moving.other(inside, change).is_none(), "{change:?}");
    }
    moving.is_double = true;
    for needs_both in [false, true] {
        moving.needs_both = needs_both; // MV4
        for change in &changes(inside) {
            let other = moving.other(inside, change).unwrap();
            assert_eq!((other.slot, other.id, other.is_needed), (2, 7, needs_both));
        }
    }
    for change in &changes(outside) {
        assert!(moving.other(outside, change).is_none(), "{change:?}");
    }
}

#[test]
fn reads_go_to_the_disk_that_holds_the_bucket() {
    let mut moving = moving();
    moving.is_double = true;
    let oid = object(true);
    let (first_block, count) = (0, 1);
    for read in
        [Request::Read { oid, first_block, count }, Request::Stamps { oid, first_block, count }]
    {
        assert!(moving.other(oid, &read).is_none(), "{read:?}");
    }
}

#[test]
fn why_a_move_waits_is_said_in_words() {
    assert_eq!(hindrance(Side::Target, &StoreError::Full), "there is no room for its buckets");
    assert!(hindrance(Side::Source, &StoreError::Full).starts_with("it cannot be read: "));
}
