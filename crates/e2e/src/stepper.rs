//! Stepper: QEMU writes patterns step by step, and every byte that it should find is known.
//!
//! Way: [`Stepper::end`] gives no command and only waits for what QEMU says.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::disk::Disk;
use crate::qemu_io::QemuIo;

/// Writes of a step, all in flight together, each in another object.
pub const WRITES: u64 = 8;
const WRITE_BYTES: u64 = 12 << 10;
const OBJECT_BYTES: u64 = 1 << 20;

/// What a disk must hold.
#[derive(Clone, Debug)]
pub struct Written {
    expected: Vec<u8>,
    steps: u64,
}

/// A disk open in QEMU, and what was written to it.
#[derive(Debug)]
pub struct Stepper {
    io: QemuIo,
    written: Written,
    /// Writes of one step.
    writes: u64,
    /// Offsets of the step that was begun.
    begun: Vec<u64>,
}

impl Written {
    /// An empty disk of `objects` MiB.
    #[must_use]
    pub fn nothing(objects: u64) -> Self {
        assert!(objects >= WRITES, "each write of a step has an object of its own");
        Self { expected: vec![0; (objects * OBJECT_BYTES) as usize], steps: 0 }
    }

    /// Reads the disk and compares every byte.
    ///
    /// # Errors
    /// If one differs.
    pub async fn compare(&self, disk: &Disk) -> Result<()> {
        let found = disk.read(0, self.expected.len()).await?;
        let mut pairs = found.iter().zip(&self.expected);
        let wrong = pairs.position(|(found, expected)| found != expected);
        ensure!(wrong.is_none(), "byte {wrong:?} differs");
        Ok(())
    }

    const fn pattern(&self) -> u8 {
        (self.steps % 250) as u8 + 1
    }
}

impl Stepper {
    /// Goes on with a disk that holds what is `written`.
    #[must_use]
    pub const fn new(io: QemuIo, written: Written) -> Self {
        Self { io, written, writes: WRITES, begun: Vec::new() }
    }

    /// Never has more than one write in flight.
    #[must_use]
    pub const fn one_by_one(mut self) -> Self {
        self.writes = 1;
        self
    }

    /// Sends the writes of one step without waiting for them.
    ///
    /// # Errors
    /// If QEMU has ended or complains.
    pub async fn begin(&mut self, limit: Duration) -> Result<()> {
        let size = self.written.expected.len() as u64;
        self.written.steps += 1;
        let (steps, pattern) = (self.written.steps, self.written.pattern());
        for write in 0..self.writes {
            let object = (steps * 3 + write) % (size / OBJECT_BYTES);
            // Odd places, some of them across the border to the next object.
            let place = (steps * 7919 + write * 104_729) % OBJECT_BYTES / 512 * 512;
            let offset = (object * OBJECT_BYTES + place).min(size - WRITE_BYTES);
            let command = format!("aio_write -P {pattern} {offset} {WRITE_BYTES}");
            self.begun.push(offset);
            let answer = self.io.ask(&command, limit).await?;
            self.note(&answer)?;
        }
        Ok(())
    }

    /// Waits until all writes that were begun are acknowledged. Gives QEMU no command.
    ///
    /// # Errors
    /// If one fails or the next takes longer than `limit`.
    pub async fn end(&mut self, limit: Duration) -> Result<()> {
        while !self.begun.is_empty() {
            let line = self.io.line(limit).await;
            let line = line.with_context(|| format!("no answer for {:?}", self.begun))?;
            self.note(&line)?;
        }
        Ok(())
    }

    /// One step, or several.
    ///
    /// # Errors
    /// See [`Stepper::end`].
    pub async fn steps(&mut self, count: u64, limit: Duration) -> Result<()> {
        for _ in 0..count {
            self.begin(limit).await?;
            self.end(limit).await.with_context(|| format!("step {}", self.written.steps))?;
        }
        Ok(())
    }

    /// Has QEMU read everything and compare it.
    ///
    /// # Errors
    /// If a byte differs.
    pub async fn verify(&mut self) -> Result<()> {
        let sectors: Vec<&[u8]> = self.written.expected.chunks(512).collect();
        let mut first = 0;
        while first < sectors.len() {
            let pattern = sectors[first][0];
            let same = |sector: &&&[u8]| sector[0] == pattern;
            let count = sectors[first..].iter().take_while(same).count();
            self.io.verify(first as u64 * 512, count as u64 * 512, pattern).await?;
            first += count;
        }
        Ok(())
    }

    /// Closes the disk; it must hold what is returned.
    ///
    /// # Errors
    /// If QEMU complains.
    pub async fn close(self) -> Result<Written> {
        self.io.close().await?;
        Ok(self.written)
    }

    /// Takes over every write that QEMU says is done.
    fn note(&mut self, answer: &str) -> Result<()> {
        ensure!(!answer.contains("failed"), "{answer}{}", self.io.errors());
        let pattern = self.written.pattern();
        for line in answer.lines() {
            let Some((_, place)) = line.split_once(" bytes at offset ") else { continue };
            let offset: u64 = place.trim().parse().with_context(|| line.to_owned())?;
            let position = self.begun.iter().position(|begun| *begun == offset);
            self.begun.remove(position.with_context(|| format!("not asked for: {line}"))?);
            let place = offset as usize..(offset + WRITE_BYTES) as usize;
            self.written.expected[place].fill(pattern);
        }
        Ok(())
    }
}
