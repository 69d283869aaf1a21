use super::*;

#[test]
fn known_instants_read_right() {
    let table: &[(u64, &str)] = &[
        (0, "1970-01-01 00:00:00"),
        (951_782_400, "2000-02-29 00:00:00"),
        (951_868_799, "2000-02-29 23:59:59"),
        (951_868_800, "2000-03-01 00:00:00"),
        (1_704_067_199, "2023-12-31 23:59:59"),
        (1_709_164_800, "2024-02-29 00:00:00"),
        (1_795_425_186, "2026-11-23 09:13:06"),
        (4_107_542_400, "2100-03-01 00:00:00"),
    ];
    for (seconds, text) in table {
        assert_eq!(to_second(seconds * 1000 + 999), *text);
        assert_eq!(to_minute(seconds * 1000), text[..16]);
    }
}

#[test]
fn each_day_follows_the_day_before() {
    let lengths = |year: u64| {
        let by = |years| year.is_multiple_of(years);
        let leap = by(4) && (!by(100) || by(400));
        [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    };
    let mut expected = (1970, 1, 1);
    for day in 0..200_000 {
        assert_eq!(civil(day), expected);
        let (year, month, date) = expected;
        expected = if date < lengths(year)[month as usize - 1] {
            (year, month, date + 1)
        } else if month < 12 {
            (year, month + 1, 1)
        } else {
            (year + 1, 1, 1)
        };
    }
}
