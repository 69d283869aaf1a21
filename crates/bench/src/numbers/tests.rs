use super::*;

fn rounds(name: &str, values: &[f64]) -> Vec<Numbers> {
    values.iter().map(|value| Numbers::from([(name.to_owned(), *value)])).collect()
}

#[test]
fn the_median_is_in_the_middle_of_any_order() {
    assert_eq!(Spread::of([]), None);
    assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
    assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
}

#[test]
fn ratios_are_taken_round_by_round() {
    let (one, other) = (rounds(IOPS, &[10.0, 100.0, 30.0]), rounds(IOPS, &[20.0, 200.0, 30.0]));
    let ratio = ratio(&one, &other, IOPS).unwrap();
    assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 0.5, 1.0));
}

#[test]
fn what_was_not_measured_has_no_spread_and_no_ratio() {
    let rounds = rounds(IOPS, &[10.0]);
    assert_eq!(spread(&rounds, SYNCS), None);
    assert_eq!(ratio(&rounds, &[], IOPS), None);
    assert_eq!(ratio(&rounds, &[Numbers::from([(IOPS.to_owned(), 0.0)])], IOPS), None);
}
