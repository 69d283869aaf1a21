//! Workload: several writers and a reader on one disk, all by its history.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use crate::disk::{Disk, Face};
use crate::herd::Herd;
use crate::history::{Checked, History, Span};
use crate::wait;

/// Longest that running operations may take to end when all is well.
const DRAIN: Duration = Duration::from_secs(60);

/// Numbers that look random and come back with their seed (splitmix64).
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub const fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// What writers do.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// How many of them.
    pub writers: usize,
    /// Of a hundred changes, so many make zeros.
    pub zeros: usize,
    /// The longest write.
    pub bytes_max: usize,
    /// Start of all choices.
    pub seed: u64,
}

/// A history that several tasks write.
#[derive(Clone, Debug)]
pub struct SharedHistory(Arc<Mutex<History>>);

impl SharedHistory {
    /// See [`History::new`].
    #[must_use]
    pub fn new(size: usize, cell_bytes: usize, salt: u32) -> Self {
        Self(Arc::new(Mutex::new(History::new(size, cell_bytes, salt))))
    }

    /// The history itself.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the whole disk and compares it.
    ///
    /// # Errors
    /// See [`History::check`].
    pub async fn check(&self, disk: &Disk) -> Result<(Checked, Vec<u8>)> {
        let length = {
            let history = self.lock();
            history.cell_count() * history.cell_bytes()
        };
        let image = disk.read(0, length).await?;
        let checked = self.lock().check(&image)?;
        Ok((checked, image))
    }

    /// Reads the whole disk through every sheep and compares it.
    ///
    /// # Errors
    /// See [`History::check`]; also if nothing was acknowledged that could be compared.
    pub async fn check_everywhere(&self, herd: &Herd, name: &str) -> Result<()> {
        for index in 0..herd.count() {
            let disk = Disk::open(herd.sheep(index), Face::NbdUnix, name).await?;
            let checked = self.check(&disk).await;
            let (checked, _) = checked.with_context(|| format!("through sheep {index}"))?;
            ensure!(checked.acknowledged > 0, "nothing was compared");
            disk.close().await?;
        }
        Ok(())
    }
}

/// Writers and a reader at work.
#[derive(Debug)]
pub struct Traffic {
    tasks: Vec<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

struct Worker {
    disk: Arc<Disk>,
    history: SharedHistory,
    random: Random,
    mix: Mix,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Traffic {
    /// Sets writers and a reader to work. Must be called inside a runtime.
    #[must_use]
    pub fn start(disk: &Arc<Disk>, history: &SharedHistory, mix: Mix) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let worker = |number: usize| Worker {
            disk: disk.clone(),
            history: history.clone(),
            random: Random(mix.seed.wrapping_mul(1009).wrapping_add(number as u64)),
            mix,
            stop: stop.clone(),
            acknowledged: acknowledged.clone(),
        };
        let mut tasks: Vec<_> =
            (0..mix.writers).map(|n| tokio::spawn(worker(n).write_all())).collect();
        tasks.push(tokio::spawn(worker(mix.writers).read_all()));
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
    /// If an operation fails, or nothing comes for `limit`.
    pub async fn more(&mut self, more: u64, limit: Duration) -> Result<()> {
        let goal = self.acknowledged() + more;
        while self.acknowledged() < goal {
            let before = self.acknowledged();
            let what = format!("an acknowledged write after {before}");
            wait::until(&what, limit, async || {
                ensure!(!self.tasks.iter().any(JoinHandle::is_finished), "a writer has ended");
                Ok((self.acknowledged() > before).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Lets everything end that was begun; returns how many changes were acknowledged in all.
    ///
    /// # Errors
    /// The first error of any operation: nothing may fail.
    pub async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            wait::within("the last operations", DRAIN, task).await??;
        }
        Ok(self.acknowledged.load(Ordering::Relaxed))
    }

    /// After the disk's own sheep died: what was on the way stays unacknowledged. Returns how
    /// many changes were acknowledged in all.
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

impl Worker {
    async fn write_all(mut self) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let span = self.choose();
            let cell_bytes = self.history.lock().cell_bytes();
            let offset = (span.first * cell_bytes) as u64;
            let id;
            if self.random.below(100) < self.mix.zeros {
                id = self.history.lock().begin_zero(span);
                self.disk.zero(offset, span.count * cell_bytes).await.context("zero")?;
            } else {
                let bytes;
                (id, bytes) = self.history.lock().begin_write(span);
                self.disk.write(offset, &bytes).await.context("write")?;
            }
            self.history.lock().end_write(id);
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn read_all(mut self) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let span = self.choose();
            let cell_bytes = self.history.lock().cell_bytes();
            let start = self.history.lock().begin_read();
            let offset = (span.first * cell_bytes) as u64;
            let bytes = self.disk.read(offset, span.count * cell_bytes).await.context("read")?;
            self.history.lock().end_read(start, span, &bytes)?;
        }
        Ok(())
    }

    /// A range of cells: half of them near the middle of the disk, so that they overlap.
    fn choose(&mut self) -> Span {
        let (cells, cell_bytes) = {
            let history = self.history.lock();
            (history.cell_count(), history.cell_bytes())
        };
        let long = self.random.below(8) == 0;
        let longest = if long { self.mix.bytes_max } else { self.mix.bytes_max.min(8192) };
        let count = 1 + self.random.below(longest / cell_bytes);
        let hot = cells.min((128 << 10) / cell_bytes);
        let first = match self.random.below(2) {
            0 => cells / 2 - hot / 2 + self.random.below(hot),
            _ => self.random.below(cells),
        };
        Span { first: first.min(cells - count), count }
    }
}
