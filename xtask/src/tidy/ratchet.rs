//! The exceptions to the length limits, which may only shrink.
//!
//! Holds:
//!   R1 nothing above a limit without an entry, nothing above its entry;
//!   R2 an entry that is higher than needed, or not needed, must be lowered or go;
//!   R3 no entry is new or higher than at the commit before.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::length::Measured;
use super::{Findings, RATCHET};

/// What is allowed to be longer than the limits, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ratchet {
    entries: BTreeMap<Measured, usize>,
}

impl Ratchet {
    /// Reads `file PATH LINES` and `function PATH NAME LINES`; `#` starts a comment line.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let (key, lines) = match words[..] {
                ["file", path, lines] => (Measured::File(path.to_owned()), lines),
                ["function", path, name, lines] => {
                    (Measured::Function(path.to_owned(), name.to_owned()), lines)
                }
                _ => bail!("`{line}` is neither `file PATH LINES` nor `function PATH NAME LINES`"),
            };
            let Ok(lines) = lines.parse() else { bail!("`{line}` does not end in a number") };
            if entries.insert(key, lines).is_some() {
                bail!("`{line}` is there twice");
            }
        }
        Ok(Self { entries })
    }

    /// Compares the tree with the limits and the entries (R1, R2).
    pub(super) fn check(&self, lengths: &BTreeMap<Measured, usize>, findings: &mut Findings) {
        for (key, lines) in lengths {
            let allowed = self.entries.get(key).copied();
            let limit = allowed.unwrap_or_else(|| key.limit());
            if *lines > limit {
                let what = describe(key);
                let advice = key.advice();
                let text = format!("{what} has {lines} lines, {limit} allowed: {advice}");
                findings.add(key.path(), 0, text);
            }
        }
        if self.shrunk(lengths) != *self {
            let text = "entries are higher than needed: run `cargo xtask fix`";
            findings.add(RATCHET, 0, text);
        }
    }

    /// Compares the entries with those of an earlier commit (R3).
    pub(super) fn check_against(&self, before: &Self, commit: &str, findings: &mut Findings) {
        for (key, lines) in &self.entries {
            let what = describe(key);
            let path = key.path();
            match before.entries.get(key) {
                None => findings.add(
                    RATCHET,
                    0,
                    format!("the entry for {what} of {path} is new since {commit}: shorten it"),
                ),
                Some(earlier) if lines > earlier => findings.add(
                    RATCHET,
                    0,
                    format!("the entry for {what} of {path} grew since {commit}: shorten it"),
                ),
                Some(_) => {}
            }
        }
    }

    /// The same exceptions, lowered to what the tree still needs.
    pub(super) fn shrunk(&self, lengths: &BTreeMap<Measured, usize>) -> Self {
        let needed = |(key, allowed): (&Measured, &usize)| {
            let lines = *lengths.get(key)?;
            (lines > key.limit()).then(|| (key.clone(), lines.min(*allowed)))
        };
        Self { entries: self.entries.iter().filter_map(needed).collect() }
    }

    /// The file's text, with the comment lines of the text it came from.
    pub(super) fn render(&self, before: &str) -> String {
        let mut text = String::new();
        for line in before.lines().filter(|line| line.starts_with('#')) {
            text.push_str(line);
            text.push('\n');
        }
        for (key, lines) in &self.entries {
            let written = match key {
                Measured::File(path) => writeln!(text, "file {path} {lines}"),
                Measured::Function(path, name) => writeln!(text, "function {path} {name} {lines}"),
            };
            debug_assert!(written.is_ok(), "writing to a string cannot fail");
        }
        text
    }
}

fn describe(key: &Measured) -> String {
    match key {
        Measured::File(_) => "the file".to_owned(),
        Measured::Function(_, name) => format!("function `{name}`"),
    }
}

#[cfg(test)]
#[path = "ratchet/tests.rs"]
mod tests;
