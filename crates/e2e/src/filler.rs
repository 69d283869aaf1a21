//! Filler: writes a disk from its first block to its last, until there is no space, and goes on
//! when there is some.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use crate::disk::Disk;
use crate::ledger::{BLOCK_BYTES, SharedLedger};
use crate::wait;

/// Longest that anything may take.
const LIMIT: Duration = Duration::from_secs(60);
/// So long nothing was acknowledged where writes are said to wait.
const STILL: Duration = Duration::from_millis(700);

/// Blocks that one task writes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The first block.
    pub first: usize,
    /// How many.
    pub count: usize,
}

/// Tasks that write one chunk after the other.
#[derive(Debug)]
pub struct Filler {
    tasks: Vec<JoinHandle<Result<()>>>,
    written: Arc<Mutex<Vec<Chunk>>>,
    stop: Arc<AtomicBool>,
}

impl Filler {
    /// Begins to write chunks of so many blocks, with as many tasks, each of which begins in a
    /// part of its own.
    #[must_use]
    pub fn start(disk: &Arc<Disk>, ledger: &SharedLedger, chunk_blocks: &[usize]) -> Self {
        let written = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let part = ledger.lock().block_count() / chunk_blocks.len();
        let task = |number: usize, count: usize| {
            let (disk, ledger) = (disk.clone(), ledger.clone());
            let (written, stop) = (written.clone(), stop.clone());
            async move {
                for first in (number * part..(number + 1) * part).step_by(count) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    write(&disk, &ledger, first, count).await?;
                    written
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(Chunk { first, count });
                }
                Ok(())
            }
        };
        let counts = chunk_blocks.iter().copied().enumerate();
        let tasks = counts.map(|(number, count)| tokio::spawn(task(number, count))).collect();
        Self { tasks, written, stop }
    }

    /// What was acknowledged.
    #[must_use]
    pub fn written(&self) -> Vec<Chunk> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until nothing goes on any more.
    ///
    /// # Errors
    /// If a write fails, or the disk is full and space is not.
    pub async fn until_it_waits(&self) -> Result<()> {
        let mut last = (0, Instant::now());
        wait::until("writes to wait for space", LIMIT, async || {
            ensure!(!self.tasks.iter().any(JoinHandle::is_finished), "a task has ended");
            let count = self.written().len();
            if count != last.0 {
                last = (count, Instant::now());
            }
            Ok((last.1.elapsed() > STILL).then_some(()))
        })
        .await
    }

    /// Waits until something goes on again.
    ///
    /// # Errors
    /// If it does not.
    pub async fn until_it_goes_on(&self, what: &str) -> Result<()> {
        let before = self.written().len();
        wait::until(&format!("writing to go on {what}"), LIMIT, async || {
            ensure!(!self.tasks.iter().any(JoinHandle::is_finished), "a task has ended");
            Ok((self.written().len() > before).then_some(()))
        })
        .await
    }

    /// Lets what was begun end.
    ///
    /// # Errors
    /// If a write fails or does not end.
    pub async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            wait::within("the last write", LIMIT, task).await??;
        }
        Ok(())
    }

    /// Forgets what was begun.
    pub async fn abandon(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// Writes a few blocks by a ledger.
///
/// # Errors
/// If it fails or takes too long.
pub async fn write(disk: &Disk, ledger: &SharedLedger, first: usize, count: usize) -> Result<()> {
    let (sequence, bytes) = ledger.lock().begin(first, count, false);
    disk.write((first * BLOCK_BYTES) as u64, &bytes).await.context("write")?;
    ledger.lock().end(sequence, first, count);
    Ok(())
}

/// Makes a few blocks zeros by a ledger, as a discard of a file system in a guest would.
///
/// # Errors
/// If it fails or takes too long.
pub async fn discard(disk: &Disk, ledger: &SharedLedger, first: usize, count: usize) -> Result<()> {
    let (sequence, bytes) = ledger.lock().begin(first, count, true);
    let zero = disk.zero((first * BLOCK_BYTES) as u64, bytes.len());
    wait::within("a discard", LIMIT, zero).await?;
    ledger.lock().end(sequence, first, count);
    Ok(())
}

/// Reads chunks and compares them. What is being written is not for reading: a read waits for
/// the write that it could overtake.
///
/// # Errors
/// If a block is not what it may be.
pub async fn look(disk: &Disk, ledger: &SharedLedger, chunks: &[Chunk]) -> Result<()> {
    for Chunk { first, count } in chunks.iter().copied() {
        let read = disk.read((first * BLOCK_BYTES) as u64, count * BLOCK_BYTES);
        let bytes = wait::within("a read", LIMIT, read).await?;
        ledger.lock().check(first, &bytes, u64::MAX)?;
    }
    Ok(())
}
