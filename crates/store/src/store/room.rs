//! Room: whether new data may take space.
//!
//! Why: a write that needs space is refused before anything is changed; what needs none, or
//!      gives some back, is never refused.
//! Holds:
//!   RO1 everything that was let in and is not in place yet is counted as taken;
//!   RO2 the file system is asked again after 4 MiB were let in, and whenever it seems full;
//!   RO3 what was given up is freed when the file system is short of space, also for others: by a
//!       checkpoint at once, and no unit is kept warm;
//!   RO4 the log grows only out of what new data could have, unless nothing goes on without
//!       another file: if it took the reserve, what is given back on a full disk would go there.

use super::Store;
use crate::disk::guarded::GuardedDisk;
use crate::error::StoreError;

const ASK_BYTES: u64 = 4 << 20;
/// With less than this for new data, a file system is short of space.
const SHORT_BYTES: u64 = 4 << 20;

/// What is known of free space.
#[derive(Debug, Default)]
pub(super) struct Room {
    left: Option<u64>,
    since: u64,
    /// The last who asked was refused.
    is_short: bool,
}

impl Room {
    /// Asks the file system at the next need.
    pub(super) fn forget(&mut self) {
        self.left = None;
    }

    /// Whether somebody was refused, and nobody let in since.
    pub(super) const fn is_short(&self) -> bool {
        self.is_short
    }

    /// Takes space for new data, or refuses. `waiting` is what was let in and is not in place.
    pub(super) fn take(
        &mut self,
        disk: &mut GuardedDisk,
        reserve: u64,
        waiting: impl Fn() -> u64,
        bytes: u64,
    ) -> Result<(), StoreError> {
        if bytes == 0 {
            return Ok(());
        }
        let is_stale = self.since > ASK_BYTES || self.left.is_none_or(|left| left < bytes);
        if is_stale {
            self.left = Some(disk.free_space()?.saturating_sub(reserve + waiting()));
            self.since = 0;
        }
        let left = self.left.unwrap_or_default();
        self.is_short = left < bytes;
        self.left = Some(left.checked_sub(bytes).ok_or(StoreError::Full)?);
        self.since += bytes;
        Ok(())
    }
}

impl Store {
    /// RO3.
    pub(super) fn relieve_disk(&mut self) {
        let gives_back = self.has_space_to_give_back();
        if !gives_back && self.contents.units.warm() == 0 {
            return;
        }
        let enough = self.options.reserve_bytes + SHORT_BYTES;
        if self.disk.free_space().is_ok_and(|free| free < enough) {
            self.checkpointer.is_wanted |= gives_back && !self.checkpointer.is_running();
            self.cool_surplus(0);
        }
    }
}
