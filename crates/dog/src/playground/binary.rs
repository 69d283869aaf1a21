//! Binary: where the program `sheep` is; built first if this is a fresh clone.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::trouble::Trouble;

/// The `sheep` beside this `dog`. Under `cargo run`, and where it is missing in the target folder
/// of a workspace, cargo builds it first: cargo has built only `dog`.
pub(super) fn find() -> Result<PathBuf, Trouble> {
    let me = env::current_exe()
        .map_err(|error| Trouble::failure(format!("cannot tell where dog is: {error}")))?;
    let folder = me.parent().unwrap_or_else(|| Path::new("."));
    let sheep = folder.join("sheep");
    let told = match env::var_os("CARGO") {
        Some(_) => env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
        None => None,
    };
    if let Some(workspace) = workspace(folder, told.as_deref())
        && (told.is_some() || !sheep.exists())
    {
        build(&workspace, folder)?;
    }
    if sheep.exists() {
        return Ok(sheep);
    }
    Err(Trouble::failure(format!("there is no program sheep in {}", folder.display()))
        .hint("Install it there, or build it: cargo build --release -p sheepdog-sheep --bin sheep"))
}

/// The workspace that `folder` (`TARGET/release` or `TARGET/debug`) was built from: the one cargo
/// runs this program for, or the one around the target folder.
fn workspace(folder: &Path, told: Option<&Path>) -> Option<PathBuf> {
    let is_profile = folder.ends_with("release") || folder.ends_with("debug");
    let around = folder.parent().and_then(Path::parent);
    let roots = told.into_iter().flat_map(Path::ancestors).chain(around);
    let is_workspace = |root: &&Path| root.join("crates/sheep/Cargo.toml").exists();
    roots.into_iter().find(is_workspace).filter(|_| is_profile).map(Path::to_owned)
}

fn build(workspace: &Path, folder: &Path) -> Result<(), Trouble> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace).stdin(Stdio::null());
    command.args(["build", "-p", "sheepdog-sheep", "--bin", "sheep"]);
    if folder.file_name().is_some_and(|profile| profile == "release") {
        command.arg("--release");
    }
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    let shown: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    eprintln!("playground: building sheep (cargo {})", shown.join(" "));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Trouble::failure(format!("building sheep failed: {status}"))),
        Err(error) => Err(Trouble::failure(format!("cannot run cargo: {error}"))),
    }
}

#[cfg(test)]
#[path = "binary/tests.rs"]
mod tests;
