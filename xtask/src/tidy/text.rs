//! The look of a file: its header, its characters, its width.

use super::Findings;
use super::source::Source;

/// Lines a header may have at most.
const HEADER_LINES_MAX: usize = 25;
/// Characters a line may have at most; rustfmt leaves long strings and comments alone.
const COLUMNS_MAX: usize = 100;
/// The same for a line with a string in it, which rustfmt cannot break.
const QUOTED_COLUMNS_MAX: usize = 115;

/// Checks one file.
pub(super) fn check(source: &Source, findings: &mut Findings) {
    let header = source.lines().take_while(|(_, line)| line.starts_with("//!")).count();
    if header == 0 && !source.path.ends_with("/tests.rs") {
        findings.add(&source.path, 1, "begin with `//!`: say in a sentence what this file is for");
    }
    if header > HEADER_LINES_MAX {
        findings.add(
            &source.path,
            1,
            format!("a header has at most {HEADER_LINES_MAX} lines: move the rest to its items"),
        );
    }
    for ((line, text), (_, literal)) in source.lines().zip(source.literals()) {
        let columns = text.chars().count();
        let is_quoted = !literal.trim().is_empty();
        let columns_max = if is_quoted { QUOTED_COLUMNS_MAX } else { COLUMNS_MAX };
        if columns > columns_max {
            let message = format!("{columns} columns, {columns_max} allowed: break the line");
            findings.add(&source.path, line, message);
        }
    }
    for ((line, text), (_, literal)) in source.lines().zip(source.literals()) {
        let odd = |text: &str| text.chars().filter(|c| !c.is_ascii()).count();
        let quoted = if source.is_test(line) { odd(literal) } else { 0 };
        if odd(text) > quoted {
            let message = "only ASCII in sources: `->` for an arrow, \\u{...} in a string \
                           (strings of tests may have more)";
            findings.add(&source.path, line, message);
        }
    }
}

#[cfg(test)]
#[path = "text/tests.rs"]
mod tests;
