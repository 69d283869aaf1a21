//! Load: so many requests in flight all the time, until the time is over.
//!
//! Way: one task for each request in flight (a lane) sends the next when its last was answered.
//!      So the server is never asked for more than the depth, and a slow answer is not made up
//!      for later: latencies are those of a guest that waits (a closed loop).
//! Holds:
//!   L1 no request begins after the time or the count is over, and all that began are awaited.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::account::Usage;
use crate::disk::Disk;
use crate::histogram::Histogram;
use crate::payload::{self, Payload};
use crate::random::Random;
use crate::wait;
use crate::workload::{Direction, Workload};

/// Longest that the last requests may take when the time is over.
pub const DRAIN: Duration = Duration::from_secs(120);
/// Most requests of one load.
pub const OPERATIONS_MAX: u64 = 20_000_000;

/// What a load has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Requests that were answered.
    pub operations: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Half of the requests took no longer.
    pub p50: Option<Duration>,
    /// 99 of a hundred took no longer.
    pub p99: Option<Duration>,
    /// Processor time of the client.
    pub client: Duration,
}

/// How much is done, where, and with which random numbers.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What.
    pub workload: Workload,
    /// On the first so many bytes of the disk.
    pub span: u64,
    /// How long.
    pub time: Duration,
    /// Start of all random choices; never the same twice in a run.
    pub seed: u64,
}

struct Shared {
    disk: Arc<Disk>,
    plan: Plan,
    deadline: Instant,
    begun: AtomicU64,
}

/// Runs a load.
///
/// # Errors
/// The first error of a request; a block that is not what was written there (B3).
pub async fn run(disk: &Arc<Disk>, plan: Plan) -> Result<Outcome> {
    // The first request of a connection may have to open something.
    disk.read(0, payload::BLOCK_BYTES as u32).await.context("the first read")?;
    let before = Usage::of(std::process::id())?;
    let started = Instant::now();
    let deadline = started + plan.time;
    let shared = Arc::new(Shared { disk: disk.clone(), plan, deadline, begun: AtomicU64::new(0) });
    let mut lanes = JoinSet::new();
    let mut seeds = Random(plan.seed);
    for _ in 0..plan.workload.depth {
        lanes.spawn(lane(shared.clone(), seeds.next()));
    }
    let mut all = Histogram::default();
    let what = format!("the load {}", plan.workload.name);
    wait::within(&what, plan.time + DRAIN, async {
        while let Some(ended) = lanes.join_next().await {
            all.merge(&ended??);
        }
        Ok::<(), anyhow::Error>(())
    })
    .await?;
    let seconds = started.elapsed().as_secs_f64();
    let client = Usage::of(std::process::id())?.since(before).processor;
    let (p50, p99) = (all.percentile(50.0), all.percentile(99.0));
    Ok(Outcome { operations: all.count(), seconds, p50, p99, client })
}

async fn lane(shared: Arc<Shared>, seed: u64) -> Result<Histogram> {
    let Plan { workload, span, .. } = shared.plan;
    let mut histogram = Histogram::default();
    let mut random = Random(seed);
    let mut payload = Payload::new(seed);
    let mut bytes = vec![0; workload.bytes as usize];
    while Instant::now() < shared.deadline {
        let index = shared.begun.fetch_add(1, Ordering::Relaxed);
        if index >= OPERATIONS_MAX {
            break; // L1
        }
        let offset = workload.offset(index, random.next(), span);
        let what = || format!("{} at byte {offset}", workload.name);
        match workload.direction {
            Direction::Write => {
                payload.fill(&mut bytes, offset);
                let begun = Instant::now();
                shared.disk.write(offset, &bytes).await.with_context(what)?;
                histogram.note(begun.elapsed());
            }
            Direction::Read => {
                let begun = Instant::now();
                let read = shared.disk.read(offset, workload.bytes).await.with_context(what)?;
                histogram.note(begun.elapsed());
                payload::check(&read, offset).with_context(what)?; // B3
            }
        }
    }
    Ok(histogram)
}

/// Writes a whole disk once, from beginning to end, so that no later write has to make room.
///
/// # Errors
/// The first error of a request.
pub async fn preallocate(disk: &Disk, span: u64, seed: u64) -> Result<()> {
    let mut payload = Payload::new(seed);
    let mut offset = 0;
    while offset < span {
        let length = (span - offset).min(1 << 20);
        let mut bytes = vec![0; length as usize];
        payload.fill(&mut bytes, offset);
        wait::within("a write that makes room", DRAIN, disk.write(offset, &bytes)).await?;
        offset += length;
    }
    Ok(())
}
