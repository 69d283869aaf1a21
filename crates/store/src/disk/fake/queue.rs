//! What is under way on the fake disk, and in which order it happens.

use std::sync::Arc;

use sheepdog_proto::Payload;

use super::content::Change;
use super::{Dice, FakeDisk, Fault, State, io_error, power_is_off};
use crate::disk::{Disk, DiskError, Ended, FileId, Operation, Outcome, Ticket};

/// Operations under way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    operations: Vec<(Ticket, Operation)>,
    /// Without it everything happens at once, in order.
    dice: Option<Dice>,
}

impl Queue {
    pub(super) fn push(&mut self, ticket: Ticket, operation: Operation) {
        self.operations.push((ticket, operation));
    }

    /// Nothing that is under way happens any more.
    pub(super) fn clear(&mut self) {
        self.operations.clear();
    }

    /// What a power cut may still let happen.
    pub(super) fn fork(&self) -> Self {
        let changes = self.operations.iter().filter_map(|(ticket, operation)| {
            let copy = match operation {
                Operation::Write { file, offset, parts, durable, direct } => Operation::Write {
                    file: *file,
                    offset: *offset,
                    parts: parts.clone(),
                    durable: *durable,
                    direct: *direct,
                },
                Operation::Punch { file, offset, len } => {
                    Operation::Punch { file: *file, offset: *offset, len: *len }
                }
                Operation::Read { .. } | Operation::Sync { .. } => return None,
            };
            Some((*ticket, copy))
        });
        Self { operations: changes.collect(), dice: self.dice.clone() }
    }

    /// What happens now; `wait` asks for at least one.
    fn take_next(&mut self, is_first: bool, wait: bool) -> Option<(Ticket, Operation)> {
        if self.operations.is_empty() {
            return None;
        }
        let Some(dice) = &mut self.dice else { return Some(self.operations.remove(0)) };
        let must = is_first && wait;
        if !must && dice.below(3) == 0 {
            return None;
        }
        let place = dice.below(self.operations.len() as u64) as usize;
        Some(self.operations.remove(place))
    }
}

impl FakeDisk {
    /// From now on what is under way happens in an order that follows from `seed`.
    pub fn shuffle(&self, seed: u64) {
        self.lock().queue.dice = Some(Dice::new(seed));
    }

    pub(super) fn reap_queue(&mut self, wait: bool, ended: &mut Vec<Ended>) {
        let mut is_first = true;
        loop {
            let next = self.lock().queue.take_next(is_first, wait);
            let Some((ticket, operation)) = next else { return };
            is_first = false;
            ended.push(Ended { ticket, result: self.perform(operation) });
        }
    }

    fn perform(&mut self, operation: Operation) -> Result<Outcome, DiskError> {
        match operation {
            Operation::Read { file, offset, mut buffer } => {
                let count = self.read_at(file, offset, &mut buffer)?;
                return Ok(Outcome::Read(buffer, count));
            }
            Operation::Write { file, offset, parts, durable, .. } => {
                let change = Change::Write { offset, bytes: joined(&parts) };
                let state = &mut *self.lock();
                if state.hits(Fault::Write) {
                    state.begin("write", "")?;
                    return Err(io_error("write", &format!("file {}", file.0)));
                }
                if durable {
                    state.change_durably(file, change)?;
                } else {
                    state.change("write", file, change)?;
                }
            }
            Operation::Sync { file } => self.sync(file)?,
            Operation::Punch { file, offset, len } => self.punch_hole(file, offset, len)?,
        }
        Ok(Outcome::Done)
    }
}

impl State {
    /// A write and a sync of it alone: power can go off in the one or the other.
    fn change_durably(&mut self, file: FileId, change: Change) -> Result<(), DiskError> {
        let goes_off = self.begin("write", "")?;
        self.check_capacity("write", file, &change)?;
        self.inode("write", file)?.change(change);
        if goes_off || self.begin("sync", "")? {
            return Err(power_is_off("sync", ""));
        }
        self.syncs += 1;
        let fails = self.hits(Fault::Sync);
        let inode = self.inode("sync", file)?;
        if fails {
            inode.fail_sync();
            return Err(io_error("sync", &format!("file {}", file.0)));
        }
        inode.sync_last();
        Ok(())
    }

    /// The power goes off, or the process dies: what is under way happens still, or not.
    pub(super) fn drop_queue(&mut self, dice: &mut Dice) {
        for (_, operation) in std::mem::take(&mut self.queue.operations) {
            let (file, change) = match operation {
                Operation::Write { file, offset, parts, .. } => {
                    (file, Change::Write { offset, bytes: joined(&parts) })
                }
                Operation::Punch { file, offset, len } => (file, Change::Punch { offset, len }),
                Operation::Read { .. } | Operation::Sync { .. } => continue,
            };
            if dice.below(2) == 0
                && let Ok(inode) = self.inode("write", file)
            {
                inode.change(change);
            }
        }
    }
}

fn joined(parts: &[Payload]) -> Arc<[u8]> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.into()
}
