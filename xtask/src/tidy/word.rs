//! Words that mean "not finished", and calls that would stop a daemon.

use super::Findings;
use super::source::Source;

/// Refused in code, anywhere.
const CODE: &[(&str, &str)] = &[
    ("todo!", "build it, or leave it out and say so in the documentation"),
    ("unimplemented!", "build it, or leave it out and say so in the documentation"),
    ("dbg!", "use tracing, or remove it"),
    ("#[ignore", "a test runs or does not exist; nothing is skipped"),
];

/// Refused in comments, anywhere.
const COMMENTS: &[&str] = &["TODO", "FIXME", "XXX"];

/// The crates where bytes of others arrive and a stop loses the promises.
const STRICT: &[&str] = &["proto", "store", "engine", "attach"];

/// Refused in the code of those crates outside tests.
const STOPS: &[&str] = &[".unwrap()", ".expect("];

/// Checks one file.
pub(super) fn check(source: &Source, findings: &mut Findings) {
    for (line, code) in source.code() {
        for (word, advice) in CODE {
            if stands_in(code, word) {
                findings.add(&source.path, line, format!("no `{word}`: {advice}"));
            }
        }
    }
    for (line, comment) in source.comments() {
        for word in COMMENTS {
            if stands_in(comment, word) {
                let advice = "do it now, or file an issue and leave no mark here";
                findings.add(&source.path, line, format!("no {word}: {advice}"));
            }
        }
    }
    if source.crate_folder().is_some_and(|folder| STRICT.contains(&folder)) {
        check_stops(source, findings);
    }
}

fn check_stops(source: &Source, findings: &mut Findings) {
    for (line, code) in source.code() {
        if source.is_test(line) || source.is_allowed(line) {
            continue;
        }
        for call in STOPS.iter().filter(|call| code.contains(**call)) {
            let advice = "return an error, or end the line with `// allow: why it cannot fail`";
            findings.add(&source.path, line, format!("no `{call}` here: {advice}"));
        }
    }
}

/// Whether a word stands in the text and is not the end or the beginning of a longer one.
fn stands_in(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let rest = &text[at + word.len()..];
        let longer = word.ends_with(part) && rest.starts_with(part);
        !longer && !text[..at].ends_with(part)
    })
}

#[cfg(test)]
#[path = "word/tests.rs"]
mod tests;
