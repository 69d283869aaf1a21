//! Many seeds on some threads, each seed on one.
//!
//! Holds: M1 the sum of seeds that went well does not depend on which thread took which.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::run::{Failure, run};
use super::trace::{Counts, Lines};

/// Lines of a failure's trace that are kept.
const LAST_LINES: usize = 150;

/// What many runs were.
#[derive(Debug, Default)]
pub struct Sum {
    /// Runs in which everything held.
    pub good: u64,
    /// Virtual nanoseconds of these.
    pub virtual_ns: u128,
    /// Exclusive or of their traces' hashes.
    pub hash: u64,
    /// How often what happened in them.
    pub counts: Counts,
    /// Those of the others, with their last lines, by seed.
    pub failures: Vec<Failure>,
}

/// Runs `count` seeds from `first` on so many threads.
#[must_use]
pub fn run_many(first: u64, count: u64, threads: usize) -> Sum {
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let own = run_some(first, count, &next);
                sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner).merge(own);
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    sum.failures.sort_by_key(|failure| failure.seed);
    sum
}

fn run_some(first: u64, count: u64, next: &AtomicU64) -> Sum {
    let mut sum = Sum::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return sum;
        }
        match run(first + number, Lines::None) {
            Ok(report) => {
                sum.good += 1;
                sum.virtual_ns += u128::from(report.virtual_ns);
                sum.hash ^= report.hash;
                sum.counts.merge(&report.counts);
            }
            Err(failure) => {
                // Once more, for its lines: it is the same run.
                let again = run(first + number, Lines::Last(LAST_LINES)).err();
                sum.failures.push(*again.unwrap_or(failure));
            }
        }
    }
}

impl Sum {
    fn merge(&mut self, other: Self) {
        self.good += other.good;
        self.virtual_ns += other.virtual_ns;
        self.hash ^= other.hash;
        self.counts.merge(&other.counts);
        self.failures.extend(other.failures);
    }
}
