//! Tool: a program of others that runs, ends, and has printed something.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// Longest that a tool may take when nothing else is said.
pub const LIMIT: Duration = Duration::from_secs(120);
/// Where programs of the system are, also for users whose path lacks them.
const SYSTEM_PATH: &str = "/usr/sbin:/sbin";

/// A command line.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    limit: Duration,
}

/// What it printed, and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Tool {
    /// A program by its path, or by its name on the search path.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:{SYSTEM_PATH}"));
        Self { command, limit: LIMIT }
    }

    /// One more word.
    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    /// More words.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command.args(words);
        self
    }

    /// Lets it take so long.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it, however it ends.
    ///
    /// # Errors
    /// If it cannot be started or takes too long; it is killed then.
    pub async fn run(mut self) -> Result<Output> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = self.line();
        let child = self.command.kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("cannot start {line}"))?;
        let ended = tokio::time::timeout(self.limit, child.wait_with_output()).await;
        let Ok(ended) = ended else { bail!("{line} took longer than {:?}", self.limit) };
        let ended = ended?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&ended.stdout), text(&ended.stderr));
        Ok(Output { line, status: ended.status, out, err })
    }

    /// Runs it and returns its standard output.
    ///
    /// # Errors
    /// If it does not end with code 0.
    pub async fn succeed(self) -> Result<String> {
        let output = self.run().await?;
        if !output.status.success() {
            bail!("{output}");
        }
        Ok(output.out)
    }

    /// Runs it and returns all that it printed.
    ///
    /// # Errors
    /// If it ends with code 0.
    pub async fn fail(self) -> Result<String> {
        let output = self.run().await?;
        if output.status.success() {
            bail!("this should have failed: {output}");
        }
        Ok(output.out + &output.err)
    }

    fn line(&self) -> String {
        let command = self.command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    }
}

impl From<std::process::Command> for Tool {
    fn from(command: std::process::Command) -> Self {
        Self { command: Command::from(command), limit: LIMIT }
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})\n{}{}", self.line, self.status, self.out, self.err)
    }
}
