//! Runs one group, shows its output as it comes, and counts its tests.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::list::{Group, Work};
use super::summary::Count;
use crate::cargo::{self, Graph};
use crate::repository::Repository;
use crate::setup::{self, Tools};
use crate::{process, tidy};

/// How a group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything in it is well.
    Succeeded,
    /// Something in it is not.
    Failed,
    /// It was not run, because this group did not succeed.
    NotRun(&'static str),
}

/// What became of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The group.
    pub(super) name: &'static str,
    /// How it ended.
    pub(super) end: End,
    /// How long it took.
    pub(super) milliseconds: u128,
    /// Its tests.
    pub(super) count: Count,
}

impl Outcome {
    /// A group that was left out because another one did not succeed.
    pub(super) fn not_run(name: &'static str, because: &'static str) -> Self {
        Self { name, end: End::NotRun(because), milliseconds: 0, count: Count::default() }
    }

    /// Whether it ran and everything in it is well.
    pub(super) fn succeeded(&self) -> bool {
        self.end == End::Succeeded
    }
}

/// Runs groups and keeps what one leaves for the next.
pub(super) struct Runner<'a> {
    repository: &'a Repository,
    graph: &'a Graph,
    tools: Option<Tools>,
}

impl<'a> Runner<'a> {
    /// A runner for this tree.
    pub(super) const fn new(repository: &'a Repository, graph: &'a Graph) -> Self {
        Self { repository, graph, tools: None }
    }

    /// Runs a group and says what became of it.
    pub(super) fn run(&mut self, group: &Group) -> Outcome {
        println!("== {}: {}", group.name, group.about);
        let started = Instant::now();
        let mut count = Count::default();
        let well = match self.work(group, &mut count) {
            Ok(well) => well,
            Err(error) => {
                println!("{}: {error:#}", group.name);
                false
            }
        };
        let milliseconds = started.elapsed().as_millis();
        let end = if well { End::Succeeded } else { End::Failed };
        let outcome = Outcome { name: group.name, end, milliseconds, count };
        println!("== {}\n", super::summary::sentence(&outcome));
        outcome
    }

    fn work(&mut self, group: &Group, count: &mut Count) -> Result<bool> {
        match &group.work {
            Work::Setup => {
                self.tools = Some(setup::run(self.repository)?);
                Ok(true)
            }
            Work::Tidy => tidy::run(self.repository),
            Work::Cargo(words, variables) => self.cargo(words, variables, count),
        }
    }

    /// Runs cargo; its errors go straight to the terminal, its output is read on the way.
    fn cargo(
        &self,
        words: &[String],
        variables: &[(&str, &str)],
        count: &mut Count,
    ) -> Result<bool> {
        let mut command = cargo::command(self.repository);
        command.args(words).envs(variables.iter().copied());
        command.env("PATH", setup::search_path());
        if let Some(tools) = &self.tools {
            command.env("SHEEPDOG_QEMU52", &tools.qemu52);
            command.env("SHEEPDOG_TEST_CACHE", &tools.cache);
        }
        command.env("SHEEPDOG_BIN", format!("{}/debug", self.graph.target));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        println!("$ {}", process::line(&command));
        let mut child = command.spawn().context("cannot start cargo")?;
        let Some(output) = child.stdout.take() else { bail!("cargo has no output") };
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).context("cannot read cargo's output")? > 0 {
            std::io::stdout().write_all(&line).context("cannot print")?;
            count.read(&String::from_utf8_lossy(&line));
            line.clear();
        }
        let status = child.wait().context("cannot wait for cargo")?;
        Ok(status.success() && count.failed == 0)
    }
}
