//! Faults for the cluster simulator: after how many seeds it notices each.
//!
//! Way: builds the simulator with one fault after the other, and without any, from a clone of the
//!      commit, and runs the same seeds until one finds something.

use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::list::{self, Mutant};
use super::{Bench, parse};
use crate::cargo;
use crate::ledger::Ledger;
use crate::process;
use crate::repository::Repository;
use crate::sim::PARTS;

const PAGE: &str = "docs/ledger/mutants-sim.md";
const HEAD: &str = "\
# Deliberate faults, and after how many seeds the cluster simulator noticed them

`cargo xtask sim-mutants` writes this page: each fault of `xtask/mutants/sim.txt` was put into a clone
of the commit, and the same seeds were run as without one (the control), from 0 on, until a part of
250 of them had found something, or 4,000 had not (`--seeds N`: more; a later run goes on there). A
fault whose code was never reached counts as not noticed.

| commit | fault | rule | seeds run | noticed by | first |
|---|---|---|---|---|---|
";
/// Seeds between two looks, and at most if nothing is said.
const PART: u64 = 250;
const SEEDS: u64 = 4_000;
/// Parts that run longer than this hang.
const SECONDS_MAX: &str = "600";
const CONTROL: &str = "(none: the control)";

/// What some seeds found.
struct Found {
    seeds: u64,
    /// How many found something, and what the first says.
    noticed: Option<(usize, String)>,
}

/// Tries every fault that this commit's page does not have yet; `false` if one went unnoticed.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> Result<bool> {
    let (seeds, words) = seeds(words)?;
    let wanted = parse(words)?;
    let mutants = list::load(repository, true)?;
    for name in &wanted {
        ensure!(mutants.iter().any(|mutant| mutant.name == *name), "there is no fault {name}");
    }
    let commit = repository.commit_of(&PARTS)?;
    ensure!(!commit.ends_with("-dirty"), "commit the changes of crates/ first");
    let mut ledger = Ledger::load(repository, PAGE, HEAD)?;
    let bench = Bench::new(repository, "mutants-sim")?;
    let mut is_good = true;
    let mut control = Mutant::default();
    control.name.push_str(CONTROL);
    for mutant in std::iter::once(&control).chain(&mutants) {
        // The control belongs to whatever else is tried.
        let is_wanted =
            wanted.is_empty() || mutant.name == CONTROL || wanted.contains(&mutant.name.as_str());
        let first = run_before(&ledger, &commit, &mutant.name);
        if !is_wanted || first.is_none_or(|first| first >= seeds) {
            continue;
        }
        let found = bench.simulate(mutant, first.unwrap_or_default()..seeds)?;
        let (by, first) = match &found.noticed {
            Some((count, first)) => (format!("{count} seeds"), first.as_str()),
            None => ("**nobody**".to_owned(), ""),
        };
        println!("{}: {} seeds, {by}", mutant.name, found.seeds);
        is_good &= found.noticed.is_some() == (mutant.name != CONTROL);
        let run = found.seeds.to_string();
        ledger.add(&[&commit, &mutant.name, &mutant.rule, &run, &by, first])?;
    }
    Ok(is_good)
}

/// How many seeds, and the other words.
fn seeds<'a>(words: &'a [&'a str]) -> Result<(u64, &'a [&'a str])> {
    match words {
        ["--seeds", count, rest @ ..] => {
            Ok((count.parse().with_context(|| format!("--seeds {count}"))?, rest))
        }
        _ => Ok((SEEDS, words)),
    }
}

/// How many seeds have found nothing so far; `None` if some have found something.
fn run_before(ledger: &Ledger, commit: &str, name: &str) -> Option<u64> {
    let mut run = 0;
    for row in ledger.rows().filter(|row| row.starts_with(&[commit, name])) {
        if row.get(4).is_some_and(|by| !by.contains("nobody")) {
            return None;
        }
        run = run.max(row.get(3)?.parse().ok()?);
    }
    Some(run)
}

impl Bench<'_> {
    fn simulate(&self, mutant: &Mutant, seeds: Range<u64>) -> Result<Found> {
        if mutant.file.is_empty() {
            return self.simulate_tree(mutant, seeds);
        }
        let path = self.tree.join(&mutant.file);
        let text = std::fs::read_to_string(&path).with_context(|| mutant.file.clone())?;
        std::fs::write(&path, mutant.put_into(&text)?)?;
        let found = self.simulate_tree(mutant, seeds);
        std::fs::write(&path, text)?;
        found
    }

    fn simulate_tree(&self, mutant: &Mutant, seeds: Range<u64>) -> Result<Found> {
        let package = self.graph.package_in("crates/sim").context("there is no crates/sim")?;
        let mut build = Command::new(cargo::command(self.repository).get_program());
        build.args(["build", "--locked", "--quiet", "--release", "--package", package]);
        build.args(["--bin", "simulate"]).current_dir(&self.tree);
        build.env("CARGO_TARGET_DIR", &self.target).env("RUSTFLAGS", "-Awarnings");
        process::run(&mut build).with_context(|| format!("{} does not compile", mutant.name))?;
        let program = self.target.join("release/simulate");
        for first in seeds.clone().step_by(PART as usize) {
            if let Some(noticed) = run_part(&program, first)? {
                return Ok(Found { seeds: first + PART, noticed: Some(noticed) });
            }
        }
        Ok(Found { seeds: seeds.end, noticed: None })
    }
}

fn run_part(program: &Path, first: u64) -> Result<Option<(usize, String)>> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", SECONDS_MAX]).arg(program);
    command.args([first, PART, 2].map(|number| number.to_string())).stdin(Stdio::null());
    let output = command.output().context("cannot start simulate")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => Ok(None),
        Some(124 | 137) => Ok(Some((1, format!("a seed that does not end in {SECONDS_MAX} s")))),
        Some(1) => {
            let lines = || text.lines().filter(|line| line.starts_with("seed "));
            let first = lines().next().unwrap_or("it ended without a word");
            let first: String = first.chars().filter(|c| *c != '|').take(120).collect();
            Ok(Some((lines().count(), first)))
        }
        _ => bail!("simulate ended with {}: {text}", output.status),
    }
}
