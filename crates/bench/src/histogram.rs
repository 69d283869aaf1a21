//! Histogram of durations: two numbers of a kilobyte each instead of a million samples.
//!
//! Why: percentiles of all operations, not of a sample, at the cost of one add each.
//! Holds:
//!   T1 what is read back differs from what was noted by less than 1/64 of it.

use std::time::Duration;

/// Slots for each power of two.
const SLOTS: u64 = 64;
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// Powers of two that have slots of their own above the first `SLOTS` nanoseconds; the last one
/// ends at 2^46 ns, twenty hours.
const POWERS: usize = 40;

/// How often something took how long.
#[derive(Clone, Debug)]
pub struct Histogram {
    slots: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { slots: vec![0; SLOTS as usize * (POWERS + 1)], count: 0 }
    }
}

impl Histogram {
    /// Counts one duration. Above twenty hours it counts as twenty hours.
    pub fn note(&mut self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let slot = slot_of(nanoseconds).min(self.slots.len() - 1);
        self.slots[slot] += 1;
        self.count += 1;
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        for (slot, more) in self.slots.iter_mut().zip(&other.slots) {
            *slot += more;
        }
        self.count += other.count;
    }

    /// How many durations were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The duration that `percent` of all do not exceed (T1); `None` of nothing.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let rank = (self.count as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        let slot = self.slots.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_nanos(middle_of(slot as u64)))
    }
}

/// The slot of a value: its highest bit and the `SLOT_BITS` bits below it.
const fn slot_of(value: u64) -> usize {
    if value < SLOTS {
        return value as usize;
    }
    let power = value.ilog2() - SLOT_BITS;
    let part = (value >> power) - SLOTS;
    (SLOTS * (power as u64 + 1) + part) as usize
}

/// The middle of the values that share a slot.
const fn middle_of(slot: u64) -> u64 {
    if slot < SLOTS {
        return slot;
    }
    let power = slot / SLOTS - 1;
    let first = (SLOTS + slot % SLOTS) << power;
    first + (1 << power) / 2
}

#[cfg(test)]
#[path = "histogram/tests.rs"]
mod tests;
