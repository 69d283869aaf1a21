//! Report: all numbers of a run, as tables for people and as JSON for programs.
//!
//! Way: [`table`] lays out one table; `tables` chooses which numbers go where; `json` has all.

mod json;
pub mod table;
mod tables;

use std::fmt::Write as _;

use crate::account::Memory;
use crate::machine::Machine;
use crate::numbers::Numbers;
use crate::options::Selection;
use crate::target::Target;
use crate::workload::Workload;

/// A run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// Of which source.
    pub commit: String,
    /// What was asked for.
    pub selection: Selection,
    /// What was measured, in order.
    pub series: Vec<Series>,
    /// Memory of each sheep before the first round and after each one.
    pub memory: Vec<Vec<Memory>>,
}

/// One workload on one target.
#[derive(Clone, Debug)]
pub struct Series {
    /// What.
    pub workload: Workload,
    /// On what.
    pub target: Target,
    /// Numbers of each round.
    pub rounds: Vec<Numbers>,
}

impl Series {
    /// Nothing measured yet.
    #[must_use]
    pub const fn new(workload: Workload, target: Target) -> Self {
        Self { workload, target, rounds: Vec::new() }
    }
}

impl Report {
    /// Nothing measured yet.
    #[must_use]
    pub const fn new(machine: Machine, commit: String, selection: Selection) -> Self {
        Self { machine, commit, selection, series: Vec::new(), memory: Vec::new() }
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in self.head() {
            let _ = writeln!(text, "{line}");
        }
        for table in tables::all(self) {
            let _ = write!(text, "\n{}", table.text());
        }
        text
    }

    /// For a page.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for line in self.head() {
            let _ = writeln!(text, "- {line}");
        }
        for table in tables::all(self) {
            let _ = write!(text, "\n{}", table.markdown());
        }
        text
    }

    /// For programs: every number of every round.
    #[must_use]
    pub fn json(&self) -> String {
        format!("{:#}\n", json::value(self))
    }

    fn head(&self) -> Vec<String> {
        let Machine { kernel, processors, processor, file_system, load_before, load_after } =
            &self.machine;
        let Selection { rounds, time, span, .. } = &self.selection;
        vec![
            format!("commit {}", self.commit),
            format!("kernel {kernel}, {processors} processors ({processor}), {file_system}"),
            format!("load average before {load_before}, after {load_after}"),
            format!(
                "{rounds} rounds, {} s for each cell, disks of {} MiB, three copies",
                time.as_secs_f64(),
                span >> 20
            ),
            "Figures of one run compare with each other, not with those of another run.".to_owned(),
        ]
    }

    fn series(&self, workload: &Workload, target: Target) -> Option<&Series> {
        self.series.iter().find(|s| s.workload == *workload && s.target == target)
    }
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
