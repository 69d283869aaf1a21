//! Work: what is under way on the disk, and who takes it in when it has ended.

use sheepdog_proto::Buffer;

use super::Store;
use super::checkpoint::Step;
use crate::contents::pages::PageKey;
use crate::disk::{DiskError, Ended, FileId, Operation, Outcome, Ticket};
use crate::error::StoreError;
use crate::format::page::PageHeader;

/// One operation under way.
#[derive(Debug)]
pub(super) enum Work {
    /// A batch is appended to the log.
    Append,
    /// A new file of the log is filled.
    Fill(FileId),
    /// A metadata page is read.
    Load(PageKey, PageHeader),
    /// Blocks are read: which reading, and which of its parts.
    Read(u64, usize),
    /// A large write is put in place.
    Place(u64),
    /// Slabs are synced for large writes.
    SyncPlacings,
    /// A checkpoint goes on.
    Checkpoint(Box<Step>),
    /// The space of units is given back.
    Cool(Vec<u32>),
}

impl Store {
    /// Begins an operation.
    pub(super) fn begin(&mut self, work: Work, operation: Operation) {
        let ticket = Ticket(self.next_id());
        if matches!(operation, Operation::Write { durable: true, .. } | Operation::Sync { .. }) {
            self.statistics.syncs += 1;
        }
        self.work.insert(ticket, work);
        self.disk.submit(ticket, operation);
    }

    /// Takes in what has ended.
    pub(super) fn take_ended(&mut self, ended: Ended) {
        let Some(work) = self.work.remove(&ended.ticket) else { return };
        let result = ended.result;
        match work {
            Work::Append => {
                if self.must_not_fail(result) {
                    self.take_appended();
                }
            }
            Work::Fill(file) => self.take_filled(file, result),
            Work::Load(key, header) => {
                let buffer = read_buffer(result);
                self.take_page(key, header, buffer);
            }
            Work::Read(reading, part) => {
                let buffer = read_buffer(result);
                self.take_read(reading, part, buffer);
            }
            Work::Place(placing) => match result {
                Err(DiskError::Full { .. }) => self.take_unplaced(placing),
                other => {
                    if self.must_not_fail(other) {
                        self.take_placed(placing);
                    }
                }
            },
            Work::SyncPlacings => {
                if self.must_not_fail(result) {
                    self.take_synced_placings();
                }
            }
            Work::Checkpoint(step) => match result {
                // A file system may need space to give some back; what is not given back is not
                // lost.
                Err(DiskError::Full { .. }) if matches!(*step, Step::Punch { .. }) => {
                    self.take_step(*step);
                }
                // Nothing is lost: the log has it. It is tried again.
                Err(DiskError::Full { .. }) => self.block_checkpoint(*step),
                other => {
                    if self.must_not_fail(other) {
                        self.take_step(*step);
                    }
                }
            },
            Work::Cool(units) => match result {
                Err(DiskError::Full { .. }) => {
                    units.into_iter().for_each(|unit| self.contents.units.give_back(unit));
                }
                other => {
                    if self.must_not_fail(other) {
                        units.into_iter().for_each(|unit| self.contents.units.cool(unit));
                    }
                }
            },
        }
    }

    /// Stops the store for good if a change of the disk failed (FSYNC-ONCE).
    fn must_not_fail(&mut self, result: Result<Outcome, DiskError>) -> bool {
        match result {
            Ok(_) => true,
            Err(error) => {
                self.disk.stop(error.into());
                false
            }
        }
    }
}

fn read_buffer(result: Result<Outcome, DiskError>) -> Result<Buffer, StoreError> {
    match result {
        Ok(Outcome::Read(mut buffer, count)) => {
            buffer[count..].fill(0);
            Ok(buffer)
        }
        Ok(Outcome::Done) => Ok(Buffer::zeroed(0)),
        Err(error) => Err(error.into()),
    }
}
