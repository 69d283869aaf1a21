//! Faults: how long clients pause when sheep die, stop, are cut off or fill up.
//!
//! Way: builds sheep and the program of crates/e2e that makes the table, as for release, and
//!      calls it with the page and the commit.
//! Not here: what the faults are (crates/e2e/src/faults.rs).

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::repository::Repository;
use crate::setup;

/// The crates whose programs a run needs.
const PACKAGES: &[&str] = &["crates/sheep", "crates/e2e"];
/// Where the table is.
const PAGE: &str = "docs/ledger/faults.md";

/// Makes the table anew; `false` if something was wrong.
pub(crate) fn run(repository: &Repository, words: &[&str]) -> Result<bool> {
    if !words.is_empty() {
        bail!("faults knows no options; see `cargo xtask help`");
    }
    let tools = setup::run(repository)?;
    let programs = cargo::build_release(repository, PACKAGES)?;
    let mut faults = Command::new(programs.join("e2e-faults"));
    faults.arg(repository.root().join(PAGE));
    // That of the page does not change what is tested.
    faults.arg(repository.commit_of(&["crates", "Cargo.lock"])?);
    faults.env("PATH", setup::search_path());
    faults.env("SHEEPDOG_BIN", &programs).env("SHEEPDOG_QEMU52", &tools.qemu52);
    let status = faults.stdin(Stdio::null()).status().context("cannot start e2e-faults")?;
    Ok(status.success())
}
