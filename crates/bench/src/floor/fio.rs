//! fio: the load generator that everybody knows, on files and over NBD.
//!
//! Way: one call of the program for each cell; its JSON tells what it did.
//! Not here: our own load (`load`), which knows the first Sheepdog's protocol too.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::load::{DRAIN, OPERATIONS_MAX, Outcome, Plan};
use crate::program;
use crate::target::BATCH_WRITES;
use crate::workload::{Order, Workload};

const PROGRAM: &str = "fio";
const LIMIT: Duration = Duration::from_secs(30);

/// What fio works on, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Files at once, past the page cache, each write durable by itself. An operation is one in
    /// each file.
    Direct(Vec<PathBuf>),
    /// A file through the page cache, an fdatasync after every 32 writes.
    Batched(PathBuf),
    /// An NBD export.
    Nbd(String),
}

/// Whether fio is there and knows NBD.
///
/// # Errors
/// With what to install.
pub async fn check(nbd: bool) -> Result<()> {
    let engines = program::output(PROGRAM, ["--enghelp"], LIMIT).await;
    let engines = engines.context("fio (Debian: fio; `cargo xtask setup` installs it)")?;
    let known = engines.lines().any(|line| line.trim() == "nbd");
    ensure!(known || !nbd, "this fio was built without NBD: leave out cluster-nbd-fio");
    Ok(())
}

/// Runs a load.
///
/// # Errors
/// If fio fails.
pub async fn run(job: &Job, plan: Plan) -> Result<Outcome> {
    let limit = plan.time + DRAIN;
    let text = program::output(PROGRAM, words(job, plan), limit).await?;
    let outcome = parse(&text, plan.workload.is_write(), matches!(job, Job::Batched(_)));
    let outcome = outcome.with_context(|| format!("fio printed what makes no sense: {text}"))?;
    let files = if let Job::Direct(files) = job { files.len() as u64 } else { 1 };
    Ok(Outcome { operations: outcome.operations / files, ..outcome })
}

fn words(job: &Job, plan: Plan) -> Vec<String> {
    let Plan { workload, span, time, seed } = plan;
    let mut words = vec![
        "--output-format=json".to_owned(),
        "--eta=never".to_owned(),
        "--name=global".to_owned(),
        // One process, so that it can be ended by its number.
        "--thread".to_owned(),
        "--group_reporting".to_owned(),
        format!("--rw={}", pattern(workload)),
        format!("--bs={}", workload.bytes),
        format!("--iodepth={}", workload.depth),
        format!("--size={span}"),
        format!("--runtime={}ms", time.as_millis()),
        format!("--number_ios={OPERATIONS_MAX}"),
        "--time_based".to_owned(),
        "--norandommap".to_owned(),
        format!("--randseed={}", seed >> 1),
    ];
    let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    match job {
        Job::Direct(files) => {
            add(&["--ioengine=libaio", "--direct=1"]);
            if workload.is_write() {
                add(&["--sync=dsync"]);
            }
            for (index, file) in files.iter().enumerate() {
                add(&[&format!("--name=file{index}"), &filename(file)]);
            }
        }
        Job::Batched(file) => {
            add(&["--ioengine=psync", &format!("--fdatasync={BATCH_WRITES}")]);
            add(&["--name=file", &filename(file)]);
        }
        Job::Nbd(uri) => add(&["--ioengine=nbd", "--name=nbd", &format!("--uri={uri}")]),
    }
    words
}

fn pattern(workload: Workload) -> &'static str {
    match (workload.order, workload.is_write()) {
        (Order::Random, true) => "randwrite",
        (Order::Random, false) => "randread",
        (Order::Sequential, true) => "write",
        (Order::Sequential, false) => "read",
    }
}

/// fio takes several file names with colons between them.
fn filename(file: &std::path::Path) -> String {
    format!("--filename={}", file.display().to_string().replace(':', "\\:"))
}

/// What fio's JSON says of the only group. With `batched`, latencies are those of the syncs.
fn parse(text: &str, write: bool, batched: bool) -> Result<Outcome> {
    // Warnings may stand in front of it.
    let start = text.find('{').context("no JSON")?;
    let json: Value = serde_json::from_str(&text[start..])?;
    let job = &json["jobs"][0];
    let number = |value: &Value, what: &str| value.as_f64().with_context(|| what.to_owned());
    ensure!(number(&job["error"], "error")? == 0.0, "fio met an error");
    let side = &job[if write { "write" } else { "read" }];
    let latencies = if batched { &job["sync"]["lat_ns"] } else { &side["clat_ns"] };
    let percentile = |name: &str| {
        let nanoseconds = latencies["percentile"][name].as_f64()?;
        Some(Duration::from_secs_f64(nanoseconds / 1e9))
    };
    let percent = number(&job["usr_cpu"], "usr_cpu")? + number(&job["sys_cpu"], "sys_cpu")?;
    let milliseconds_all = number(&job["job_runtime"], "job_runtime")?;
    let seconds = number(&side["runtime"], "runtime")? / 1e3;
    ensure!(seconds > 0.0, "fio did not run");
    Ok(Outcome {
        operations: number(&side["total_ios"], "total_ios")? as u64,
        seconds,
        p50: percentile("50.000000"),
        p99: percentile("99.000000"),
        client: Duration::from_secs_f64((percent / 100.0 * milliseconds_all / 1e3).max(0.0)),
    })
}

#[cfg(test)]
#[path = "fio/tests.rs"]
mod tests;
