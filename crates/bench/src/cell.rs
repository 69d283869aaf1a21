//! Cell: one load on one target in one round, and what it cost whom.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;

use crate::account::{Memory, Usage};
use crate::load::Outcome;
use crate::numbers::{self, Numbers};
use crate::prometheus::StoreCounters;
use crate::target::Target;
use crate::workload::Workload;

/// What servers used while a load ran.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Each server, in order; nothing for a target without a server.
    pub servers: Vec<Usage>,
    /// Of each server when the load was over.
    pub memory: Vec<Memory>,
    /// Of the stores of all servers.
    pub counters: StoreCounters,
    /// How long the file system went on writing when the load was over.
    pub settle: Duration,
    /// Bytes that arrived at the disk until then.
    pub disk_written: Option<u64>,
}

/// Runs a load and accounts for what the processes used meanwhile. The counters are not asked.
///
/// # Errors
/// Those of the load; if a process has ended.
pub async fn measure(
    pids: &[u32],
    load: impl Future<Output = Result<Outcome>>,
) -> Result<(Outcome, Cost)> {
    let usages = || pids.iter().map(|pid| Usage::of(*pid)).collect::<Result<Vec<Usage>>>();
    let before = usages()?;
    let outcome = load.await?;
    let after = usages()?;
    let used = after.into_iter().zip(before).map(|(after, before)| after.since(before));
    let memory = pids.iter().map(|pid| Memory::of(*pid)).collect::<Result<Vec<Memory>>>()?;
    let cost = Cost { servers: used.collect(), memory, ..Cost::default() };
    Ok((outcome, cost))
}

/// The numbers of a cell. What was not measured is absent.
#[must_use]
pub fn numbers(workload: &Workload, target: Target, outcome: &Outcome, cost: &Cost) -> Numbers {
    let mut cell = Cell { numbers: Numbers::new(), operations: outcome.operations as f64 };
    let bytes = cell.operations * f64::from(workload.bytes);
    cell.set(numbers::IOPS, cell.operations / outcome.seconds);
    cell.set(numbers::MB_PER_S, bytes / outcome.seconds / 1e6);
    let microseconds = |latency: Option<Duration>| Some(latency?.as_secs_f64() * 1e6);
    cell.set_if(numbers::P50_US, microseconds(outcome.p50));
    cell.set_if(numbers::P99_US, microseconds(outcome.p99));
    let client = outcome.client.as_secs_f64();
    cell.set(numbers::CLIENT_BUSY, client / outcome.seconds * 100.0);
    cell.set(numbers::CPU_US_CLIENT, client * 1e6 / cell.operations);
    if !cost.servers.is_empty() {
        cell.servers(cost);
    }
    if workload.is_write() {
        cell.set(numbers::SETTLE_MS, cost.settle.as_secs_f64() * 1e3);
        cell.written(cost, bytes, target.copies() as f64);
    }
    cell.numbers
}

struct Cell {
    numbers: Numbers,
    operations: f64,
}

impl Cell {
    fn set(&mut self, name: &str, value: f64) {
        // A quotient by zero is no number: nothing was done.
        if value.is_finite() {
            self.numbers.insert(name.to_owned(), value);
        }
    }

    fn set_if(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    fn servers(&mut self, cost: &Cost) {
        let mut all = 0.0;
        for (index, usage) in (1..).zip(&cost.servers) {
            let microseconds = usage.processor.as_secs_f64() * 1e6 / self.operations;
            self.set(&format!("{}{index}", numbers::CPU_US_SERVER), microseconds);
            all += microseconds;
        }
        self.set(numbers::CPU_US_SERVERS, all);
        for (index, memory) in (1..).zip(&cost.memory) {
            let Memory { resident, resident_max } = *memory;
            self.set(&format!("{}{index}", numbers::RESIDENT_MB), resident as f64 / 1e6);
            self.set(&format!("{}{index}", numbers::RESIDENT_MAX_MB), resident_max as f64 / 1e6);
        }
    }

    fn written(&mut self, cost: &Cost, bytes: f64, copies: f64) {
        if !cost.servers.is_empty() {
            let written: u64 = cost.servers.iter().map(|usage| usage.written).sum();
            self.set(numbers::DEVICE_BYTES, written as f64 / bytes / copies);
        }
        let disk = cost.disk_written.map(|written| written as f64 / bytes / copies);
        self.set_if(numbers::DISK_BYTES, disk);
        let StoreCounters { syncs, batches, written } = &cost.counters;
        let per_thousand = 1e3 / self.operations / copies;
        self.set_if(numbers::SYNCS, syncs.map(|count| count * per_thousand));
        self.set_if(numbers::BATCHES, batches.map(|count| count * per_thousand));
        for (file, written) in written {
            self.set(&format!("{}{file}", numbers::WRITTEN), written / bytes / copies);
        }
    }
}

#[cfg(test)]
#[path = "cell/tests.rs"]
mod tests;
