//! How many packages of others there are, and that each was chosen on purpose.

use std::collections::BTreeSet;

use super::Findings;
use super::floor::SHIPPED;
use crate::cargo::Graph;

/// The page that names every direct dependency and says why it is there.
pub(super) const PAGE: &str = "docs/design/dependencies.md";

/// Packages that what ships may consist of, ours included.
const PACKAGES_MAX: usize = 150;

/// Checks the graph against the budget and the page; returns how many packages ship.
pub(super) fn check(graph: &Graph, page: Option<&str>, findings: &mut Findings) -> usize {
    let count = shipped(graph).len();
    if count > PACKAGES_MAX {
        let text = format!(
            "what ships has {count} packages, {PACKAGES_MAX} allowed: find the heavy one with \
             `cargo tree -e normal,build` and turn off its features or do without it"
        );
        findings.add("Cargo.lock", 0, text);
    }
    let Some(page) = page else {
        findings.add(PAGE, 0, "write this page: every direct dependency in backticks, and why");
        return count;
    };
    for name in direct(graph) {
        if !page.contains(&format!("`{name}`")) {
            findings.add(PAGE, 0, format!("name `{name}` in backticks and say why it is needed"));
        }
    }
    count
}

/// Ids of everything that is linked into the crates that ship, or builds them.
pub(super) fn shipped(graph: &Graph) -> BTreeSet<String> {
    let roots: Vec<String> = graph
        .members()
        .filter(|(_, package)| {
            let folder = package.folder.as_deref().and_then(|path| path.strip_prefix("crates/"));
            folder.is_some_and(|folder| SHIPPED.contains(&folder))
        })
        .map(|(id, _)| id.clone())
        .collect();
    graph.reach(&roots)
}

/// Names of the packages of others that our manifests name.
fn direct(graph: &Graph) -> BTreeSet<&str> {
    graph
        .members()
        .flat_map(|(_, package)| &package.dependencies)
        .filter(|dependency| dependency.folder.is_none())
        .map(|dependency| dependency.name.as_str())
        .collect()
}

#[cfg(test)]
#[path = "dependency/tests.rs"]
mod tests;
