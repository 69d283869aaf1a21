//! Pages of figures in `docs/ledger`: a head, and one line of a table for each thing that was done.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::repository::Repository;

/// One page.
pub(crate) struct Ledger {
    path: PathBuf,
    text: String,
}

impl Ledger {
    /// The page of this path, or a new one with this head.
    pub(crate) fn load(repository: &Repository, path: &str, head: &str) -> Result<Self> {
        let path = repository.root().join(path);
        let text = if path.exists() {
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())?
        } else {
            head.to_owned()
        };
        Ok(Self { path, text })
    }

    /// Cells of each line of the table, the line of names and that below it included.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
        lines.map(|line| line.split('|').map(str::trim).collect())
    }

    /// The first seed that a commit has not run, on a page whose second and third column are the
    /// first seed and how many.
    pub(crate) fn next_seed(&self, commit: &str) -> u64 {
        let rows = self.rows().filter(|row| row.first() == Some(&commit));
        let number = |cell: Option<&&str>| cell.and_then(|cell| cell.parse::<u64>().ok());
        let end = |row: Vec<&str>| Some(number(row.get(1))? + number(row.get(2))?);
        rows.filter_map(end).max().unwrap_or_default()
    }

    /// On such a page: how many seeds a commit has run, and the first that no commit has.
    pub(crate) fn seeds(&self, commit: &str) -> (u64, u64) {
        let number = |cell: Option<&&str>| cell.and_then(|cell| cell.parse::<u64>().ok());
        let (mut run, mut next) = (0, 0);
        for row in self.rows() {
            let (Some(first), Some(count)) = (number(row.get(1)), number(row.get(2))) else {
                continue;
            };
            run += if row.first() == Some(&commit) { count } else { 0 };
            next = next.max(first + count);
        }
        (run, next)
    }

    /// Adds a line, and writes the page at once, so that a run that is stopped can go on.
    pub(crate) fn add(&mut self, cells: &[&str]) -> Result<()> {
        self.text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&self.path, &self.text).with_context(|| self.path.display().to_string())
    }
}
