//! Holding back: changes wait while memory or the log has no place for them.
//!
//! Why: what is planned can no longer be refused. If the log were to end under it while a
//!      checkpoint finds no space, nobody could answer it.
//! Holds:
//!   HB1 a change is planned only if the log has a place for it and for everything planned before
//!       it, even if no further checkpoint ends;
//!   HB2 a change waits for a checkpoint that goes on, and is refused if that waits for space;
//!   HB3 a change is refused while the unstable list, with which each segment begins, would leave
//!       less than half of a segment for batches: only watermarks and settlements shorten it.

use sheepdog_proto::BLOCK_BYTES;

use super::Store;
use super::plan::{Span, check_data, grows_list, is_change};
use crate::error::{StoreError, check_stamp};
use crate::request::Request;
use crate::wal::record::RECORD_BYTES;

/// Heads of the batches in which a change can begin and end, and what waits for a batch.
const SLACK_BYTES: u64 = 16 << 10;
/// Most that the record of one block takes.
const BLOCK_RECORD_BYTES: u64 = 64;
const _: () = assert!(RECORD_BYTES as u64 + 8 <= BLOCK_RECORD_BYTES);

impl Store {
    /// Whether the change at the front must wait. Those that would wait for space are refused.
    pub(super) fn must_hold_back(&mut self) -> bool {
        loop {
            let Some(front) = self.queue.front() else { return false };
            if !is_change(&front.request) || !self.has_no_place(&front.request) {
                return false;
            }
            let waits_for_list = grows_list(&front.request) && self.is_list_too_long();
            let waits_for_space = self.checkpointer.is_blocked() || self.lacks_file();
            if !waits_for_space && !waits_for_list {
                // HB2: where none is running, nothing else may ask for one.
                self.checkpointer.is_wanted |= !self.checkpointer.is_running();
                return true;
            }
            if let Some(queued) = self.queue.pop_front() {
                self.release_pages(&queued.pages);
                self.answer(queued.token, Err(no_room(&queued.request)));
            }
        }
    }

    /// Whether no checkpoint can begin, because there is no space for a file of the log.
    fn lacks_file(&self) -> bool {
        let has_none = self.wal.ready() == 0 && self.commits.lacks_file();
        let is_there = self.checkpointer.is_running() || self.commits.begins_checkpoint();
        has_none && !is_there
    }

    fn has_no_place(&self, request: &Request) -> bool {
        let waiting = self.contents.dirty_bytes() + self.commits.bytes();
        waiting > self.options.dirty_bytes_max
            || self.commits.is_stuck()
            || self.may_outgrow_log(request)
            || grows_list(request) && self.is_list_too_long()
    }

    /// HB3.
    fn is_list_too_long(&self) -> bool {
        self.list_bytes() + SLACK_BYTES > self.wal.batch_bytes_max()
    }

    /// HB1. Where nothing is planned, and a checkpoint can begin, a request that is larger than
    /// the log has its way: the log gives it all it has.
    fn may_outgrow_log(&self, request: &Request) -> bool {
        let is_running = self.checkpointer.is_running();
        let planned = self.commits.encoded_bytes() + self.placings.log_bytes();
        if planned == 0 && !is_running {
            return false;
        }
        // CO3: the last file is for a segment that begins a checkpoint.
        let ready = self.wal.ready() as u64;
        let others = ready.saturating_sub(1);
        let usable = if is_running { others } else { others.max(ready.min(1)) };
        planned + log_bytes_max(request) > self.wal.room(usable, self.list_bytes())
    }

    /// Bytes of the unstable list, with which each segment begins.
    fn list_bytes(&self) -> u64 {
        (self.contents.unstable.len() * RECORD_BYTES) as u64
    }
}

/// Why a change is refused for which there is no room: one that is wrong in itself for that, or
/// whoever sent it would wait for room for ever.
pub(super) fn no_room(request: &Request) -> StoreError {
    check(request).err().unwrap_or(StoreError::Full)
}

/// What planning checks without looking at the object.
fn check(request: &Request) -> Result<(), StoreError> {
    match request {
        Request::Write { oid, object_shift, first_block, stamp, view, checksums, data } => {
            let count = check_data(*oid, *first_block, checksums, data)?;
            Span::check(*oid, *object_shift, (*first_block, count), *stamp, *view)?;
        }
        Request::Hole { oid, object_shift, first_block, count, stamp, view } => {
            Span::check(*oid, *object_shift, (*first_block, *count), *stamp, *view)?;
        }
        Request::Reset { stamp, .. } => check_stamp(*stamp)?,
        Request::Settled(inner) | Request::Existing(inner) => check(inner)?,
        _ => {}
    }
    Ok(())
}

/// Bytes that a change takes in the log, at most.
fn log_bytes_max(request: &Request) -> u64 {
    match request {
        Request::Write { checksums, .. } => log_bytes_max_of(checksums.len() as u64, true),
        Request::Hole { count, .. } => log_bytes_max_of(u64::from(*count), false),
        Request::Settled(inner) => match &**inner {
            Request::Write { checksums, .. } => {
                log_bytes_max(inner) + (checksums.len() * RECORD_BYTES) as u64
            }
            Request::Hole { count, .. } => {
                log_bytes_max(inner) + u64::from(*count) * RECORD_BYTES as u64
            }
            _ => log_bytes_max(inner),
        },
        Request::Existing(inner) => log_bytes_max(inner),
        Request::Undo { changes } => log_bytes_max_of(changes.len() as u64, false),
        Request::Drop { oids, .. } => log_bytes_max_of(oids.len() as u64, false),
        _ => SLACK_BYTES,
    }
}

/// The same for so many blocks, with or without their bytes.
pub(super) const fn log_bytes_max_of(blocks: u64, has_data: bool) -> u64 {
    let each = BLOCK_RECORD_BYTES + if has_data { BLOCK_BYTES as u64 } else { 0 };
    blocks * each + SLACK_BYTES
}
