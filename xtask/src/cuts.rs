//! Cuts: the power-cut oracle of the store by the million.
//!
//! Way: runs the oracle of crates/store as for release, some seeds at a time, and adds a line
//!      with its figures to the page; the page says with which seed it goes on.
//! Not here: what a seed does (crates/store/tests/it/oracle.rs).

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cargo::{self, Graph};
use crate::ledger::Ledger;
use crate::repository::Repository;

const TEST: &str = "oracle::a_crash_anywhere_leaves_each_block_old_or_new";
const PAGE: &str = "docs/ledger/soak-cuts.md";
const HEAD: &str = "\
# Power cuts of the store

`cargo xtask soak-cuts` writes this page: in each crash every write that was not synced was lost,
kept or torn, or the process was killed; the store was opened on what was left, and everything was
compared with what had been issued and acknowledged until then. Nothing was wrong in any of these.

| commit | first seed | seeds | crashes | seconds |
|---|---|---|---|---|
";
/// Seeds when nothing is said.
const SEEDS: u64 = 10_000;
/// Seeds of one line.
const SEEDS_AT_ONCE: u64 = 200;

/// Runs seeds until this commit has as many as asked for; `false` if one found something.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> Result<bool> {
    let seeds = parse(words)?;
    let graph = Graph::load(repository)?;
    let package = graph.package_in("crates/store").context("there is no crates/store")?;
    let commit = repository.commit_of(&["crates", "Cargo.lock"])?;
    let mut ledger = Ledger::load(repository, PAGE, HEAD)?;
    let mut first = ledger.next_seed(&commit);
    println!("{first} seeds of {commit} so far");
    while first < seeds {
        let count = SEEDS_AT_ONCE.min(seeds - first);
        let start = Instant::now();
        let mut test = cargo::command(repository);
        test.args(["test", "--locked", "--release", "--package", package, "--test", "it", "--"]);
        test.args(["--exact", "--nocapture", TEST]).stdin(Stdio::null());
        test.env("SHEEPDOG_STORE_FIRST_SEED", first.to_string());
        test.env("SHEEPDOG_STORE_SEEDS", count.to_string());
        let output = test.output().context("cannot start the oracle")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            println!("{text}{}", String::from_utf8_lossy(&output.stderr));
            return Ok(false);
        }
        let crashes = crashes(&text).context("the oracle did not say how many crashes")?;
        let took = start.elapsed().as_secs().to_string();
        let cells = [first.to_string(), count.to_string(), crashes.to_string(), took];
        ledger.add(&[&commit, &cells[0], &cells[1], &cells[2], &cells[3]])?;
        first += count;
        println!("{first} seeds of {seeds}, {crashes} more crashes");
    }
    Ok(true)
}

fn crashes(output: &str) -> Option<u64> {
    output.lines().find_map(|line| line.strip_suffix(" crashes")?.parse().ok())
}

fn parse(words: &[&str]) -> Result<u64> {
    match words {
        [] => Ok(SEEDS),
        ["--seeds", count] => count.parse().with_context(|| format!("--seeds {count}")),
        _ => bail!("soak-cuts knows --seeds N; see `cargo xtask help`"),
    }
}

#[cfg(test)]
#[path = "cuts/tests.rs"]
mod tests;
