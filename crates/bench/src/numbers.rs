//! Numbers: what was measured, by name, and its spread over the rounds.

use std::collections::BTreeMap;

/// Numbers of one cell in one round.
pub type Numbers = BTreeMap<String, f64>;

/// Operations in a second.
pub const IOPS: &str = "iops";
/// Millions of bytes in a second.
pub const MB_PER_S: &str = "mb_per_s";
/// Half of the operations took no longer.
pub const P50_US: &str = "p50_us";
/// 99 of a hundred took no longer.
pub const P99_US: &str = "p99_us";
/// Processor time of the client in hundredths of the time that passed.
pub const CLIENT_BUSY: &str = "client_busy_percent";
/// Processor time of the client for each operation.
pub const CPU_US_CLIENT: &str = "cpu_us_client";
/// Processor time of all servers together for each operation.
pub const CPU_US_SERVERS: &str = "cpu_us_servers";
/// The same for one server: its number follows.
pub const CPU_US_SERVER: &str = "cpu_us_server";
/// Bytes that the servers had written to disks, for each byte acknowledged, for each copy.
pub const DEVICE_BYTES: &str = "device_bytes_per_byte";
/// Bytes that arrived at the disk until it was quiet again, by whomever, for each byte
/// acknowledged, for each copy.
pub const DISK_BYTES: &str = "disk_bytes_per_byte";
/// Syncs for a thousand writes, for each copy.
pub const SYNCS: &str = "syncs_per_1000";
/// Commits of the store for a thousand writes, for each copy.
pub const BATCHES: &str = "batches_per_1000";
/// Bytes that the store wrote to a kind of file, for each byte acknowledged, for each copy: the
/// kind follows.
pub const WRITTEN: &str = "written_";
/// Resident memory of one server after the load, in millions of bytes: its number follows.
pub const RESIDENT_MB: &str = "resident_mb_server";
/// The most that it ever was.
pub const RESIDENT_MAX_MB: &str = "resident_max_mb_server";
/// How long the file system went on writing afterwards.
pub const SETTLE_MS: &str = "settle_ms";

/// A number in several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one; of an even count the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of any numbers; `None` of nothing.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }
}

/// The spread of one number over rounds that have it.
#[must_use]
pub fn spread(rounds: &[Numbers], name: &str) -> Option<Spread> {
    Spread::of(rounds.iter().filter_map(|numbers| numbers.get(name).copied()))
}

/// The spread of a quotient: each round is divided by the same round of the other, which ran a
/// moment before or after it, so that slow minutes of the machine weigh less.
#[must_use]
pub fn ratio(rounds: &[Numbers], by: &[Numbers], name: &str) -> Option<Spread> {
    let pairs = rounds.iter().zip(by);
    Spread::of(pairs.filter_map(|(one, other)| {
        let (one, other) = (*one.get(name)?, *other.get(name)?);
        (other > 0.0).then(|| one / other)
    }))
}

#[cfg(test)]
#[path = "numbers/tests.rs"]
mod tests;
