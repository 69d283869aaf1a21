//! What cargo knows about the workspace: packages, their edges and licences.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;
use crate::repository::Repository;

/// For what a package needs another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Linked into it.
    Normal,
    /// Used by its build script.
    Build,
    /// Used by its tests only.
    Dev,
}

/// One line of a dependency table.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    /// The package's name in its registry.
    pub(crate) name: String,
    /// The folder in `crates/`, for a crate of this workspace.
    pub(crate) folder: Option<String>,
}

/// A package of the workspace or of the resolved graph.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// The SPDX expression it declares.
    pub(crate) licence: Option<String>,
    /// Its folder in the tree (`crates/proto`), for a member of this workspace.
    pub(crate) folder: Option<String>,
    /// Its own dependency tables.
    pub(crate) dependencies: Vec<Dependency>,
}

/// The resolved graph for this machine's platform with default features.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// Packages by cargo's id.
    pub(crate) packages: BTreeMap<String, Package>,
    /// Who needs whom, and for what.
    pub(crate) edges: BTreeMap<String, Vec<(String, BTreeSet<Need>)>>,
    /// The folder build results go to.
    pub(crate) target: String,
}

/// A cargo command in the source tree, by the cargo that runs this program.
pub(crate) fn command(repository: &Repository) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(repository.root());
    command
}

/// Builds the programs of some crates as for release; gives the folder where they are.
pub(crate) fn build_release(repository: &Repository, folders: &[&str]) -> Result<PathBuf> {
    let graph = Graph::load(repository)?;
    let mut build = command(repository);
    build.args(["build", "--locked", "--release", "--bins"]);
    for folder in folders {
        let name = graph.package_in(folder).with_context(|| format!("there is no {folder}"))?;
        build.args(["--package", name]);
    }
    process::run(&mut build)?;
    Ok(Path::new(&graph.target).join("release"))
}

impl Graph {
    /// Asks cargo; `Cargo.lock` must be up to date.
    pub(crate) fn load(repository: &Repository) -> Result<Self> {
        let host = host()?;
        let text = process::output(command(repository).args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
            &host,
        ]))?;
        Self::parse(&text, &repository.root().to_string_lossy())
    }

    /// Reads the JSON of `cargo metadata` for a workspace in the folder `root`.
    pub(crate) fn parse(text: &str, root: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).context("cargo metadata is not JSON")?;
        let mut graph =
            Self { target: string(&json["target_directory"]).to_owned(), ..Self::default() };
        for package in list(&json["packages"]) {
            let id = string(&package["id"]).to_owned();
            graph.packages.insert(id, parse_package(package, root));
        }
        for node in list(&json["resolve"]["nodes"]) {
            let edges = list(&node["deps"])
                .map(|dependency| {
                    let needs = list(&dependency["dep_kinds"]).map(need).collect();
                    (string(&dependency["pkg"]).to_owned(), needs)
                })
                .collect();
            graph.edges.insert(string(&node["id"]).to_owned(), edges);
        }
        Ok(graph)
    }

    /// The packages of this workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&String, &Package)> {
        self.packages.iter().filter(|(_, package)| package.folder.is_some())
    }

    /// The name of the package in a folder of the tree.
    pub(crate) fn package_in(&self, folder: &str) -> Option<&str> {
        self.members()
            .find(|(_, package)| package.folder.as_deref() == Some(folder))
            .map(|(_, package)| package.name.as_str())
    }

    /// Ids of everything that is linked into, or builds, the given packages.
    pub(crate) fn reach(&self, roots: &[String]) -> BTreeSet<String> {
        let mut seen: BTreeSet<String> = roots.iter().cloned().collect();
        let mut queue: VecDeque<String> = roots.iter().cloned().collect();
        while let Some(id) = queue.pop_front() {
            for (to, needs) in self.edges.get(&id).into_iter().flatten() {
                let wanted = needs.iter().any(|need| *need != Need::Dev);
                if wanted && seen.insert(to.clone()) {
                    queue.push_back(to.clone());
                }
            }
        }
        seen
    }
}

/// The platform of this machine, as rustc names it.
fn host() -> Result<String> {
    let text = process::output(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

fn parse_package(package: &Value, root: &str) -> Package {
    let manifest = string(&package["manifest_path"]);
    let member = package["source"].is_null();
    let dependencies = list(&package["dependencies"])
        .map(|dependency| Dependency {
            name: string(&dependency["name"]).to_owned(),
            folder: dependency["path"].as_str().and_then(|path| folder_in(path, root)),
        })
        .collect();
    Package {
        name: string(&package["name"]).to_owned(),
        version: string(&package["version"]).to_owned(),
        licence: package["license"].as_str().map(str::to_owned),
        folder: member.then(|| folder_in(manifest, root)).flatten().map(|path| {
            path.strip_suffix("/Cargo.toml").map_or_else(|| path.clone(), str::to_owned)
        }),
        dependencies,
    }
}

/// A path below `root` made relative to it.
fn folder_in(path: &str, root: &str) -> Option<String> {
    Some(path.strip_prefix(root)?.trim_start_matches('/').to_owned())
}

fn need(kind: &Value) -> Need {
    match kind["kind"].as_str() {
        Some("dev") => Need::Dev,
        Some("build") => Need::Build,
        _ => Need::Normal,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
#[path = "cargo/tests.rs"]
mod tests;
