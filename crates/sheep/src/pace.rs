//! Pace: how long the copies that are missing here will still take, by how fast they came lately.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What counts as lately.
const WINDOW: Duration = Duration::from_mins(1);
/// Less is no ground for a forecast.
const WINDOW_MIN: Duration = Duration::from_secs(5);

/// The groups that came in sync here, over the last minute.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When, and how many since the start of the sheep.
    samples: VecDeque<(Instant, u64)>,
}

impl Pace {
    /// Takes note of how many are done and left; about once a second. How long the rest will take,
    /// as far as that can be said.
    pub(crate) fn note(&mut self, now: Instant, done: u64, left: u64) -> Option<Duration> {
        if left == 0 {
            self.samples.clear();
            return None;
        }
        self.samples.push_back((now, done));
        while self.samples.front().is_some_and(|(when, _)| now - *when > WINDOW) {
            self.samples.pop_front();
        }
        let (since, before) = self.samples.front()?;
        let (took, came) = (now - *since, done.saturating_sub(*before));
        if took < WINDOW_MIN || came == 0 {
            return None;
        }
        Some(took.mul_f64(left as f64 / came as f64))
    }
}

/// The newest forecast, where every thread can read it.
#[derive(Debug)]
pub(crate) struct Forecast(AtomicU64);

const NONE: u64 = u64::MAX;

impl Default for Forecast {
    fn default() -> Self {
        Self(AtomicU64::new(NONE))
    }
}

impl Forecast {
    pub(crate) fn set(&self, left: Option<Duration>) {
        self.0.store(left.map_or(NONE, |left| left.as_secs() + 1), Ordering::Relaxed);
    }

    /// Seconds, rounded up.
    pub(crate) fn seconds(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != NONE)
    }
}

#[cfg(test)]
#[path = "pace/tests.rs"]
mod tests;
