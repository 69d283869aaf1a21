//! The guarded disk: stops for good at the first failed change (FSYNC-ONCE).
//!
//! Why: after a failed write or sync the kernel may have dropped the bytes, and a second sync
//!      would succeed without them. Only replay of the log knows what is there.
//! Holds:
//!   G1 once a change failed, nothing reaches the disk any more (ST5);
//!   G2 a failed read or a refused reservation harms nothing and stops nothing.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{Disk, DiskError, Ended, Entry, FileId, Operation, Ticket};
use crate::error::StoreError;

/// A disk and whether it still can be trusted.
pub(crate) struct GuardedDisk {
    disk: Box<dyn Disk>,
    failure: Option<StoreError>,
}

impl GuardedDisk {
    pub(crate) fn new(disk: Box<dyn Disk>) -> Self {
        Self { disk, failure: None }
    }

    /// Why nothing is done any more.
    pub(crate) fn failure(&self) -> Option<&StoreError> {
        self.failure.as_ref()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// A call whose failure leaves the disk in an unknown state (G1).
    fn change<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Disk) -> Result<T, DiskError>,
    ) -> Result<T, StoreError> {
        self.check()?;
        call(&mut *self.disk).map_err(|error| self.fail(error))
    }

    /// A call whose `Full` harms nothing (G2).
    fn reserve<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Disk) -> Result<T, DiskError>,
    ) -> Result<T, StoreError> {
        self.check()?;
        call(&mut *self.disk).map_err(|error| match error {
            DiskError::Full { .. } => StoreError::Full,
            other => self.fail(other),
        })
    }

    /// A call that changes nothing (G2).
    fn look<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Disk) -> Result<T, DiskError>,
    ) -> Result<T, StoreError> {
        self.check()?;
        call(&mut *self.disk).map_err(StoreError::from)
    }

    fn fail(&mut self, error: DiskError) -> StoreError {
        self.stop(error.into())
    }

    /// Stops for good: `cause` happened where nothing may fail.
    pub(crate) fn stop(&mut self, cause: StoreError) -> StoreError {
        if let Some(failure) = &self.failure {
            return failure.clone();
        }
        let failure = StoreError::Failed { cause: Arc::new(cause) };
        self.failure = Some(failure.clone());
        failure
    }

    pub(crate) fn create(&mut self, path: &str) -> Result<FileId, StoreError> {
        self.reserve(|disk| disk.create(path))
    }

    pub(crate) fn open(&mut self, path: &str) -> Result<FileId, StoreError> {
        self.look(|disk| disk.open(path))
    }

    pub(crate) fn close(&mut self, file: FileId) {
        self.disk.close(file);
    }

    /// Reads as much as there is; the rest of `bytes` becomes zeros.
    pub(crate) fn read_at(
        &mut self,
        file: FileId,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<usize, StoreError> {
        let count = self.look(|disk| disk.read_at(file, offset, bytes))?;
        bytes[count..].fill(0);
        Ok(count)
    }

    pub(crate) fn write_at(
        &mut self,
        file: FileId,
        offset: u64,
        parts: &[&[u8]],
    ) -> Result<(), StoreError> {
        self.change(|disk| disk.write_at(file, offset, parts))
    }

    pub(crate) fn allocate(
        &mut self,
        file: FileId,
        offset: u64,
        len: u64,
    ) -> Result<(), StoreError> {
        self.reserve(|disk| disk.allocate(file, offset, len))
    }

    pub(crate) fn len(&mut self, file: FileId) -> Result<u64, StoreError> {
        self.look(|disk| disk.len(file))
    }

    pub(crate) fn set_len(&mut self, file: FileId, len: u64) -> Result<(), StoreError> {
        self.change(|disk| disk.set_len(file, len))
    }

    pub(crate) fn sync(&mut self, file: FileId) -> Result<(), StoreError> {
        self.change(|disk| disk.sync(file))
    }

    pub(crate) fn sync_dir(&mut self, path: &str) -> Result<(), StoreError> {
        self.change(|disk| disk.sync_dir(path))
    }

    pub(crate) fn create_dir(&mut self, path: &str) -> Result<(), StoreError> {
        self.reserve(|disk| disk.create_dir(path))
    }

    pub(crate) fn list(&mut self, path: &str) -> Result<Vec<Entry>, StoreError> {
        self.look(|disk| disk.list(path))
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), StoreError> {
        self.change(|disk| disk.rename(from, to))
    }

    /// Begins an operation; after a failure nothing is begun any more (G1).
    pub(crate) fn submit(&mut self, ticket: Ticket, operation: Operation) {
        if self.failure.is_none() {
            self.disk.submit(ticket, operation);
        }
    }

    /// Collects what has ended; what a failure means is for the one who began it to say.
    pub(crate) fn reap(&mut self, wait: bool, ended: &mut Vec<Ended>) {
        self.disk.reap(wait, ended);
    }

    pub(crate) fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        self.disk.wakeup()
    }

    pub(crate) fn free_space(&mut self) -> Result<u64, StoreError> {
        self.look(|disk| disk.free_space())
    }
}
