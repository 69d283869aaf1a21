//! Mutants: deliberate faults, each of which some test must notice.
//!
//! Why: a test that cannot fail proves nothing.
//! Way: reads `xtask/mutants/*.txt` (`list`), clones the commit below `target/mutants`, puts one
//!      fault after the other into the clone and runs the tests of the crate that it is in, first
//!      with few seeds, then, if nobody noticed, as they ordinarily run. The page of figures
//!      says who noticed each; a run that was stopped goes on behind its last line.
//! Not here: faults that tests put in by themselves (crates/engine's model).

mod list;
pub(crate) mod sim;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{self, Graph};
use crate::ledger::Ledger;
use crate::process;
use crate::repository::Repository;
use list::Mutant;

/// Where the figures are.
const PAGE: &str = "docs/ledger/mutants.md";
const HEAD: &str = "\
# Deliberate faults, and who noticed them

`cargo xtask mutants` writes this page: each fault of `xtask/mutants` was put into a clone of the
commit, and the tests of its crate were run. A fault that nobody noticed is a test that is missing.

| commit | fault | rule | noticed by |
|---|---|---|---|
";
/// Seeds of the first attempt.
const FEW_SEEDS: &str = "40";
/// Tests that run longer than this hang.
const SECONDS_MAX: &str = "900";

/// What `timeout` exits with then.
const TIMED_OUT: i32 = 124;

/// Where faults are tried.
struct Bench<'a> {
    repository: &'a Repository,
    graph: Graph,
    tree: PathBuf,
    target: PathBuf,
}

/// Tries every fault that this commit's page does not have yet; `false` if one went unnoticed.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> Result<bool> {
    let wanted = parse(words)?;
    let mutants = list::load(repository, false)?;
    for name in &wanted {
        ensure!(mutants.iter().any(|mutant| mutant.name == *name), "there is no fault {name}");
    }
    let commit = repository.commit_of(&["crates", "Cargo.lock"])?;
    // What is tried is a clone of the commit.
    ensure!(!commit.ends_with("-dirty"), "commit the changes of crates/ first");
    let mut ledger = Ledger::load(repository, PAGE, HEAD)?;
    let bench = Bench::new(repository, "mutants")?;
    let mut unnoticed = Vec::new();
    for mutant in &mutants {
        let is_wanted = wanted.is_empty() || wanted.contains(&mutant.name.as_str());
        let is_done = ledger.rows().any(|row| row.starts_with(&[&commit, &mutant.name]));
        if !is_wanted || is_done {
            continue;
        }
        let noticed = bench.try_out(mutant)?;
        println!("{}: {}", mutant.name, noticed.as_deref().unwrap_or("NOBODY NOTICED"));
        if noticed.is_none() {
            unnoticed.push(mutant.name.as_str());
        }
        let noticed = noticed.as_deref().unwrap_or("**nobody**");
        ledger.add(&[&commit, &mutant.name, &mutant.rule, noticed])?;
    }
    if !unnoticed.is_empty() {
        println!("unnoticed: {}", unnoticed.join(", "));
    }
    Ok(unnoticed.is_empty())
}

impl<'a> Bench<'a> {
    fn new(repository: &'a Repository, folder: &str) -> Result<Self> {
        let graph = Graph::load(repository)?;
        let root = PathBuf::from(&graph.target).join(folder);
        let (tree, target) = (root.join("tree"), root.join("target"));
        if tree.exists() {
            std::fs::remove_dir_all(&tree).with_context(|| tree.display().to_string())?;
        }
        let mut clone = Command::new("git");
        clone.args(["clone", "--quiet", "--shared"]).arg(repository.root()).arg(&tree);
        process::run(&mut clone)?;
        Ok(Self { repository, graph, tree, target })
    }

    /// Who noticed the fault, if somebody did.
    fn try_out(&self, mutant: &Mutant) -> Result<Option<String>> {
        let path = self.tree.join(&mutant.file);
        let text = std::fs::read_to_string(&path).with_context(|| mutant.file.clone())?;
        std::fs::write(&path, mutant.put_into(&text)?)?;
        let noticed = match self.test(mutant, Some(FEW_SEEDS)) {
            Ok(None) => self.test(mutant, None),
            other => other,
        };
        std::fs::write(&path, text)?;
        noticed
    }

    fn test(&self, mutant: &Mutant, seeds: Option<&str>) -> Result<Option<String>> {
        let folder: Vec<&str> = mutant.file.split('/').take(2).collect();
        let folder = folder.join("/");
        let package = self.graph.package_in(&folder).with_context(|| format!("no {folder}"))?;
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", SECONDS_MAX]);
        command.arg(cargo::command(self.repository).get_program());
        command.args(["test", "--locked", "--package", package]).current_dir(&self.tree);
        command.env("CARGO_TARGET_DIR", &self.target).stdin(Stdio::null());
        if let Some(seeds) = seeds {
            command.env("SHEEPDOG_STORE_SEEDS", seeds);
        }
        let output = command.output().context("cannot start the tests")?;
        if output.status.success() {
            return Ok(None);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("error: could not compile") {
            bail!("{} does not compile:\n{errors}", mutant.name);
        }
        let failed = failed_tests(&String::from_utf8_lossy(&output.stdout));
        match output.status.code() {
            _ if !failed.is_empty() => Ok(Some(failed)),
            Some(TIMED_OUT) => Ok(Some(format!("tests that do not end in {SECONDS_MAX} s"))),
            _ if errors.contains("error: test failed") => {
                Ok(Some("a program of tests that ended before its last test".to_owned()))
            }
            _ => bail!("the tests of {} could not be run:\n{errors}", mutant.name),
        }
    }
}

/// The first tests that failed, and how many more.
fn failed_tests(output: &str) -> String {
    let name = |line: &str| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some(format!("`{name}`"))
    };
    let names: Vec<String> = output.lines().filter_map(name).collect();
    let more = names.len().saturating_sub(2);
    let first = names.into_iter().take(2).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

fn parse<'a>(words: &[&'a str]) -> Result<Vec<&'a str>> {
    match words {
        [] => Ok(Vec::new()),
        ["--only", name, rest @ ..] => {
            let mut names = parse(rest)?;
            names.insert(0, name);
            Ok(names)
        }
        _ => bail!("mutants knows --only NAME; see `cargo xtask help`"),
    }
}

#[cfg(test)]
#[path = "mutants/tests.rs"]
mod tests;
