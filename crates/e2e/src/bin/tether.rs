//! Tether: becomes another program that is killed when the one that started it ends.
//!
//! Why: a test run that is itself killed must leave nothing running. The wish to be killed with
//!      the parent survives `exec`, so this program states it and then becomes the other one.
//! Way: `e2e-tether PARENT PROGRAM ARGUMENT...`; sockets that it was given go on to the program, as
//!      a service manager gives them (`sd_listen_fds(3)`).

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [parent, program, arguments @ ..] = words.as_slice() else {
        eprintln!("e2e-tether PARENT PROGRAM ARGUMENT...");
        return ExitCode::from(64);
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("e2e-tether: {error}");
        return ExitCode::FAILURE;
    }
    // The parent may have ended before that took effect.
    let now = getppid().map(|pid: Pid| pid.as_raw_nonzero().to_string());
    if now.as_deref() != parent.to_str() {
        eprintln!("e2e-tether: the parent is gone");
        return ExitCode::FAILURE;
    }
    let mut command = Command::new(program);
    if std::env::var_os("LISTEN_FDS").is_some() {
        command.env("LISTEN_PID", std::process::id().to_string());
    }
    let error = command.args(arguments).exec();
    eprintln!("e2e-tether: cannot start {}: {error}", program.display());
    ExitCode::FAILURE
}
