//! Sim: whole clusters from a seed, by the thousand.
//!
//! Way: builds the simulator of crates/sim as for release and calls it.
//! Not here: what a seed does (crates/sim/src/cluster.rs).

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::{self, Graph};
use crate::process;
use crate::repository::Repository;

/// Seeds when nothing is said.
const SEEDS: u64 = 1_000;
/// Each runs a seed of its own.
const THREADS: u64 = 2;

/// Runs seeds; `false` if one found something.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> Result<bool> {
    let arguments = arguments(words)?;
    let graph = Graph::load(repository)?;
    let package = graph.package_in("crates/sim").context("there is no crates/sim")?;
    let mut build = cargo::command(repository);
    build.args(["build", "--locked", "--release", "--package", package, "--bin", "simulate"]);
    process::run(&mut build)?;
    let program = Path::new(&graph.target).join("release/simulate");
    let mut simulate = Command::new(program);
    simulate.args(arguments).stdin(Stdio::null());
    let status = simulate.status().context("cannot start simulate")?;
    Ok(status.success())
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
