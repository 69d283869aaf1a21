//! Sizes as people write them and as they read them.
//!
//! Holds:
//!   Z1 parsing is exact: no floating point, a fraction of a byte is dropped;
//!   Z2 what cannot be a size is refused, never rounded or wrapped.

/// Letters behind a number, by powers of 1024.
const UNITS: [char; 7] = ['B', 'K', 'M', 'G', 'T', 'P', 'E'];

/// Digits behind the point that are looked at; 2^-60 is smaller than one byte of the largest unit.
const FRACTION_DIGITS_MAX: usize = 18;

/// Reads `NUMBER[.FRACTION][UNIT]`; units are B K M G T P in either case, powers of 1024, with an
/// optional `iB`.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "'{text}' is no size; write bytes or a number with K, M, G, T or P, such as 512M or 1.5G"
        )
    };
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let shift = unit_shift(suffix).ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    let too_large = || format!("'{text}' is more than the largest size, 8192P");
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let scale = 10_u128.pow(fraction.len() as u32);
    let fraction: u128 = fraction.parse().map_err(|_| wrong())?;
    let bytes = whole
        .checked_mul(1 << shift)
        .and_then(|bytes| bytes.checked_add((fraction << shift) / scale)) // Z1
        .ok_or_else(too_large)?;
    u64::try_from(bytes).ok().filter(|bytes| *bytes <= 1 << 63).ok_or_else(too_large) // Z2
}

fn unit_shift(suffix: &str) -> Option<u32> {
    let mut letters = suffix.chars();
    let Some(letter) = letters.next() else { return Some(0) };
    let power = UNITS[..6].iter().position(|unit| unit.eq_ignore_ascii_case(&letter))?;
    let rest = letters.as_str();
    let allowed = rest.is_empty() || (power > 0 && rest == "iB");
    allowed.then_some(10 * power as u32)
}

/// As the first Sheepdog printed sizes: at least MB, one decimal below 10.
pub(crate) fn human(bytes: u64) -> String {
    let mut unit = 2;
    let mut value = bytes as f64 / f64::from(1 << 20);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let letter = UNITS[unit];
    if value < 9.95 { format!("{value:.1} {letter}B") } else { format!("{value:.0} {letter}B") }
}

#[cfg(test)]
#[path = "size/tests.rs"]
mod tests;
