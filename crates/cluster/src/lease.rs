//! Lease: until when a session on the log certainly lasts.
//!
//! Why: a process that stood still, or cannot reach the log, must know by itself that the others
//!      may hold it for ended, before they do.
//! Holds:
//!   LE1 a lease ends earlier, by the margin for clocks that run differently, than anybody may
//!       hold the session for ended, counted from when its last sign of life was sent;
//!   LE2 it is counted on a clock that goes on while the machine sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Of the log's patience, the part that a session counts on.
const SHARE_PERCENT: u32 = 80;

/// Shared by the session's driver, which extends it, and whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    until_ns: Arc<AtomicU64>,
}

impl Lease {
    /// Whether nobody can hold the session for ended at this moment.
    #[must_use]
    pub fn lasts(&self) -> bool {
        now_ns() < self.until_ns.load(Ordering::Acquire)
    }

    /// The log has heard the sign of life that was sent at `sent_ns`, and has this patience.
    pub(crate) fn extend(&self, sent_ns: u64, patience: Duration) {
        let share = patience * SHARE_PERCENT / 100;
        let until = sent_ns.saturating_add(u64::try_from(share.as_nanos()).unwrap_or(0));
        self.until_ns.fetch_max(until, Ordering::AcqRel);
    }

    /// The session has ended.
    pub(crate) fn end(&self) {
        self.until_ns.store(0, Ordering::Release);
    }
}

/// Nanoseconds since the machine was started, sleep included (LE2).
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_for_a_part_of_the_patience_since_the_sign_was_sent() {
        let lease = Lease::default();
        assert!(!lease.lasts(), "nothing was heard yet");
        let patience = Duration::from_secs(10);
        lease.extend(now_ns().saturating_sub(8_000_000_001), patience);
        assert!(!lease.lasts(), "LE1");
        lease.extend(now_ns().saturating_sub(4_000_000_000), patience);
        assert!(lease.lasts());
        lease.extend(now_ns().saturating_sub(9_000_000_000), patience);
        assert!(lease.lasts(), "an older sign that is heard late takes nothing back");
        lease.end();
        assert!(!lease.lasts());
    }
}
