use sheepdog_proto::Vid;

use super::*;

fn taken(units: &mut Units, count: usize) -> Vec<u32> {
    (0..count).map(|_| units.take().0).collect()
}

fn owner(index: u32) -> (Oid, u16) {
    (Oid::data(Vid::new(1).unwrap(), index), 0)
}

#[test]
fn a_unit_that_left_use_is_free_only_after_a_checkpoint_of_a_later_segment() {
    let mut units = Units::default();
    assert_eq!(taken(&mut units, 3), [0, 1, 2]);
    units.leave(5, 1);
    assert!(units.is_leaving(1));
    for segment in [4, 5] {
        units.release(segment);
        assert_eq!((units.warm(), units.leaving()), (0, 1), "segment {segment}"); // SP1
    }
    assert_eq!(units.take(), (3, false));
    units.release(6);
    assert_eq!((units.warm(), units.leaving()), (1, 0));
    assert_eq!(units.take(), (1, true));
}

#[test]
fn a_unit_into_which_something_is_written_is_not_given_away() {
    let mut units = Units::default();
    assert_eq!(taken(&mut units, 2), [0, 1]);
    units.begin_write(0);
    units.begin_write(0);
    units.leave(1, 0);
    units.leave(1, 1);
    units.end_write(0);
    assert!(units.is_busy(0));
    units.release(2);
    assert_eq!(taken(&mut units, 2), [1, 2]); // SP1
    units.end_write(0);
    assert!(!units.is_busy(0));
    assert_eq!(units.take(), (3, false));
    units.release(3);
    assert_eq!(units.take(), (0, true));
}

#[test]
fn warm_units_come_before_cold_ones_and_those_before_new_ones() {
    let mut units = Units::default();
    assert_eq!(taken(&mut units, 4), [0, 1, 2, 3]);
    for unit in [0, 2, 3] {
        units.give_back(unit);
    }
    assert_eq!(units.take_surplus(1), [3, 2]); // SP2
    assert_eq!(units.warm(), 1);
    // Between the two nobody has them.
    units.cool(2);
    assert_eq!([units.take(), units.take(), units.take()], [(0, true), (2, false), (4, false)]);
    units.cool(3);
    assert_eq!(units.take(), (3, false));
    assert_eq!(units.end(), 5);
}

#[test]
fn after_replay_everything_below_the_last_unit_is_used_leaving_or_warm() {
    let mut units = Units::default();
    units.leave(4, 6);
    units.leave(4, 1);
    units.rebuild(&BTreeSet::from([0, 3]));
    assert_eq!((units.end(), units.warm()), (7, 3));
    assert_eq!(taken(&mut units, 4), [2, 4, 5, 7]);
    units.release(5);
    assert_eq!(taken(&mut units, 2), [1, 6]);
    let mut empty = Units::default();
    empty.rebuild(&BTreeSet::new());
    assert_eq!((empty.end(), empty.take()), (0, (0, false)));
}

#[test]
fn no_unit_is_ever_taken_twice() {
    let mut dice = crate::disk::fake::Dice::new(1);
    let (mut units, mut used) = (Units::default(), BTreeSet::new());
    let mut leaving: Vec<(u32, u32)> = Vec::new();
    for segment in 1..200 {
        for _ in 0..dice.below(6) {
            let unit = units.take().0;
            assert!(used.insert(unit), "unit {unit} is used twice");
        }
        for _ in 0..dice.below(6) {
            let is_leaving = |unit: &u32| leaving.iter().any(|(_, left)| left == unit);
            let mut candidates = used.iter().copied().filter(|unit| !is_leaving(unit));
            let Some(unit) = candidates.nth(dice.below(8) as usize) else { continue };
            units.leave(segment, unit);
            leaving.push((segment, unit));
        }
        if dice.below(3) == 0 {
            let is_free = |(left, _): &mut (u32, u32)| *left < segment;
            for (_, unit) in leaving.extract_if(.., is_free) {
                used.remove(&unit);
            }
            units.release(segment);
            for unit in units.take_surplus(2) {
                units.cool(unit);
            }
        }
    }
    assert!(units.end() < 200, "units are used again");
}

#[test]
fn a_slot_that_left_use_is_free_only_after_a_checkpoint_of_a_later_segment() {
    let mut slots = Slots::default();
    assert_eq!((slots.peek(), slots.take(owner(1))), (0, 0));
    assert_eq!((slots.peek(), slots.take(owner(2))), (1, 1));
    slots.leave(5, 0);
    assert_eq!((slots.owner(0), slots.owner(1)), (None, Some(owner(2))));
    slots.release(5);
    assert_eq!((slots.peek(), slots.take(owner(3))), (2, 2)); // SP1
    slots.release(6);
    assert_eq!((slots.peek(), slots.take(owner(4))), (0, 0));
    assert_eq!((slots.len(), slots.owner(0), slots.owner(3)), (3, Some(owner(4)), None));
}

#[test]
fn slots_that_the_index_has_are_filled_before_it_grows() {
    let mut slots = Slots::default();
    slots.extend(31);
    slots.set(0, owner(1));
    slots.set(2, owner(2));
    assert_eq!((slots.len(), slots.peek()), (31, 1));
    let next: Vec<u32> = (3..33).map(|index| slots.take(owner(index))).collect();
    let expected: Vec<u32> = std::iter::once(1).chain(3..32).collect();
    assert_eq!(next, expected);
    assert_eq!(slots.len(), 32);
}
