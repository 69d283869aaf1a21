//! Which crate may use which: arrows point down, rooms of one floor do not know each other.
//!
//! Why: the crate graph is the architecture; a new arrow is a decision, not an accident.
//! Holds:
//!   F1 every folder of `crates/` is in the table;
//!   F2 a manifest and the code name only crates that the table allows.

use super::Findings;
use super::source::Source;
use crate::cargo::Graph;

/// A crate's folder and the folders it may use, for programs and for tests alike.
const FLOORS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("engine", &["proto"]),
    ("store", &["proto"]),
    ("cluster", &["proto"]),
    ("client", &["proto", "engine"]),
    ("attach", &["proto", "engine", "client"]),
    ("sheep", &["proto", "engine", "store", "cluster", "client", "attach"]),
    ("dog", &["proto", "client"]),
    ("sim", &["proto", "engine", "store", "cluster", "client", "attach"]),
    ("bench", &["proto", "engine", "store", "cluster", "client", "attach"]),
    ("e2e", &["proto", "engine", "store", "cluster", "client", "attach"]),
];

const ADVICE: &str = "move the code, or change the table in xtask/src/tidy/floor.rs with a \
                      decision note in docs/design/";

/// The folders of the crates that ship; the others only test.
pub(super) const SHIPPED: &[&str] =
    &["proto", "engine", "store", "cluster", "client", "attach", "sheep", "dog"];

fn allowed(from: &str) -> Option<&'static [&'static str]> {
    FLOORS.iter().find(|(folder, _)| *folder == from).map(|(_, to)| *to)
}

/// Checks the dependency tables of all manifests.
pub(super) fn check_manifests(graph: &Graph, findings: &mut Findings) {
    for (_, package) in graph.members() {
        let Some(folder) = package.folder.as_deref() else { continue };
        let manifest = format!("{folder}/Cargo.toml");
        let own = folder.strip_prefix("crates/");
        let Some(to) = own.map_or(Some(&[][..]), allowed) else {
            findings.add(&manifest, 0, format!("{folder} has no floor: {ADVICE}"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(path) = dependency.folder.as_deref() else { continue };
            let name = path.strip_prefix("crates/").unwrap_or(path);
            if !to.contains(&name) {
                findings.add(&manifest, 0, format!("{folder} may not use {path}: {ADVICE}"));
            }
        }
    }
}

/// Checks the crates that the code of one file names.
pub(super) fn check_source(source: &Source, findings: &mut Findings) {
    let Some(from) = source.crate_folder() else { return };
    let to = allowed(from).unwrap_or_default();
    for (line, code) in source.code() {
        for name in mentioned(code) {
            let known = FLOORS.iter().any(|(folder, _)| *folder == name);
            if known && name != from && !to.contains(&name) {
                findings.add(
                    &source.path,
                    line,
                    format!("crates/{from} may not use crates/{name}: {ADVICE}"),
                );
            }
        }
    }
}

/// The `x` of each `sheepdog_x` in a line.
fn mentioned(code: &str) -> impl Iterator<Item = &str> {
    code.split("sheepdog_").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[cfg(test)]
#[path = "floor/tests.rs"]
mod tests;
