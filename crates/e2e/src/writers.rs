//! Writers: tasks that write tagged blocks, each in a part of the disk of its own.
//!
//! Way: blocks of 4 KiB, 64 KiB and 1 MiB, and holes of the same lengths; each writer waits for
//!      an answer before it sends the next, so as many are in flight as there are writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;

use crate::disk::Disk;
use crate::ledger::{BLOCK_BYTES, SharedLedger};
use crate::wait;
use crate::workload::Random;

/// Longest that a running change may take to end when all is well.
const DRAIN: Duration = Duration::from_secs(60);
/// Lengths in blocks, the frequent ones more often.
const LENGTHS: [usize; 8] = [1, 1, 1, 1, 16, 16, 16, 256];

/// What writers do.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// How many of them; each has so many parts of the disk.
    pub writers: usize,
    /// Of a hundred changes, so many make zeros.
    pub zeros: usize,
    /// Start of all choices.
    pub seed: u64,
}

/// Writers at work.
#[derive(Debug)]
pub struct Writers {
    tasks: Vec<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

struct Writer {
    disk: Arc<Disk>,
    ledger: SharedLedger,
    first: usize,
    count: usize,
    zeros: usize,
    random: Random,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Writers {
    /// Sets writers to work. Must be called inside a runtime.
    #[must_use]
    pub fn start(disk: &Arc<Disk>, ledger: &SharedLedger, mix: Mix) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let count = ledger.lock().block_count() / mix.writers;
        let writer = |number: usize| Writer {
            disk: disk.clone(),
            ledger: ledger.clone(),
            first: number * count,
            count,
            zeros: mix.zeros,
            random: Random(mix.seed.wrapping_mul(1013).wrapping_add(number as u64)),
            stop: stop.clone(),
            acknowledged: acknowledged.clone(),
        };
        let tasks = (0..mix.writers).map(|n| tokio::spawn(writer(n).write_all())).collect();
        Self { tasks, stop, acknowledged }
    }

    /// Changes that were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits for `more` acknowledged changes.
    ///
    /// # Errors
    /// If a change fails, or nothing comes for `limit`.
    pub async fn more(&mut self, more: u64, limit: Duration) -> Result<()> {
        let goal = self.acknowledged() + more;
        while self.acknowledged() < goal {
            let before = self.acknowledged();
            let what = format!("an acknowledged change after {before}");
            wait::until(&what, limit, async || {
                if let Some(ended) = self.tasks.iter().position(JoinHandle::is_finished) {
                    self.tasks.swap_remove(ended).await??;
                    bail!("a writer has ended");
                }
                Ok((self.acknowledged() > before).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Lets everything end that was begun; returns how many changes were acknowledged.
    ///
    /// # Errors
    /// The first error of any change: nothing may fail.
    pub async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            wait::within("the last changes", DRAIN, task).await??;
        }
        Ok(self.acknowledged.load(Ordering::Relaxed))
    }

    /// After the sheep died: what was on the way stays in doubt, and is not sent again. Returns
    /// how many changes were acknowledged.
    pub async fn abandon(self) -> u64 {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
        self.acknowledged.load(Ordering::Relaxed)
    }
}

impl Writer {
    async fn write_all(mut self) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let length = LENGTHS[self.random.below(LENGTHS.len())].min(self.count);
            let first = self.first + self.random.below(self.count / length) * length;
            let is_zeros = self.random.below(100) < self.zeros;
            let (sequence, bytes) = self.ledger.lock().begin(first, length, is_zeros);
            let offset = (first * BLOCK_BYTES) as u64;
            if is_zeros {
                self.disk.zero(offset, bytes.len()).await.context("zero")?;
            } else {
                self.disk.write(offset, &bytes).await.context("write")?;
            }
            self.ledger.lock().end(sequence, first, length);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
