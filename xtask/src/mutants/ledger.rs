//! The page that says who noticed which fault.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::list::Mutant;
use crate::repository::Repository;

const PAGE: &str = "docs/ledger/mutants.md";
const HEAD: &str = "\
# Deliberate faults, and who noticed them

`cargo xtask mutants` writes this page: each fault of `xtask/mutants` was put into a clone of the
commit, and the tests of its crate were run. A fault that nobody noticed is a test that is missing.

| commit | fault | rule | noticed by |
|---|---|---|---|
";

/// The page.
pub(crate) struct Ledger {
    path: PathBuf,
    text: String,
}

impl Ledger {
    pub(crate) fn load(repository: &Repository) -> Result<Self> {
        let path = repository.root().join(PAGE);
        let text = if path.exists() {
            std::fs::read_to_string(&path).with_context(|| PAGE)?
        } else {
            HEAD.to_owned()
        };
        Ok(Self { path, text })
    }

    /// Whether a fault was tried at a commit.
    pub(crate) fn has(&self, commit: &str, name: &str) -> bool {
        let start = line_start(commit, name);
        self.text.lines().any(|line| line.starts_with(&start))
    }

    /// Adds a line, and writes the page at once, so that a run that is stopped can go on.
    pub(crate) fn add(
        &mut self,
        commit: &str,
        mutant: &Mutant,
        noticed: Option<&str>,
    ) -> Result<()> {
        let noticed = noticed.unwrap_or("**nobody**");
        let line = format!("{}{} | {noticed} |\n", line_start(commit, &mutant.name), mutant.rule);
        self.text.push_str(&line);
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&self.path, &self.text).with_context(|| PAGE)
    }
}

fn line_start(commit: &str, name: &str) -> String {
    format!("| {commit} | {name} | ")
}
