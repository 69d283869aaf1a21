//! Ledger: what each block of a disk was sent, and when that was acknowledged.
//!
//! Why: after a crash a block may hold the last content that was acknowledged or the one that
//!      was under way, and nothing else; that is simple where each block has one writer that
//!      waits for every answer.
//! Way: a block's content is its disk, its number and a sequence number, again and again, or
//!      zeros. Times are of CLOCK_MONOTONIC, as those of recordings.
//! Holds:
//!   L1 the next content of a block is sent after the one before was acknowledged;
//!   L2 what a look at the disk has shown counts as acknowledged from then on, and what it has
//!      not shown is forgotten, if no client is left that could still send it.
//! Not here: overlapping writers (`history`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail, ensure};
use sheepdog_store::disk::recorder;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes of what a content repeats.
const TAG_BYTES: usize = 32;

/// Something that a block was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    sequence: u64,
    is_zeros: bool,
    acknowledged: Option<u64>,
}

/// What a disk was sent.
#[derive(Debug)]
pub struct Ledger {
    name: u64,
    sequence: u64,
    /// The last one that was acknowledged before all others, then those after it. Empty blocks
    /// begin with zeros.
    blocks: Vec<Vec<Version>>,
    /// Whether everything since the beginning is kept.
    keeps_all: bool,
}

/// What a look at a disk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Blocks that were compared.
    pub blocks: u64,
    /// Blocks in doubt that hold what was acknowledged before.
    pub old: u64,
    /// Blocks in doubt that hold what was under way.
    pub new: u64,
}

impl Looked {
    /// Takes another look into account.
    pub const fn add(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.old += other.old;
        self.new += other.new;
    }
}

impl Ledger {
    /// Of an empty disk; `name` tells its contents from those of others.
    #[must_use]
    pub fn new(name: u64, bytes: u64) -> Self {
        let empty = Version { sequence: 0, is_zeros: true, acknowledged: Some(0) };
        let blocks = vec![vec![empty]; bytes as usize / BLOCK_BYTES];
        Self { name, sequence: 0, blocks, keeps_all: false }
    }

    /// Forgets nothing, so that every moment of the past can be checked.
    #[must_use]
    pub const fn keeping_all(mut self) -> Self {
        self.keeps_all = true;
        self
    }

    /// Blocks of the disk.
    #[must_use]
    pub const fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// A change is about to be sent: its number and its bytes.
    pub fn begin(&mut self, first: usize, count: usize, is_zeros: bool) -> (u64, Vec<u8>) {
        self.sequence += 1;
        let version = Version { sequence: self.sequence, is_zeros, acknowledged: None };
        let mut bytes = Vec::with_capacity(count * BLOCK_BYTES);
        for block in first..first + count {
            bytes.extend(self.content(block, version));
            self.blocks[block].push(version);
        }
        (self.sequence, bytes)
    }

    /// It was acknowledged.
    pub fn end(&mut self, sequence: u64, first: usize, count: usize) {
        let now = recorder::now();
        for versions in &mut self.blocks[first..first + count] {
            if let Some(version) = versions.iter_mut().find(|v| v.sequence == sequence) {
                version.acknowledged.get_or_insert(now);
            }
            if !self.keeps_all {
                versions.drain(..versions.len() - 1); // L1
            }
        }
    }

    /// Whether something was acknowledged between two moments.
    #[must_use]
    pub fn was_acknowledged_between(&self, after: u64, before: u64) -> bool {
        let is_between = |version: &Version| {
            version.acknowledged.is_some_and(|time| after < time && time < before)
        };
        self.blocks.iter().flatten().any(is_between)
    }

    /// Compares some blocks, the first of which is `first`, with what they may be when
    /// everything acknowledged before `time` must be there.
    ///
    /// # Errors
    /// If a block is not what it may be.
    pub fn check(&self, first: usize, bytes: &[u8], time: u64) -> Result<Looked> {
        let mut looked = Looked::default();
        for (block, content) in (first..).zip(bytes.chunks(BLOCK_BYTES)) {
            let versions = &self.blocks[block];
            let is_due = |v: &Version| v.acknowledged.is_some_and(|at| at < time);
            let last = versions.iter().rposition(is_due).unwrap_or(0);
            let possible = &versions[last..versions.len().min(last + 2)];
            let found = possible.iter().position(|v| self.content(block, *v) == content);
            let Some(found) = found else { bail!("{}", self.fault(block, content, time)) };
            looked.blocks += 1;
            let is_in_doubt = possible.len() > 1;
            looked.old += u64::from(is_in_doubt && found == 0);
            looked.new += u64::from(is_in_doubt && found == 1);
        }
        Ok(looked)
    }

    /// Compares the whole disk, when no client is left that could send anything, and takes what
    /// is there for what it is from now on (L2).
    ///
    /// # Errors
    /// If a block is not what it may be.
    pub fn settle(&mut self, bytes: &[u8]) -> Result<Looked> {
        ensure!(bytes.len() == self.blocks.len() * BLOCK_BYTES, "{} bytes", bytes.len());
        let looked = self.check(0, bytes, u64::MAX)?;
        for (block, content) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let versions = &self.blocks[block];
            let found = versions.iter().rev().find(|v| self.content(block, **v) == content);
            let Some(mut found) = found.copied() else { continue };
            found.acknowledged.get_or_insert(0);
            self.blocks[block] = vec![found];
        }
        Ok(looked)
    }

    /// A sentence about a block that is not what it may be.
    fn fault(&self, block: usize, content: &[u8], time: u64) -> String {
        let versions = &self.blocks[block];
        let known = versions.iter().find(|v| self.content(block, **v) == content);
        let tail = &versions[versions.len().saturating_sub(4)..];
        let holds = match known {
            Some(version) => format!("the wrong {version:?}"),
            None => format!("foreign bytes {:02x?}", &content[..TAG_BYTES.min(content.len())]),
        };
        format!("disk {:#x}, block {block}, at {time}: it holds {holds}; sent: {tail:?}", self.name)
    }

    fn content(&self, block: usize, version: Version) -> Vec<u8> {
        if version.is_zeros {
            return vec![0; BLOCK_BYTES];
        }
        let mixed = (self.name ^ version.sequence.rotate_left(32)).wrapping_mul(block as u64 | 1);
        let words = [self.name, block as u64, version.sequence, mixed].map(u64::to_le_bytes);
        words.as_flattened().repeat(BLOCK_BYTES / TAG_BYTES)
    }
}

/// A ledger that several writers keep.
#[derive(Clone, Debug)]
pub struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    /// Shares a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(ledger)))
    }

    /// The ledger itself.
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "ledger/tests.rs"]
mod tests;
