//! Figures: builds what is measured as it ships, and calls `sheepdog-bench`.
//!
//! Way: the words of the command line go on as they are, with the commit and, unless one is
//!      given, a directory below the build results, which are on a disk and not in the tree.
//! Not here: what is measured and how (crates/bench).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::cargo::{self, Graph};
use crate::repository::Repository;
use crate::{process, setup};

/// The crates whose programs a run needs.
const PACKAGES: &[&str] = &["crates/sheep", "crates/bench"];
/// Programs of others that floors are made of.
const PROGRAMS: &[&str] = &["fio", "qemu-nbd"];

/// Measures a cluster; `false` if that did not work.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> Result<bool> {
    setup::install_programs(PROGRAMS)?;
    let graph = Graph::load(repository)?;
    let mut build = cargo::command(repository);
    build.args(["build", "--locked", "--release"]);
    for folder in PACKAGES {
        let name = graph.package_in(folder).with_context(|| format!("there is no {folder}"))?;
        build.args(["--package", name]);
    }
    process::run(&mut build)?;
    let target = PathBuf::from(&graph.target);
    let mut bench = Command::new(target.join("release/sheepdog-bench"));
    bench.args(arguments(words, &commit(repository), &target.join("bench")));
    bench.env("PATH", setup::search_path()).stdin(Stdio::null());
    let status = bench.status().context("cannot start sheepdog-bench")?;
    Ok(status.success())
}

/// The words for the program.
fn arguments(words: &[&str], commit: &str, folder: &Path) -> Vec<String> {
    let (what, words) = match words {
        [first @ ("cluster" | "store"), rest @ ..] => (*first, rest),
        all => ("cluster", all),
    };
    let mut arguments = vec![what.to_owned(), format!("--commit={commit}")];
    if !words.iter().any(|word| *word == "--dir" || word.starts_with("--dir=")) {
        arguments.push(format!("--dir={}", folder.display()));
    }
    arguments.extend(words.iter().map(|word| (*word).to_owned()));
    arguments
}

/// What git calls this source; a tree without git has no name.
fn commit(repository: &Repository) -> String {
    let mut command = Command::new("git");
    command.current_dir(repository.root()).args(["describe", "--always", "--dirty"]);
    process::output(&mut command)
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
#[path = "bench/tests.rs"]
mod tests;
