//! Counting tests, and the table at the end.

use std::fmt::Write as _;

use super::runner::{End, Outcome};

/// How many tests there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Ran and passed.
    pub(super) passed: u64,
    /// Ran and failed.
    pub(super) failed: u64,
    /// Were ignored by their own mark.
    pub(super) skipped: u64,
}

impl Count {
    /// Adds a line of output if it is a `test result:` line.
    pub(super) fn read(&mut self, line: &str) {
        let Some((_, result)) = line.split_once("test result: ") else { return };
        let number = |word: &str| {
            let (before, _) = result.split_once(word)?;
            before.split_whitespace().last()?.parse::<u64>().ok()
        };
        self.passed += number(" passed").unwrap_or(0);
        self.failed += number(" failed").unwrap_or(0);
        self.skipped += number(" ignored").unwrap_or(0);
    }
}

/// A group's end in words.
pub(super) fn sentence(outcome: &Outcome) -> String {
    let seconds = seconds(outcome);
    match outcome.end {
        End::Succeeded => format!("{}: ok in {seconds} s", outcome.name),
        End::Failed => format!("{}: FAILED in {seconds} s", outcome.name),
        End::NotRun(because) => format!("{}: not run, {because} did not succeed", outcome.name),
    }
}

fn seconds(outcome: &Outcome) -> String {
    let tenths = outcome.milliseconds / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The table of all groups, and the sum in the last line (K1).
pub(super) fn render(outcomes: &[Outcome]) -> String {
    let mut text =
        format!("{:<8} {:>8} {:>7} {:>7}  result\n", "group", "seconds", "passed", "failed");
    let mut sum = Count::default();
    for outcome in outcomes {
        let result = match outcome.end {
            End::Succeeded => "ok".to_owned(),
            End::Failed => "FAILED".to_owned(),
            End::NotRun(because) => format!("NOT RUN: {because} did not succeed"),
        };
        let Count { passed, failed, skipped } = outcome.count;
        let seconds = seconds(outcome);
        let name = outcome.name;
        let line = writeln!(text, "{name:<8} {seconds:>8} {passed:>7} {failed:>7}  {result}");
        debug_assert!(line.is_ok(), "writing to a string cannot fail");
        sum.passed += passed;
        sum.failed += failed;
        sum.skipped += skipped;
    }
    text.push_str(&format!("{} passed, {} failed", sum.passed, sum.failed));
    if sum.skipped > 0 {
        text.push_str(&format!(", {} skipped", sum.skipped));
    }
    text.push('\n');
    text
}
