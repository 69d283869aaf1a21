//! Sim: whole clusters from a seed, by the thousand.
//!
//! Way: builds the simulator of crates/sim as for release and calls it; `soak` does so some
//!      thousand seeds at a time, and adds a line with their figures to the page.
//! Not here: what a seed does (crates/sim/src/cluster.rs).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{self, Graph};
use crate::ledger::Ledger;
use crate::process;
use crate::repository::Repository;

/// Seeds when nothing is said.
const SEEDS: u64 = 1_000;
/// Seeds of a soak when nothing is said, and of one line of its page.
const SOAK_SEEDS: u64 = 1_000_000;
const SEEDS_AT_ONCE: u64 = 5_000;
/// What is simulated, and with what.
pub(crate) const PARTS: [&str; 5] =
    ["crates/engine", "crates/proto", "crates/store", "crates/sim", "Cargo.lock"];
const PAGE: &str = "docs/ledger/soak-sim.md";
const HEAD: &str = "\
# Simulated clusters

`cargo xtask soak-sim` writes this page: whole clusters from seeds, the real engine on the real
store, with every fault that docs/design/2026-11-26-simulator.md names. Nothing was wrong in any of
these; a seed that finds something ends the run and comes on no line. A commit is the last one that
changed what is simulated; each goes on with the seeds that no other had.

| commit | first seed | seeds | operations answered | virtual hours | seconds |
|---|---|---|---|---|---|
";
/// Each runs a seed of its own.
const THREADS: u64 = 2;

/// Runs seeds; `false` if one found something.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> Result<bool> {
    let arguments = arguments(words)?;
    let mut simulate = Command::new(build(repository)?);
    simulate.args(arguments).stdin(Stdio::null());
    let status = simulate.status().context("cannot start simulate")?;
    Ok(status.success())
}

/// Runs seeds until this commit has as many as asked for; `false` if one found something.
pub(crate) fn soak(repository: &Repository, words: &[&str]) -> Result<bool> {
    let seeds: u64 = match words {
        [] => SOAK_SEEDS,
        ["--seeds", count] => count.parse().with_context(|| format!("--seeds {count}"))?,
        _ => bail!("soak-sim knows --seeds N; see `cargo xtask help`"),
    };
    let commit = repository.commit_of(&PARTS)?;
    ensure!(!commit.ends_with("-dirty"), "commit the changes of crates/ first");
    let program = build(repository)?;
    let mut ledger = Ledger::load(repository, PAGE, HEAD)?;
    let (mut run, mut first) = ledger.seeds(&commit);
    println!("{run} seeds of {commit} so far, the next is {first}");
    while run < seeds {
        let count = SEEDS_AT_ONCE.min(seeds - run);
        let numbers = [first, count, THREADS].map(|number| number.to_string());
        let start = Instant::now();
        let output = Command::new(&program).args(numbers).stdin(Stdio::null()).output();
        let output = output.context("cannot start simulate")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            println!("{text}");
            return Ok(false);
        }
        let found = figures(&text).context("the simulator did not say what it did")?;
        let took = start.elapsed().as_secs().to_string();
        let (from, many) = (first.to_string(), count.to_string());
        ledger.add(&[&commit, &from, &many, found.operations, found.hours, &took])?;
        (run, first) = (run + count, first + count);
        println!("{run} seeds of {seeds}, {} more operations", found.operations);
    }
    Ok(true)
}

/// What the simulator says of its run.
#[derive(Debug, PartialEq, Eq)]
struct Figures<'a> {
    operations: &'a str,
    hours: &'a str,
}

fn figures(output: &str) -> Option<Figures<'_>> {
    let line = output.lines().find(|line| line.contains(" virtual hours, "))?;
    let before = |end: &str| line.split_once(end)?.0.rsplit_once(' ').map(|(_, word)| word);
    Some(Figures { operations: before(" operations answered")?, hours: before(" virtual hours")? })
}

/// Where the program is.
fn build(repository: &Repository) -> Result<PathBuf> {
    let graph = Graph::load(repository)?;
    let package = graph.package_in("crates/sim").context("there is no crates/sim")?;
    let mut build = cargo::command(repository);
    build.args(["build", "--locked", "--release", "--package", package, "--bin", "simulate"]);
    process::run(&mut build)?;
    Ok(Path::new(&graph.target).join("release/simulate"))
}

/// The words for the program.
fn arguments(words: &[&str]) -> Result<Vec<String>> {
    let number = |word: &str| word.parse::<u64>().with_context(|| format!("{word} is no number"));
    if let ["--show", seed] = words {
        return Ok(vec!["show".to_owned(), number(seed)?.to_string()]);
    }
    let (mut seeds, mut first) = (SEEDS, 0);
    let mut rest = words;
    loop {
        rest = match rest {
            [] => return Ok([first, seeds, THREADS].map(|number| number.to_string()).into()),
            ["--seeds", count, rest @ ..] => {
                seeds = number(count)?;
                rest
            }
            ["--from", seed, rest @ ..] => {
                first = number(seed)?;
                rest
            }
            _ => bail!("sim knows --seeds N, --from S and --show S; see `cargo xtask help`"),
        };
    }
}

#[cfg(test)]
#[path = "sim/tests.rs"]
mod tests;
