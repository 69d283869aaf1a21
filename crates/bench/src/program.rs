//! Programs: one that runs beside the load until it is ended, or one that runs and is awaited.
//!
//! Holds:
//!   R1 a program is ended by its own number when its value is dropped, and by the tether when
//!      this process is killed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{tether, wait};

/// Lines of a log that are shown when its program did not do its work.
const TAIL_LINES: usize = 12;

/// A running program, its standard output and its standard error in files.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Program {
    /// Starts `program`, with `NAME.out` and `NAME.err` in `folder` made anew.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        name: &str,
        folder: &Path,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let (out, err) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let make = |path: &Path| File::create(path).with_context(|| path.display().to_string());
        let child = tether::command(program.as_ref())?
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(make(&out)?)
            .stderr(make(&err)?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, out, err })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The rest of the first line that begins with `beginning`, once it prints one.
    ///
    /// # Errors
    /// If it ends instead, or after `limit`; with the end of its log.
    pub async fn line(&mut self, beginning: &str, limit: Duration) -> Result<String> {
        let what = format!("{} to be ready", self.name);
        let found = wait::until(&what, limit, async || {
            let output = fs::read_to_string(&self.out).unwrap_or_default();
            // A line without its end may be half a line.
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            let line = whole.lines().find_map(|line| line.strip_prefix(beginning));
            match (line, self.ended()?) {
                (Some(rest), _) => Ok(Some(rest.to_owned())),
                (None, Some(status)) => bail!("it has ended ({status})"),
                (None, None) => Ok(None),
            }
        });
        let found = found.await;
        found.with_context(|| self.tail())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// After `limit`; it runs on then.
    pub async fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, limit, async || self.ended()).await
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = String::from_utf8_lossy(&fs::read(&self.err).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("log of {}:\n  {}", self.name, last.join("\n  "))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may end at this moment, which is all that is wanted.
            let _ = self.child.kill(); // R1
            let _ = self.child.wait();
        }
    }
}

/// Runs a program and returns what it printed.
///
/// # Errors
/// If it cannot be started, does not end with code 0, or takes longer than `limit`; it is killed
/// then (R1).
pub async fn output<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    limit: Duration,
) -> Result<String> {
    let mut command: Command = tether::command(OsStr::new(program))?;
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
    let child = child.with_context(|| format!("cannot start {program}"))?;
    let output = wait::within(program, limit, child.wait_with_output()).await?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        bail!("{program} failed ({}): {}\n{}", output.status, errors.trim_end(), printed);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} did not print UTF-8"))
}
