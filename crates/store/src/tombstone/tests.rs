use sheepdog_proto::{Generation, Vid};

use super::*;

fn oid(index: u32) -> Oid {
    Oid::data(Vid::new(1).unwrap(), index)
}

fn stamp(sequence: u64) -> Stamp {
    Stamp::new(Generation(1), sequence)
}

#[test]
fn the_newest_reset_and_the_newest_view_count() {
    let mut tombstones = Tombstones::default();
    tombstones.insert(oid(0), stamp(7), View(2));
    tombstones.insert(oid(0), stamp(3), View(5));
    assert_eq!(tombstones.of(oid(0)), Tombstone { base: stamp(7), modified: View(5) });
    assert_eq!(tombstones.of(oid(1)), Tombstone::default());
}

#[test]
fn a_new_segment_keeps_the_unstable_resets() {
    let mut tombstones = Tombstones::default();
    tombstones.insert(oid(0), stamp(7), View(2));
    tombstones.insert(oid(1), stamp(8), View(2));
    let change = |index, sequence, kind| {
        let (stamp, oid) = (stamp(sequence), oid(index));
        Unstable { stamp, oid, first_block: 0, kind, count: 0 }
    };
    let unstable = [change(1, 8, UnstableKind::Reset), change(0, 9, UnstableKind::Write)];
    tombstones.begin_segment(unstable.into_iter());
    assert_eq!(tombstones.of(oid(0)), Tombstone::default());
    assert_eq!(tombstones.of(oid(1)), Tombstone { base: stamp(8), modified: View(0) });
}
