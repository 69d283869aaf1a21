//! Binary: where the program `sheep` is; built first if this is a fresh clone.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::trouble::Trouble;

/// The `sheep` beside this `dog`. Under `cargo run`, and where it is missing beside a workspace,
/// cargo builds it first: cargo has built only `dog`.
pub(super) fn find() -> Result<PathBuf, Trouble> {
    let me = env::current_exe()
        .map_err(|error| Trouble::failure(format!("cannot tell where dog is: {error}")))?;
    let folder = me.parent().unwrap_or_else(|| Path::new("."));
    let sheep = folder.join("sheep");
    let under_cargo = env::var_os("CARGO").is_some() && env::var_os("CARGO_MANIFEST_DIR").is_some();
    if sheep.exists() && !under_cargo {
        return Ok(sheep);
    }
    match workspace(folder) {
        Some(workspace) => build(&workspace, folder)?,
        None if sheep.exists() => return Ok(sheep),
        None => {}
    }
    if sheep.exists() {
        return Ok(sheep);
    }
    Err(Trouble::failure(format!("there is no program sheep in {}", folder.display()))
        .hint("Install it there, or build it: cargo build --release -p sheepdog-sheep --bin sheep"))
}

/// The workspace that `folder` (`TARGET/release` or `TARGET/debug`) was built from.
fn workspace(folder: &Path) -> Option<PathBuf> {
    let beside = folder.parent().and_then(Path::parent).map(Path::to_owned);
    let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let roots = told.iter().flat_map(|path| path.ancestors()).chain(beside.as_deref());
    let is_workspace = |root: &&Path| root.join("crates/sheep/Cargo.toml").exists();
    roots.into_iter().find(is_workspace).map(Path::to_owned)
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
