//! Tether: becomes another program that is killed when the one that started it ends.
//!
//! Why: a run that is itself killed must leave nothing running (B1). The wish to be killed with
//!      the parent survives `exec`, so this process states it and then becomes the program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The hidden command by which this program is called for it.
pub const COMMAND: &str = "tether";

/// A command line that runs `program` tied to this process.
///
/// # Errors
/// If the system does not tell where this program is.
pub fn command(program: &std::ffi::OsStr) -> Result<Command> {
    let me = std::env::current_exe().context("where is this program")?;
    let mut command = Command::new(me);
    command.args([COMMAND, "--parent", &std::process::id().to_string(), "--"]).arg(program);
    Ok(command)
}

/// Becomes the program; returns only if that fails.
///
/// # Errors
/// Always.
pub fn run(parent: i32, words: &[OsString]) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot be tied to the parent")?;
    // The parent may have ended before that took effect.
    if getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get) != Some(parent) {
        bail!("the parent is gone");
    }
    let (program, arguments) = words.split_first().context("no program is named")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
