//! Options of a run: what is measured, how long, how often, where.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::size;
use crate::target::{self, Target};
use crate::workload::{self, Workload};

/// Workloads of a run with `--quick`.
const QUICK: &[&str] = &["write-4k-d32", "read-4k-d32", "write-1m-seq-d4"];

/// Command line of `cluster`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Where the run works, in a directory of its own that is removed at the end.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub dir: PathBuf,

    /// How often every cell is measured; medians and spreads are of the rounds.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,

    /// Seconds of every cell.
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,

    /// Bytes of the VDI and of each file of the floors (K, M, G), at least 16M.
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = span)]
    pub size: u64,

    /// Only this workload or target; may be repeated. See `--list`.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,

    /// Lists workloads and targets and does nothing.
    #[arg(long)]
    pub list: bool,

    /// All numbers of all rounds, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// The tables, as Markdown.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,

    /// One short round of three workloads: shows that everything works, not how fast.
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "size"])]
    pub quick: bool,

    /// Shards of each sheep. Default: the sheep's own.
    #[arg(long, value_name = "N")]
    pub shards: Option<u16>,

    /// The program to measure. Default: `sheep` beside this one.
    #[arg(long, value_name = "FILE")]
    pub sheep: Option<PathBuf>,

    /// What is written at the head of the report about the source of the program.
    #[arg(long, value_name = "TEXT", default_value = "unknown")]
    pub commit: String,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds of a cell are a number from 0.05 to 3600".to_owned()),
    }
}

fn span(text: &str) -> Result<u64, String> {
    let bytes = size::parse(text)?;
    // Requests of every length fit a whole number of times.
    let whole = bytes - bytes % workload::BYTES_MAX;
    if whole < 16 << 20 { Err("the least is 16M".to_owned()) } else { Ok(whole) }
}

/// Options that make sense.
#[derive(Clone, Debug)]
pub struct Selection {
    /// In their order.
    pub workloads: Vec<Workload>,
    /// In their order.
    pub targets: Vec<Target>,
    /// How often.
    pub rounds: u32,
    /// How long.
    pub time: Duration,
    /// Bytes of disks and files.
    pub span: u64,
}

impl Options {
    /// What is to be done.
    ///
    /// # Errors
    /// If `--only` names what is not there.
    pub fn selection(&self) -> Result<Selection> {
        let mut workloads: Vec<Workload> = Vec::new();
        let mut targets: Vec<Target> = Vec::new();
        for name in &self.only {
            let workload = workload::ALL.iter().find(|workload| workload.name == name);
            let target = target::ALL.iter().find(|target| target.name() == name);
            match (workload, target) {
                (Some(workload), _) => workloads.push(*workload),
                (None, Some(target)) => targets.push(*target),
                (None, None) => bail!("no workload or target {name}; --list shows them"),
            }
        }
        let chosen = |workload: &&Workload| match (workloads.is_empty(), self.quick) {
            (false, _) => workloads.contains(workload),
            (true, true) => QUICK.contains(&workload.name),
            (true, false) => true,
        };
        let workloads = workload::ALL.iter().filter(chosen).copied().collect();
        let wanted = |target: &&Target| targets.is_empty() || targets.contains(target);
        let targets = target::ALL.iter().filter(wanted).copied().collect();
        let (rounds, seconds, span) =
            if self.quick { (1, 0.1, 16 << 20) } else { (self.rounds, self.seconds, self.size) };
        Ok(Selection { workloads, targets, rounds, time: Duration::from_secs_f64(seconds), span })
    }
}

/// Names for `--only`.
#[must_use]
pub fn list() -> String {
    let workloads = workload::ALL.iter().map(|workload| workload.name);
    let targets = target::ALL.iter().map(|target| target.name());
    let lines =
        |names: Vec<&str>| names.iter().map(|name| format!("  {name}\n")).collect::<String>();
    format!("workloads\n{}targets\n{}", lines(workloads.collect()), lines(targets.collect()))
}
