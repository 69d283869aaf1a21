//! Which groups there are, made from the crates that the workspace has.

use crate::cargo::Graph;

/// Seeds that the simulator runs; `cargo xtask sim` runs more.
const SEEDS: u32 = 2000;

/// What a group does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Installs what tests need.
    Setup,
    /// Checks the house style.
    Tidy,
    /// Runs cargo with these words, and these variables set.
    Cargo(Vec<String>, Vec<(&'static str, &'static str)>),
}

/// A part of the whole test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its name for `--only`.
    pub(super) name: &'static str,
    /// What it does, in a line.
    pub(super) about: &'static str,
    /// Groups that must have succeeded before.
    pub(super) needs: Vec<&'static str>,
    /// What it does.
    pub(super) work: Work,
}

/// All groups in their order.
pub(super) fn groups(graph: &Graph) -> Vec<Group> {
    let disasters = graph.package_in("crates/e2e");
    let mut groups = vec![
        group("setup", "installs what tests need", Work::Setup),
        group("fmt", "the code is formatted", cargo("fmt --all --check")),
        group(
            "clippy",
            "no warnings of the compiler and clippy",
            cargo("clippy --locked --workspace --all-targets -- -D warnings"),
        ),
        group("tidy", "the house style of STYLE.md", Work::Tidy),
        group("docs", "the documentation builds without warnings", {
            let words = words("doc --locked --workspace --no-deps");
            Work::Cargo(words, vec![("RUSTDOCFLAGS", "-D warnings")])
        }),
        group("test", "unit, property, golden, crash and simulator tests", {
            let mut words = words("test --locked --workspace --no-fail-fast");
            if let Some(name) = disasters {
                words.extend(["--exclude".to_owned(), name.to_owned()]);
            }
            Work::Cargo(words, Vec::new())
        }),
    ];
    if let Some(name) = graph.package_in("crates/sim") {
        let line = format!("run --locked --release --package {name} --bin simulate -- 0 {SEEDS} 2");
        groups.push(group("sim", "whole clusters from seeds", cargo(&line)));
    }
    let programs: Vec<&str> =
        ["crates/sheep", "crates/dog"].iter().filter_map(|path| graph.package_in(path)).collect();
    if !programs.is_empty() {
        let mut words = words("build --locked");
        for name in &programs {
            words.extend(["--package".to_owned(), (*name).to_owned()]);
        }
        let about = "the programs that the end-to-end tests start";
        groups.push(group("build", about, Work::Cargo(words, Vec::new())));
    }
    if let Some(name) = disasters {
        let words =
            words(&format!("test --locked --package {name} --no-fail-fast -- --test-threads=2"));
        let mut group = group(
            "e2e",
            "real programs, real clients, real disasters",
            Work::Cargo(words, Vec::new()),
        );
        group.needs = if programs.is_empty() { vec!["setup"] } else { vec!["setup", "build"] };
        groups.push(group);
    }
    groups
}

const fn group(name: &'static str, about: &'static str, work: Work) -> Group {
    Group { name, about, needs: Vec::new(), work }
}

fn cargo(line: &str) -> Work {
    Work::Cargo(words(line), Vec::new())
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
