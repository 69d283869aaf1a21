//! Times as people read them, in UTC: this program carries no table of time zones.

/// `2026-11-23 09:13:06`, from milliseconds since 1970.
pub(crate) fn to_second(since_ms: u64) -> String {
    let seconds = since_ms / 1000;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// `2026-11-23 09:13`, from milliseconds since 1970.
pub(crate) fn to_minute(since_ms: u64) -> String {
    let mut text = to_second(since_ms);
    text.truncate(text.len() - 3);
    text
}

/// `45 s`, `12 min`, `3 h 20 min`: about so long.
pub(crate) fn about(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Year, month and day of a day since 1970. Years are counted from March, so that the leap day is
/// the last one, in eras of 400 years.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
#[path = "time/tests.rs"]
mod tests;
