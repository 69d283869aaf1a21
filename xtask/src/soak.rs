//! Soak: kill rounds by the hour, with the programs as they ship.
//!
//! Way: builds sheep and the program of crates/e2e that does the rounds, and calls it with the
//!      commit and the page of figures; that page says where it goes on.
//! Not here: what a round is (crates/e2e/src/kills.rs).

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::repository::Repository;

/// The crates whose programs a run needs.
const PACKAGES: &[&str] = &["crates/sheep", "crates/e2e"];
/// Where the figures are.
const PAGE: &str = "docs/ledger/soak-kill.md";
/// Rounds when nothing is said.
const ROUNDS: u64 = 100;

/// Does rounds until this commit has as many as asked for; `false` if one found something.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> Result<bool> {
    let rounds = parse(words)?;
    let programs = cargo::build_release(repository, PACKAGES)?;
    let mut soak = Command::new(programs.join("e2e-soak-kill"));
    soak.arg(rounds.to_string()).arg(repository.root().join(PAGE));
    // That of the page does not change what is tested.
    soak.arg(repository.commit_of(&["crates", "Cargo.lock"])?);
    soak.env("SHEEPDOG_BIN", &programs).stdin(Stdio::null());
    let status = soak.status().context("cannot start e2e-soak-kill")?;
    Ok(status.success())
}

fn parse(words: &[&str]) -> Result<u64> {
    match words {
        [] => Ok(ROUNDS),
        ["--rounds", count] => count.parse().with_context(|| format!("--rounds {count}")),
        _ => bail!("soak-kill knows --rounds N; see `cargo xtask help`"),
    }
}

#[cfg(test)]
#[path = "soak/tests.rs"]
mod tests;
