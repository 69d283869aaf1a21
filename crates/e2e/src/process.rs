//! Process: a program that runs beside the test until it is ended.
//!
//! Holds:
//!   R1 it is ended by its own number when the value is dropped, or when the test is killed.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// `SD_LISTEN_FDS_START`.
const FIRST_GIVEN: RawFd = 3;

/// A running program, its standard output and its standard error in files.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
}

impl Process {
    /// Starts a program tied to this one (R1). `out` is made anew, `err` is appended to.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(name: &str, command: &Command, out: &Path, err: &Path) -> Result<Self> {
        Self::start_with(name, command, (out, err), &[])
    }

    /// As [`Process::start`], and the program is given sockets as by a service manager: they stay
    /// open when it ends.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_with(
        name: &str,
        command: &Command,
        (out, err): (&Path, &Path),
        sockets: &[OwnedFd],
    ) -> Result<Self> {
        let parent = std::process::id().to_string();
        let open = |options: &mut OpenOptions, path: &Path| -> Result<File> {
            options.open(path).with_context(|| path.display().to_string())
        };
        let mut tether = Command::new(beside("e2e-tether")?);
        if !sockets.is_empty() {
            let given = |(socket, child_fd): (&OwnedFd, RawFd)| -> Result<FdMapping> {
                Ok(FdMapping { parent_fd: socket.try_clone()?, child_fd })
            };
            let given = sockets.iter().zip(FIRST_GIVEN..).map(given).collect::<Result<Vec<_>>>()?;
            tether.env("LISTEN_FDS", given.len().to_string()).fd_mappings(given)?;
        }
        let child = tether
            .arg(parent)
            .arg(command.get_program())
            .args(command.get_args())
            .envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))))
            .stdin(Stdio::null())
            .stdout(open(OpenOptions::new().create(true).truncate(true).write(true), out)?)
            .stderr(open(OpenOptions::new().create(true).append(true), err)?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, out: out.to_owned() })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// SIGKILL; gone on return.
    ///
    /// # Errors
    /// If it had ended before: then there was nothing to kill, and the test is wrong.
    pub fn kill(&mut self) -> Result<()> {
        let ended = self.ended()?;
        ensure!(ended.is_none(), "{} was to be killed, but had ended: {ended:?}", self.name);
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// How it ended, after a signal that it cannot ignore.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn reap(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.id().cast_signed()).context("a process without number")?;
        kill_process(pid, signal).with_context(|| format!("signal to {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// After `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, limit, async || self.ended()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill(); // R1
            let _ = self.child.wait();
        }
    }
}

/// A program of this crate, which cargo builds beside the tests.
///
/// # Errors
/// If it is not there.
pub fn beside(program: &str) -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    // A test program lies in TARGET/debug/deps, other programs beside this one.
    let mut paths = me.ancestors().skip(1).take(2).map(|folder| folder.join(program));
    paths.find(|path| path.is_file()).with_context(|| format!("no {program} for {}", me.display()))
}
