//! Code that decides has no clock, file, socket, thread, async or random order.
//!
//! Why: the simulator replays a whole cluster from a seed; one read of the clock or one walk
//!      over a hash map in `engine` or `proto` makes two runs of a seed differ.
//! Not here: tests, which may read golden files.

use super::Findings;
use super::source::Source;

/// The crates that must be pure.
const PURE: &[&str] = &["proto", "engine"];

/// Names that are refused wherever they stand.
const NAMES: &[(&str, &str)] = &[
    ("HashMap", "its order differs from run to run: use BTreeMap"),
    ("HashSet", "its order differs from run to run: use BTreeSet"),
    ("Instant", "take the time as an argument"),
    ("SystemTime", "take the time as an argument"),
    ("tokio", "async belongs to the crates that act"),
];

/// Modules of the standard library that are refused.
const MODULES: &[(&str, &str)] = &[
    ("std::env", "take settings as arguments"),
    ("std::fs", "files belong to store"),
    ("std::net", "sockets belong to the crates that act; addresses are in core::net"),
    ("std::process", "return what has to be done"),
    ("std::thread", "threads belong to the crates that act"),
];

/// Checks one file if it belongs to a pure crate.
pub(super) fn check(source: &Source, findings: &mut Findings) {
    let Some(folder) = source.crate_folder() else { return };
    if !PURE.contains(&folder) {
        return;
    }
    let mut add = |line, what: &str, advice: &str| {
        findings.add(&source.path, line, format!("no `{what}` in crates/{folder}: {advice}"));
    };
    for (line, code) in source.code().filter(|(line, _)| !source.is_test(*line)) {
        for path in paths(code) {
            for (name, advice) in NAMES {
                if path.split("::").any(|part| part == *name) {
                    add(line, name, advice);
                }
            }
            if let Some((module, advice)) = module_of(path) {
                add(line, module, advice);
            }
        }
    }
    for (line, path) in grouped_imports(source) {
        if let Some((module, advice)) = module_of(&path) {
            add(line, module, advice);
        }
    }
}

fn module_of(path: &str) -> Option<(&'static str, &'static str)> {
    let inside = |module: &str| {
        path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    MODULES.iter().find(|(module, _)| inside(module)).copied()
}

/// Words of a line joined by `::`.
fn paths(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
        .map(|path| path.trim_matches(':'))
        .filter(|path| !path.is_empty())
}

/// The paths of `use std::{...};`, which one line does not show, with the line of the `use`.
fn grouped_imports(source: &Source) -> Vec<(usize, String)> {
    let mut imports = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (line, code) in source.code().filter(|(line, _)| !source.is_test(*line)) {
        if let Some(at) = code.find("use std::{") {
            open = Some((line, String::new()));
            collect(&mut open, &code[at + "use ".len()..], &mut imports);
        } else if open.is_some() {
            collect(&mut open, code, &mut imports);
        }
    }
    imports
}

/// Adds a line to an open import and, at its `;`, its paths to the list.
fn collect(open: &mut Option<(usize, String)>, code: &str, imports: &mut Vec<(usize, String)>) {
    let Some((line, mut tree)) = open.take() else { return };
    match code.split_once(';') {
        Some((end, _)) => {
            tree.push_str(end);
            tree.retain(|c| !c.is_whitespace());
            imports.extend(expand("", &tree).into_iter().map(|path| (line, path)));
        }
        None => {
            tree.push_str(code);
            *open = Some((line, tree));
        }
    }
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![format!("{prefix}{tree}")];
    };
    let prefix = format!("{prefix}{head}");
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let mut paths = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                paths.extend(expand(&prefix, &inner[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    paths.extend(expand(&prefix, &inner[start..]));
    paths
}

#[cfg(test)]
#[path = "pure/tests.rs"]
mod tests;
