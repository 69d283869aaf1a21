//! qemu-io, driven through its standard input, one command at a time.
//!
//! Why: a disk must stay open while sheep die, and each answer must be seen when it comes: so
//!      qemu-io is told, through `stdbuf`, to print each line at once.

use std::ffi::OsStr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::tool::LIMIT;

const PROMPT: &str = "qemu-io> ";
const SECTOR: u64 = 512;

/// A qemu-io with an open disk.
#[derive(Debug)]
pub struct QemuIo {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: Arc<Mutex<String>>,
    /// Read and not yet looked at.
    unread: String,
}

impl QemuIo {
    /// Starts `program` with `words` and waits until the disk is open.
    ///
    /// # Errors
    /// If it ends instead.
    pub async fn open<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut command = Command::new("stdbuf");
        command.arg("-oL").arg(program.as_ref()).args(words).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start qemu-io")?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let errors = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().context("no standard error")?;
        tokio::spawn(collect(stderr, errors.clone()));
        let mut io = Self { child, input, output, errors, unread: String::new() };
        io.prompt(LIMIT).await.context("opening")?;
        Ok(io)
    }

    /// Runs one command and returns what was printed until the next prompt.
    ///
    /// # Errors
    /// If qemu-io ends or takes longer than `limit`.
    pub async fn ask(&mut self, command: &str, limit: Duration) -> Result<String> {
        self.say(command).await?;
        self.prompt(limit).await.with_context(|| command.to_owned())
    }

    /// Gives a command without waiting for the prompt; [`QemuIo::prompt`] does that.
    ///
    /// # Errors
    /// If qemu-io has ended.
    pub async fn say(&mut self, command: &str) -> Result<()> {
        self.input.write_all(format!("{command}\n").as_bytes()).await?;
        Ok(())
    }

    /// Writes `length` bytes of `pattern`; returns when qemu-io says that they are written.
    ///
    /// # Errors
    /// If it says anything else.
    pub async fn write(&mut self, offset: u64, length: u64, pattern: u8) -> Result<()> {
        let command = format!("write -P {pattern} {offset} {length}");
        let answer = self.ask(&command, LIMIT).await?;
        let wanted = format!("wrote {length}/{length} bytes at offset {offset}");
        ensure!(answer.contains(&wanted), "{command}: {answer}{}", self.errors());
        Ok(())
    }

    /// Reads and has qemu-io compare every byte with `pattern`.
    ///
    /// # Errors
    /// If it says that they differ, or anything else.
    pub async fn verify(&mut self, offset: u64, length: u64, pattern: u8) -> Result<()> {
        ensure!(offset.is_multiple_of(SECTOR), "qemu-io verifies from sector borders");
        let command = format!("read -P {pattern} {offset} {length}");
        let answer = self.ask(&command, LIMIT).await?;
        let wanted = format!("read {length}/{length} bytes at offset {offset}");
        let well = answer.contains(&wanted) && !answer.contains("failed");
        ensure!(well, "{command}: {answer}{}", self.errors());
        Ok(())
    }

    /// Closes the disk.
    ///
    /// # Errors
    /// If qemu-io does not end with code 0.
    pub async fn close(mut self) -> Result<()> {
        self.say("quit").await?;
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        let status = ended.context("qemu-io does not end")??;
        ensure!(status.success(), "qemu-io ended with {status}: {}", self.errors());
        Ok(())
    }

    /// SIGKILL, as if the virtual machine had died.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// What it printed on standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the next prompt; returns what came before it.
    ///
    /// # Errors
    /// If qemu-io ends or takes longer than `limit`.
    pub async fn prompt(&mut self, limit: Duration) -> Result<String> {
        match tokio::time::timeout(limit, self.read_to(PROMPT)).await {
            Ok(result) => result,
            Err(_) => bail!("no prompt within {limit:?}: {}{}", self.unread, self.errors()),
        }
    }

    /// Waits for the next line, without giving a command.
    ///
    /// # Errors
    /// If qemu-io ends or takes longer than `limit`.
    pub async fn line(&mut self, limit: Duration) -> Result<String> {
        match tokio::time::timeout(limit, self.read_to("\n")).await {
            Ok(result) => result,
            Err(_) => bail!("no line within {limit:?}: {}{}", self.unread, self.errors()),
        }
    }

    /// What comes before the next `end`.
    async fn read_to(&mut self, end: &str) -> Result<String> {
        loop {
            if let Some((before, after)) = self.unread.split_once(end) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.unread = after;
                return Ok(before);
            }
            let mut buffer = [0; 4096];
            let count = self.output.read(&mut buffer).await?;
            if count == 0 {
                // What it said last is collected by another task.
                let _ = tokio::time::timeout(LIMIT, self.child.wait()).await;
                tokio::task::yield_now().await;
                bail!("qemu-io has ended: {}{}", self.unread, self.errors());
            }
            self.unread.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }
}

async fn collect(mut from: impl AsyncRead + Unpin, into: Arc<Mutex<String>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..count]);
        into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
    }
}
