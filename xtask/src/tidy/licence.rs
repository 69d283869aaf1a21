//! Which licences the packages of others may have.
//!
//! Way: the SPDX expression of each package is read as `OR` of `AND` of names; `A/B`, the old
//!      way of cargo, means `A OR B`. The same list is in deny.toml.

use super::Findings;
use super::dependency;
use crate::cargo::Graph;

/// Accepted everywhere.
const ALLOWED: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "MIT-0",
    "CC0-1.0",
];

/// Accepted for what only tests use.
const ALLOWED_IN_TESTS: &[&str] = &["BSL-1.0"];

/// Checks every package of the graph.
pub(super) fn check(graph: &Graph, findings: &mut Findings) {
    let shipped = dependency::shipped(graph);
    for (id, package) in &graph.packages {
        let (name, version) = (&package.name, &package.version);
        let allowed = |licence: &str| {
            ALLOWED.contains(&licence)
                || (ALLOWED_IN_TESTS.contains(&licence) && !shipped.contains(id))
        };
        let problem = match &package.licence {
            None => "names no licence".to_owned(),
            Some(text) => match satisfied(text, &allowed) {
                Some(true) => continue,
                Some(false) => format!("has the licence {text}, which is not on the list"),
                None => format!("has the licence {text}, which cannot be understood"),
            },
        };
        let advice = "do without it, or decide in a note and add to xtask and deny.toml";
        findings.add("Cargo.lock", 0, format!("{name} {version} {problem}: {advice}"));
    }
}

/// Whether allowed licences satisfy an SPDX expression; nothing if it is malformed.
fn satisfied(text: &str, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let result = any_of(&mut rest, allowed)?;
    rest.is_empty().then_some(result)
}

fn any_of(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut result = all_of(words, allowed)?;
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        result |= all_of(words, allowed)?;
    }
    Some(result)
}

fn all_of(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut result = one(words, allowed)?;
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        result &= one(words, allowed)?;
    }
    Some(result)
}

fn one(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let (first, rest) = words.split_first()?;
    *words = rest;
    match *first {
        "(" => {
            let result = any_of(words, allowed)?;
            let (close, rest) = words.split_first()?;
            *words = rest;
            (*close == ")").then_some(result)
        }
        ")" | "AND" | "OR" | "WITH" => None,
        name => {
            let Some((&"WITH", rest)) = words.split_first() else { return Some(allowed(name)) };
            let (exception, rest) = rest.split_first()?;
            *words = rest;
            Some(allowed(&format!("{name} WITH {exception}")))
        }
    }
}

#[cfg(test)]
#[path = "licence/tests.rs"]
mod tests;
