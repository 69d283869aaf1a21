//! Run: starts what is measured, then goes through rounds, workloads and targets.
//!
//! Why: targets take turns within each workload (A B C A B C), so that an hour in which the
//!      machine is slow is slow for all of them.
//! Holds:
//!   N1 one load runs at a time, and what it left in the page cache is written before the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::account::{self, Memory};
use crate::cell::{self, Cost};
use crate::cluster::{Cluster, SHEEP_COUNT};
use crate::disk::Disk;
use crate::floor::echo::Echo;
use crate::floor::fio::{self, Job};
use crate::floor::qemu::{self, QemuNbd};
use crate::load::{self, Outcome, Plan};
use crate::machine::{self, Machine};
use crate::numbers::{self, Numbers};
use crate::options::{Options, Selection};
use crate::place::Place;
use crate::random::Random;
use crate::report::{Report, Series};
use crate::target::Target;
use crate::workload::Workload;
use crate::{floor, options};

const VDI: &str = "bench";
/// fio's writes do not name their place, so they have a VDI of their own.
const VDI_FIO: &str = "bench-fio";
/// Room that a sheep may need besides its objects.
const SHEEP_ROOM: u64 = 512 << 20;

/// Everything that is measured, running.
struct Bench {
    place: Place,
    selection: Selection,
    cluster: Option<Cluster>,
    files: Vec<PathBuf>,
    qemu: BTreeMap<Target, QemuNbd>,
    echo: Option<Echo>,
    seeds: Random,
}

/// Measures everything that the options ask for.
///
/// # Errors
/// If anything does not work: a run that lost a part is no run.
pub async fn run(options: &Options) -> Result<Report> {
    let selection = options.selection()?;
    let place = Place::make(&options.dir, room(&selection))?;
    let machine = Machine::of(place.path())?;
    let mut bench = Bench {
        place,
        selection,
        cluster: None,
        files: Vec::new(),
        qemu: BTreeMap::new(),
        echo: None,
        seeds: Random(0x5eed),
    };
    bench.start(&sheep(options)?, options.shards).await?;
    let mut report = Report::new(machine, options.commit.clone(), bench.selection.clone());
    report.memory.push(bench.memory()?);
    bench.rounds(&mut report).await?;
    report.machine.load_after = machine::load()?;
    if let Some(cluster) = bench.cluster.take() {
        cluster.stop().await?;
    }
    Ok(report)
}

/// Bytes that a run may need at most.
fn room(selection: &Selection) -> u64 {
    let wanted = |is: fn(Target) -> bool| selection.targets.iter().filter(|t| is(**t)).count();
    let files = wanted(Target::is_qemu) as u64 + if wanted(Target::is_raw) > 0 { 3 } else { 0 };
    let vdis = if selection.targets.contains(&Target::ClusterFio) { 2 } else { 1 };
    let cluster = if wanted(Target::is_cluster) > 0 { SHEEP_COUNT as u64 } else { 0 };
    selection.span * files + cluster * (SHEEP_ROOM + selection.span * vdis * 5 / 4)
}

fn sheep(options: &Options) -> Result<PathBuf> {
    let beside = || -> Result<PathBuf> {
        Ok(std::env::current_exe().context("where is this program")?.with_file_name("sheep"))
    };
    let path = options.sheep.clone().map_or_else(beside, Ok)?;
    ensure!(path.is_file(), "there is no {}: `cargo xtask bench` builds it", path.display());
    Ok(path)
}

impl Bench {
    fn wants(&self, is: impl Fn(Target) -> bool) -> bool {
        self.selection.targets.iter().any(|target| is(*target))
    }

    async fn start(&mut self, sheep: &Path, shards: Option<u16>) -> Result<()> {
        let span = self.selection.span;
        if self.wants(Target::is_by_fio) {
            fio::check(self.wants(|target| target == Target::ClusterFio)).await?;
        }
        if self.wants(Target::is_raw) {
            for index in 0..SHEEP_COUNT {
                let file = self.place.file(&format!("raw{index}"));
                floor::make_file(&file, span, self.seeds.next())?;
                self.files.push(file);
            }
        }
        for (target, cache) in
            [(Target::QemuDirectsync, "directsync"), (Target::QemuWriteback, "writeback")]
        {
            if self.wants(|wanted| wanted == target) {
                let file = self.place.file(&format!("qemu-{cache}"));
                floor::make_file(&file, span, self.seeds.next())?;
                let server = QemuNbd::start(self.place.path(), &file, cache).await?;
                self.qemu.insert(target, server);
            }
        }
        if self.wants(|target| target == Target::Echo) {
            self.echo = Some(Echo::start(self.place.path()).await?);
        }
        if self.wants(Target::is_cluster) {
            eprintln!("bench: starting {SHEEP_COUNT} sheep and writing the VDI once");
            let cluster = Cluster::start(sheep, &self.place, shards).await?;
            cluster.create(VDI, span, self.seeds.next()).await?;
            if self.wants(|target| target == Target::ClusterFio) {
                cluster.create(VDI_FIO, span, self.seeds.next()).await?;
            }
            self.cluster = Some(cluster);
        }
        self.place.settle().await?;
        Ok(())
    }

    async fn rounds(&mut self, report: &mut Report) -> Result<()> {
        let Selection { workloads, targets, rounds, .. } = self.selection.clone();
        for workload in &workloads {
            for target in targets.iter().filter(|target| target.takes(workload)) {
                report.series.push(Series::new(*workload, *target));
            }
        }
        for round in 1..=rounds {
            for series in &mut report.series {
                let (workload, target) = (series.workload, series.target);
                let what = || format!("{} on {}", workload.name, target.name());
                let numbers = self.cell(workload, target).await;
                let numbers = numbers.with_context(|| self.tails()).with_context(what)?;
                eprintln!("bench: round {round} of {rounds}: {}", sentence(&what(), &numbers));
                series.rounds.push(numbers);
            }
            report.memory.push(self.memory()?);
        }
        Ok(())
    }

    /// One load on one target (N1).
    async fn cell(&mut self, workload: Workload, target: Target) -> Result<Numbers> {
        let Selection { span, time, .. } = self.selection;
        let plan = Plan { workload, span, time, seed: self.seeds.next() };
        let disk_before = account::disk_written(self.place.path());
        let (outcome, mut cost) = match target {
            Target::ClusterNbd | Target::ClusterLegacy | Target::ClusterFio => {
                self.on_cluster(target, plan).await?
            }
            Target::Raw | Target::RawThree | Target::RawBatched => {
                (self.on_files(target, plan).await?, Cost::default())
            }
            Target::QemuDirectsync | Target::QemuWriteback => self.on_qemu(target, plan).await?,
            Target::Echo => {
                let echo = self.echo.as_ref().context("the echo does not run")?;
                cell::measure(&[echo.pid()], echo.run(plan)).await?
            }
        };
        cost.settle = self.place.settle().await?;
        let disk_after = account::disk_written(self.place.path());
        cost.disk_written = disk_after.zip(disk_before).map(|(after, before)| after - before);
        Ok(cell::numbers(&workload, target, &outcome, &cost))
    }

    async fn on_cluster(&self, target: Target, plan: Plan) -> Result<(Outcome, Cost)> {
        let cluster = self.cluster.as_ref().context("the cluster does not run")?;
        let pids = cluster.pids();
        let before = cluster.counters().await?;
        let (outcome, cost) = if target == Target::ClusterFio {
            let job = Job::Nbd(cluster.nbd_uri(VDI_FIO));
            cell::measure(&pids, fio::run(&job, plan)).await?
        } else {
            let disk = match target {
                Target::ClusterLegacy => Disk::legacy(cluster.legacy()?, VDI).await?,
                _ => Disk::nbd(&cluster.nbd()?, VDI, true).await?,
            };
            on_disk(&pids, disk, plan).await?
        };
        let counters = cluster.counters().await?.since(&before);
        Ok((outcome, Cost { counters, ..cost }))
    }

    async fn on_files(&self, target: Target, plan: Plan) -> Result<Outcome> {
        let first = self.files.first().context("there are no files")?;
        let job = match target {
            Target::RawThree => Job::Direct(self.files.clone()),
            Target::RawBatched => Job::Batched(first.clone()),
            _ => Job::Direct(vec![first.clone()]),
        };
        fio::run(&job, plan).await
    }

    async fn on_qemu(&self, target: Target, plan: Plan) -> Result<(Outcome, Cost)> {
        let server = self.qemu.get(&target).context("qemu-nbd does not run")?;
        let disk = Disk::nbd(&server.endpoint(), qemu::EXPORT, target.is_durable()).await?;
        on_disk(&[server.pid()], disk, plan).await
    }

    fn memory(&self) -> Result<Vec<Memory>> {
        let pids = self.cluster.as_ref().map_or_else(Vec::new, Cluster::pids);
        pids.into_iter().map(Memory::of).collect()
    }

    fn tails(&self) -> String {
        self.cluster.as_ref().map_or_else(String::new, Cluster::tails)
    }
}

async fn on_disk(pids: &[u32], disk: Disk, plan: Plan) -> Result<(Outcome, Cost)> {
    let disk = Arc::new(disk);
    let measured = cell::measure(pids, load::run(&disk, plan)).await?;
    let disk = Arc::into_inner(disk).context("a request is still on its way")?;
    disk.close().await?;
    Ok(measured)
}

fn sentence(what: &str, numbers: &Numbers) -> String {
    let iops = numbers.get(numbers::IOPS).copied().unwrap_or_default();
    format!("{what}: {iops:.0} operations/s")
}

/// Ends a run that the user breaks off; everything that was started goes with it.
///
/// # Errors
/// Those of the run, or that it was broken off.
pub async fn run_until_interrupted(options: &options::Options) -> Result<Report> {
    let interrupted = tokio::signal::ctrl_c();
    tokio::select! {
        report = run(options) => report,
        _ = interrupted => anyhow::bail!("interrupted"),
    }
}

/// What a run with these options may take at most without any waiting, for a first sentence.
#[must_use]
pub fn duration(selection: &Selection) -> Duration {
    let taken = |target: &Target| selection.workloads.iter().filter(|w| target.takes(w)).count();
    let cells: usize = selection.targets.iter().map(taken).sum();
    selection.time * (cells as u32) * selection.rounds
}
