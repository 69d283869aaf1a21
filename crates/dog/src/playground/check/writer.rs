//! Writer: several writes on the way at a time, each noted when it is acknowledged.
//!
//! Holds:
//!   W1 no two writes on the way touch the same block, so that the last acknowledged one is what
//!      must be read;
//!   W2 a block whose write was not acknowledged is a failure, never a guess.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sheepdog_proto::BLOCK_BYTES;
use sheepdog_proto::id::mix64;
use tokio::task::JoinSet;

use super::face::{Disk, Face};
use super::pattern::{self, Tag};

/// Writes on the way at a time.
const DEPTH: u32 = 8;

/// Blocks that belong to one worker in a row. The rows begin half a row off, so that some of them
/// lie across the border of two objects.
const ROW_BLOCKS: u32 = 16;

/// What must be read: the last acknowledged write of each block that was written.
pub(super) type Ledger = BTreeMap<u32, u64>;

/// How far the writes of one face have come.
#[derive(Debug, Default)]
pub(super) struct Tally {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    before: u64,
    after: u64,
    killed: Option<Instant>,
    last: Option<Instant>,
    pause: Duration,
    error: Option<String>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledged(&self, now: Instant) {
        let mut state = self.lock();
        if state.killed.is_some() {
            state.after += 1;
            let since = state.last.map_or(Duration::ZERO, |last| now - last);
            state.pause = state.pause.max(since);
        } else {
            state.before += 1;
        }
        state.last = Some(now);
    }

    /// From now on writes count as "after".
    pub(super) fn killed(&self, now: Instant) {
        self.lock().killed = Some(now);
    }

    pub(super) fn before(&self) -> u64 {
        self.lock().before
    }

    pub(super) fn after(&self) -> u64 {
        self.lock().after
    }

    /// Longest time between two acknowledgements, the second of which came after the kill.
    pub(super) fn pause(&self) -> Duration {
        self.lock().pause
    }

    /// How long nothing was acknowledged, since `start` at most.
    pub(super) fn idle(&self, start: Instant) -> Duration {
        self.lock().last.map_or(start, |last| last.max(start)).elapsed()
    }

    pub(super) fn error(&self) -> Option<String> {
        self.lock().error.clone()
    }
}

/// The writes of one face.
#[derive(Debug)]
pub(super) struct Writer {
    workers: JoinSet<Result<Ledger, String>>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    /// Starts writing; goes on until [`Writer::finish`].
    pub(super) fn start(face: Face, disk: Arc<Disk>, size: u64, tally: Arc<Tally>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sequence = Arc::new(AtomicU64::new(1));
        let blocks = (size / BLOCK_BYTES as u64) as u32;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = mix64(time.as_nanos() as u64 ^ u64::from(face.number()));
        let mut workers = JoinSet::new();
        for number in 0..DEPTH {
            let worker = Worker {
                face,
                disk: disk.clone(),
                number,
                blocks,
                random: mix64(seed ^ u64::from(number)),
                sequence: sequence.clone(),
                ledger: Ledger::new(),
            };
            workers.spawn(worker.run(stop.clone(), tally.clone()));
        }
        Self { workers, stop }
    }

    /// Waits for what is on the way. The error is that of the first write that failed.
    pub(super) async fn finish(mut self) -> Result<Ledger, String> {
        self.stop.store(true, Ordering::Release);
        let mut ledger = Ledger::new();
        while let Some(worker) = self.workers.join_next().await {
            ledger.extend(worker.map_err(|error| error.to_string())??);
        }
        Ok(ledger)
    }
}

struct Worker {
    face: Face,
    disk: Arc<Disk>,
    number: u32,
    blocks: u32,
    random: u64,
    sequence: Arc<AtomicU64>,
    ledger: Ledger,
}

impl Worker {
    async fn run(mut self, stop: Arc<AtomicBool>, tally: Arc<Tally>) -> Result<Ledger, String> {
        while !stop.load(Ordering::Acquire) {
            if let Err(error) = self.write_once().await {
                tally.lock().error.get_or_insert_with(|| error.clone());
                return Err(error); // W2
            }
            tally.acknowledged(Instant::now());
        }
        Ok(self.ledger)
    }

    async fn write_once(&mut self) -> Result<(), String> {
        let (first, count) = self.choose();
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let mut data = vec![0; count as usize * BLOCK_BYTES];
        for (block, bytes) in (first..).zip(data.chunks_mut(BLOCK_BYTES)) {
            pattern::fill(Tag { face: self.face.number(), block, sequence }, bytes);
        }
        let offset = u64::from(first) * BLOCK_BYTES as u64;
        let written = self.disk.write(offset, data).await;
        written.map_err(|error| format!("a write of {count} blocks at {first} failed: {error}"))?;
        self.ledger.extend((first..first + count).map(|block| (block, sequence)));
        Ok(())
    }

    /// Some blocks inside a row of this worker (W1): mostly one, sometimes a whole row.
    fn choose(&mut self) -> (u32, u32) {
        let rows = (self.blocks - ROW_BLOCKS) / ROW_BLOCKS / DEPTH;
        let row = self.number + DEPTH * self.below(rows);
        let first = ROW_BLOCKS / 2 + row * ROW_BLOCKS;
        let count = match self.below(8) {
            0 => ROW_BLOCKS,
            1 => 4,
            _ => 1,
        };
        (first + self.below(ROW_BLOCKS - count + 1), count)
    }

    fn below(&mut self, end: u32) -> u32 {
        self.random = mix64(self.random);
        ((self.random >> 32) % u64::from(end)) as u32
    }
}
