use super::*;

#[test]
fn every_value_comes_back_within_a_sixty_fourth() {
    let mut value = 1_u64;
    while value < 1 << 45 {
        for near in [value - 1, value, value + 1, value + value / 3] {
            let back = middle_of(slot_of(near) as u64);
            assert!(back.abs_diff(near) * 64 <= near, "{near} comes back as {back}"); // T1
        }
        value *= 2;
    }
}

#[test]
fn slots_rise_with_the_values() {
    let slots: Vec<usize> = (0..100_000).map(slot_of).collect();
    assert!(slots.is_sorted());
    assert!(slots.windows(2).all(|pair| pair[1] - pair[0] <= 1), "no slot is left out");
}

#[test]
fn percentiles_are_of_all_values() {
    let mut histogram = Histogram::default();
    assert_eq!(histogram.percentile(50.0), None);
    for microseconds in 1..=1000 {
        histogram.note(Duration::from_micros(microseconds));
    }
    let microseconds = |percent| histogram.percentile(percent).unwrap().as_nanos() as f64 / 1e3;
    for (percent, wanted) in [(0.0, 1.0), (50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
        let found = microseconds(percent);
        assert!((found - wanted).abs() <= wanted / 64.0, "p{percent}: {found}, not {wanted}");
    }
}

#[test]
fn one_slow_one_in_a_hundred_is_above_the_99th_percentile() {
    let mut histogram = Histogram::default();
    (0..99).for_each(|_| histogram.note(Duration::from_micros(10)));
    histogram.note(Duration::from_secs(1));
    assert!(histogram.percentile(99.0).unwrap() < Duration::from_micros(11));
    assert!(histogram.percentile(99.1).unwrap() > Duration::from_millis(980));
}

#[test]
fn merged_is_as_if_counted_together() {
    let (mut one, mut other) = (Histogram::default(), Histogram::default());
    one.note(Duration::from_micros(1));
    other.note(Duration::from_micros(9));
    other.note(Duration::from_micros(9));
    one.merge(&other);
    assert_eq!(one.count(), 3);
    assert!(one.percentile(50.0).unwrap() > Duration::from_micros(8));
}

#[test]
fn the_longest_durations_have_a_slot_too() {
    let mut histogram = Histogram::default();
    histogram.note(Duration::MAX);
    assert!(histogram.percentile(50.0).unwrap() > Duration::from_secs(60 * 60));
}
