//! One `sheep` process: tied to this one, its output watched.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Sheep;
use crate::trouble::Trouble;

/// What a sheep prints when it serves.
const READY: &str = "sheep is ready";

/// Lines of the log that are shown when a sheep cannot start.
const LAST_LINES: usize = 5;

/// A started process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
    ready: Arc<AtomicBool>,
    log_path: PathBuf,
}

impl Process {
    /// Starts `program` for `sheep`, with the coordination log in `log`.
    pub(super) fn start(program: &Path, log: &Path, sheep: &Sheep) -> Result<Self, Trouble> {
        let log_path = sheep.directory.with_extension("log");
        let failed = |error: io::Error| {
            Trouble::failure(format!("cannot start sheep {}: {error}", sheep.index))
        };
        let messages = File::options().create(true).append(true).open(&log_path).map_err(failed)?;
        let dog = std::env::current_exe().map_err(failed)?;
        let mut cluster = std::ffi::OsString::from("local:");
        cluster.push(log);
        let ports = sheep.ports;
        let mut command = Command::new(dog);
        command.args(["tether", "--parent", &std::process::id().to_string()]);
        command.arg(program).arg("-c").arg(cluster);
        for (option, value) in [
            ("-z", sheep.index),
            ("-p", ports.legacy),
            ("--peer-port", ports.peer),
            ("--admin-port", ports.admin),
            ("--nbd-port", ports.nbd),
        ] {
            command.arg(option).arg(value.to_string());
        }
        command.arg(&sheep.directory);
        // Ctrl-C on the terminal is for this process, which stops the sheep in order.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(messages);
        let mut child = command.spawn().map_err(failed)?;
        let ready = Arc::new(AtomicBool::new(false));
        if let Some(output) = child.stdout.take() {
            let ready = ready.clone();
            // Ends with the process, whose output it must keep taking.
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if line.starts_with(READY) {
                        ready.store(true, Ordering::Release);
                    }
                }
            });
        }
        Ok(Self { child, ended: None, ready, log_path })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap_or(None);
        }
        self.ended
    }

    /// SIGTERM, if it runs.
    pub(super) fn terminate(&mut self) {
        if self.ended().is_none() {
            let pid = rustix::process::Pid::from_child(&self.child);
            // It may have ended at this moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// SIGKILL, if it runs; then it is gone.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        if self.ended().is_none() {
            self.child.kill()?;
            self.ended = Some(self.child.wait()?);
        }
        Ok(())
    }

    pub(super) fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// The last lines of its log.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read(&self.log_path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.len().saturating_sub(LAST_LINES);
        format!("{}:\n     {}", self.log_path.display(), lines[start..].join("\n     "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever drops a process that runs is already telling of a worse error.
        let _ = self.kill();
    }
}
