//! The whole test: groups of checks and tests, one after the other, and their sum.
//!
//! Why: the same at home and in CI, with the seconds of each group, so that what gets slow
//!      is seen when it gets slow.
//! Way: [`list`] makes the groups from what the workspace has; [`runner`] runs one; a group
//!      that fails does not stop the others, only those that need it.
//! Holds:
//!   K1 the last line is `N passed, N failed`, summed over every `test result:` line;
//!   K2 success means that every group in the list ran and succeeded.

mod list;
mod runner;
mod summary;

use anyhow::{Result, bail};

use crate::cargo::Graph;
use crate::repository::Repository;
use list::Group;
use runner::{Outcome, Runner};

/// What `cargo xtask test` was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    only: Vec<String>,
    list: bool,
}

impl Options {
    /// Reads the words after `test`.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = words;
        loop {
            rest = match rest {
                [] => return Ok(options),
                ["--list", rest @ ..] => {
                    options.list = true;
                    rest
                }
                ["--only", group, rest @ ..] => {
                    options.only.push((*group).to_owned());
                    rest
                }
                ["--only"] => bail!("--only needs a group; `cargo xtask test --list` shows them"),
                [word, ..] => bail!("no option `{word}`; see `cargo xtask help`"),
            };
        }
    }
}

/// Runs the groups asked for; `false` if anything failed.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<bool> {
    let graph = Graph::load(repository)?;
    let groups = list::groups(&graph);
    if options.list {
        for group in &groups {
            println!("{:<8} {}", group.name, group.about);
        }
        return Ok(true);
    }
    let chosen = choose(groups, &options.only)?;
    let mut runner = Runner::new(repository, &graph);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for group in &chosen {
        let broken = outcomes.iter().find(|o| !o.succeeded() && group.needs.contains(&o.name));
        let outcome = match broken {
            Some(broken) => Outcome::not_run(group.name, broken.name),
            None => runner.run(group),
        };
        outcomes.push(outcome);
    }
    print!("{}", summary::render(&outcomes));
    Ok(outcomes.iter().all(Outcome::succeeded))
}

/// The groups with the given names and those they need; all of them without names.
fn choose(groups: Vec<Group>, only: &[String]) -> Result<Vec<Group>> {
    if only.is_empty() {
        return Ok(groups);
    }
    let mut wanted: Vec<&str> = Vec::new();
    for name in only {
        let Some(group) = groups.iter().find(|group| group.name == name) else {
            bail!("no group `{name}`; `cargo xtask test --list` shows them");
        };
        wanted.push(group.name);
        wanted.extend(&group.needs);
    }
    Ok(groups.iter().filter(|group| wanted.contains(&group.name)).cloned().collect())
}

#[cfg(test)]
#[path = "groups/tests.rs"]
mod tests;
