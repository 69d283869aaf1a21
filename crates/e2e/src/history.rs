//! History: what was written when, and so which bytes a disk may hold.
//!
//! Why: after a disaster nobody knows which unacknowledged writes took effect; but not everything
//!      is allowed, and what is not allowed is data loss.
//! Way: bytes are looked at in cells, each filled by one write with its own tag. Times are
//!      ticks of a logical clock. [`History::check`] looks at a whole disk,
//!      [`History::end_read`] at a read during the run.
//! Holds (promises of the cluster, quoted where they are checked):
//!   G1 a cell holds a write after which no other one began and was acknowledged; what a read
//!      has shown counts as acknowledged from then on; in one 4 KiB block a write took effect
//!      completely or not at all;
//!   G10 a cell holds only what was written to it.

use anyhow::{Result, bail, ensure};

/// Bytes in which a write is atomic.
const BLOCK_BYTES: usize = 4096;

/// Which cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First one.
    pub first: usize,
    /// How many.
    pub count: usize,
}

/// One write, by its number; 0 is the empty disk.
type Id = u32;

#[derive(Clone, Copy, Debug)]
struct Write {
    span: Span,
    start: u64,
    /// It made zeros.
    is_zero: bool,
}

/// A write, in one cell.
#[derive(Clone, Copy, Debug)]
struct Mark {
    id: Id,
    /// When it was acknowledged or seen here.
    end: Option<u64>,
}

/// What a disk went through.
#[derive(Debug)]
pub struct History {
    cell_bytes: usize,
    salt: u32,
    clock: u64,
    writes: Vec<Write>,
    cells: Vec<Vec<Mark>>,
}

/// What a check has compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Cells in which something was ever acknowledged.
    pub acknowledged: usize,
    /// Cells in which an unacknowledged write took effect.
    pub in_doubt: usize,
}

impl History {
    /// Of an empty disk of `size` bytes. `salt` tells its bytes from those of other disks.
    #[must_use]
    pub fn new(size: usize, cell_bytes: usize, salt: u32) -> Self {
        assert!(
            BLOCK_BYTES.is_multiple_of(cell_bytes) && cell_bytes.is_multiple_of(8),
            "cells divide a block"
        );
        let empty = Span { first: 0, count: size / cell_bytes };
        Self {
            cell_bytes,
            salt: salt | 1,
            clock: 1,
            writes: vec![Write { span: empty, start: 0, is_zero: true }],
            cells: vec![vec![Mark { id: 0, end: Some(0) }]; size / cell_bytes],
        }
    }

    /// Cells of the disk.
    #[must_use]
    pub const fn cell_count(&self) -> usize {
        self.cells.len()
    }

    /// Bytes of one cell.
    #[must_use]
    pub const fn cell_bytes(&self) -> usize {
        self.cell_bytes
    }

    /// A write is about to be sent; its number, and its bytes.
    pub fn begin_write(&mut self, span: Span) -> (u32, Vec<u8>) {
        let id = self.begin(span, false);
        let tag = self.tag(id).to_le_bytes();
        (id, tag.repeat(span.count * self.cell_bytes / tag.len()))
    }

    /// Zeros are about to be made; the number.
    pub fn begin_zero(&mut self, span: Span) -> u32 {
        self.begin(span, true)
    }

    fn begin(&mut self, span: Span, is_zero: bool) -> Id {
        let id = self.writes.len() as Id;
        let start = self.tick();
        self.writes.push(Write { span, start, is_zero });
        for cell in span.first..span.first + span.count {
            self.cells[cell].push(Mark { id, end: None });
        }
        id
    }

    /// The write was acknowledged.
    pub fn end_write(&mut self, id: u32) {
        let now = self.tick();
        let Span { first, count } = self.writes[id as usize].span;
        for marks in &mut self.cells[first..first + count] {
            let mark = marks.iter_mut().find(|mark| mark.id == id);
            mark.expect("a write marks its cells").end.get_or_insert(now);
        }
    }

    /// A read is about to be sent.
    pub fn begin_read(&mut self) -> u64 {
        self.tick()
    }

    /// A read that began at `start` has brought `bytes`.
    ///
    /// # Errors
    /// If it must not have.
    pub fn end_read(&mut self, start: u64, span: Span, bytes: &[u8]) -> Result<()> {
        for (step, content) in bytes.chunks(self.cell_bytes).enumerate() {
            let cell = span.first + step;
            let value = self.value(cell, content)?;
            let id = self.find(cell, value, start)?;
            let now = self.clock;
            let mark = self.cells[cell].iter_mut().find(|mark| Some(mark.id) == id);
            if let Some(mark) = mark {
                mark.end.get_or_insert(now); // G1
            }
        }
        self.tick();
        Ok(())
    }

    /// Compares the whole disk when no write is on the way any more.
    ///
    /// # Errors
    /// If a byte is not what it may be.
    pub fn check(&self, image: &[u8]) -> Result<Checked> {
        ensure!(image.len() == self.cells.len() * self.cell_bytes, "{} bytes", image.len());
        let mut checked = Checked::default();
        let mut found = Vec::with_capacity(self.cells.len());
        for (cell, content) in image.chunks(self.cell_bytes).enumerate() {
            let value = self.value(cell, content)?;
            let id = self.find(cell, value, u64::MAX)?;
            let is_mark = |mark: &&Mark| Some(mark.id) == id;
            let mark = self.cells[cell].iter().find(is_mark);
            checked.in_doubt += usize::from(mark.is_some_and(|mark| mark.end.is_none()));
            let acknowledged = self.cells[cell].iter().any(|m| m.id > 0 && m.end.is_some());
            checked.acknowledged += usize::from(acknowledged);
            found.push(id);
        }
        let per_block = BLOCK_BYTES / self.cell_bytes;
        for (block, ids) in found.chunks(per_block).enumerate() {
            self.check_block(block * per_block, ids)?;
        }
        Ok(checked)
    }

    /// G1: no write shows in one cell of a block and not in another one, unless it was
    /// overwritten there.
    fn check_block(&self, first: usize, ids: &[Option<Id>]) -> Result<()> {
        for id in ids.iter().flatten() {
            let Write { span, start, .. } = self.writes[*id as usize];
            for (step, other) in ids.iter().enumerate() {
                let cell = first + step;
                let covered = (span.first..span.first + span.count).contains(&cell);
                let older = other.filter(|other| covered && other != id).and_then(|other| {
                    let mark = self.cells[cell].iter().find(|mark| mark.id == other)?;
                    mark.end.filter(|end| *end < start)
                });
                ensure!(
                    older.is_none(),
                    "write {id} took effect in a part of its block only: cell {cell} holds {other:?}"
                );
            }
        }
        Ok(())
    }

    /// The write that may have made this cell what it is; `None` if several may have.
    /// What was acknowledged after `start` need not show.
    fn find(&self, cell: usize, value: u64, start: u64) -> Result<Option<Id>> {
        let marks = &self.cells[cell];
        let mut possible = marks.iter().filter(|mark| self.value_of(mark.id) == value);
        let overwritten = |mark: &Mark| {
            let later = |other: &&Mark| {
                let begun = self.writes[other.id as usize].start;
                mark.end.is_some_and(|end| begun > end) && other.end.is_some_and(|e| e < start)
            };
            marks.iter().find(later).copied()
        };
        let allowed: Vec<Id> = possible
            .clone()
            .filter(|mark| overwritten(mark).is_none())
            .map(|mark| mark.id)
            .collect();
        if let [id] = allowed[..] {
            return Ok(Some(id));
        }
        if !allowed.is_empty() {
            return Ok(None);
        }
        match possible.next_back() {
            Some(mark) => bail!(
                "cell {cell} holds the old write {} ({mark:?}), overwritten by {:?} (G1)",
                mark.id,
                overwritten(mark)
            ),
            None => bail!("cell {cell} holds {value:#x}, which was never written to it (G10)"),
        }
    }

    fn value(&self, cell: usize, content: &[u8]) -> Result<u64> {
        let words = content.as_chunks::<8>().0;
        let first = words[0];
        ensure!(words.iter().all(|word| *word == first), "cell {cell} is torn (G1)");
        Ok(u64::from_le_bytes(first))
    }

    fn value_of(&self, id: Id) -> u64 {
        if self.writes[id as usize].is_zero { 0 } else { self.tag(id) }
    }

    fn tag(&self, id: Id) -> u64 {
        u64::from(self.salt) << 32 | u64::from(id)
    }

    const fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
