//! Patience: when a disk is so slow that its copies hold up everybody.
//!
//! Way: counted in ticks of this process, of 100 ms: one that stood still itself finds no disk slow
//!      because of that. Requests have ascending numbers; a disk is judged by the oldest one that
//!      it has not answered.

use std::collections::VecDeque;

/// A request without an answer for so long: the disk hangs.
const HANGS: usize = 50;
/// A request that takes so long is late.
const LATE: usize = 10;
/// In so many looks the oldest request was late: the disk is slow. Each look in which it was not
/// makes good for three.
const SLOW: u32 = 300;
const FORGIVEN: u32 = 3;

/// What is known of one store's disk.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The newest request at each of the last looks.
    newest: VecDeque<u64>,
    late: u32,
    is_over: bool,
}

impl Patience {
    /// Looks once more: the oldest request without an answer, and the newest that was made.
    pub(super) fn look(&mut self, oldest: Option<u64>, newest: u64) {
        let age = oldest.map_or(0, |oldest| {
            self.newest.iter().rev().take_while(|newest| **newest >= oldest).count()
        });
        self.newest.push_back(newest);
        if self.newest.len() > HANGS {
            self.newest.pop_front();
        }
        self.late = if age >= LATE { self.late + 1 } else { self.late.saturating_sub(FORGIVEN) };
        self.late = self.late.min(SLOW);
        self.is_over = age >= HANGS || self.late >= SLOW;
    }

    /// The disk hangs, or has been slow for half a minute.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
#[path = "patience/tests.rs"]
mod tests;
