use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_rest_takes_as_long_as_the_same_took_lately() {
    let (mut pace, start) = (Pace::default(), Instant::now());
    let mut last = None;
    for second in 0..=10_u32 {
        last = pace.note(start + second * SECOND, u64::from(second) * 4, 100 - u64::from(second));
        assert_eq!(last.is_some(), second >= 5, "{second}");
    }
    assert_eq!(last.map(|left| left.as_millis()), Some(22_500), "90 groups at 4 a second");
    // Slower since: what was before the last minute does not count.
    for second in 11..=200_u32 {
        last = pace.note(start + second * SECOND, 40 + u64::from(second / 10), 50);
    }
    assert_eq!(last.map(|left| left.as_secs()), Some(500));
}

#[test]
fn nothing_is_said_of_what_stands_still_or_has_ended() {
    let (mut pace, start) = (Pace::default(), Instant::now());
    for second in 0..100_u32 {
        assert_eq!(pace.note(start + second * SECOND, 7, 3), None);
    }
    assert_eq!(pace.note(start + 101 * SECOND, 10, 0), None);
    assert_eq!(pace.note(start + 102 * SECOND, 10, 5), None, "begins anew");
    let forecast = Forecast::default();
    assert_eq!(forecast.seconds(), None);
    forecast.set(Some(Duration::from_millis(1500)));
    assert_eq!(forecast.seconds(), Some(2));
    forecast.set(None);
    assert_eq!(forecast.seconds(), None);
}
