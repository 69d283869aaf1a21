//! Tether: a program that ends when the one that started it ends, however that happens.
//!
//! Why: a killed playground must leave no sheep behind. The wish to be killed with the parent
//!      survives `exec`, so this process states it and then becomes the program.

use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::cli::Tether;
use crate::trouble::Trouble;

/// Becomes the program; returns only if that fails.
pub(crate) fn run(options: &Tether) -> Trouble {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Trouble::failure(format!("cannot tie a process to its parent: {error}"));
    }
    // The parent may have died before that took effect.
    if getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get) != Some(options.parent) {
        return Trouble::failure("the playground that wanted this process is gone");
    }
    let Some((program, arguments)) = options.command.split_first() else {
        return Trouble::failure("no program is named");
    };
    let error = Command::new(program).args(arguments).exec();
    Trouble::failure(format!("cannot start {}: {error}", program.display()))
}
