//! Member processes, what they report, and what is done to them.

use std::cell::{RefCell, RefMut};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::member::{QUIET, ROLE, will_text};

/// Ends a scenario that hangs; nothing waits for time to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Running,
    Killed,
    Closed,
}

/// What has been read of a report so far.
#[derive(Default)]
struct Progress {
    bytes: u64,
    is_ready: bool,
    answers: usize,
    wills_seen: HashSet<String>,
}

/// One member process, running or ended.
pub(crate) struct Life {
    pub session: u128,
    pub life: u32,
    pub end: End,
    report: PathBuf,
    progress: RefCell<Progress>,
    child: Child,
}

impl Life {
    /// The complete lines that it has written.
    pub(crate) fn lines(&self) -> Vec<String> {
        whole_lines(&self.report, 0).lines().map(str::to_owned).collect()
    }

    fn progress(&self) -> RefMut<'_, Progress> {
        let mut progress = self.progress.borrow_mut();
        let text = whole_lines(&self.report, progress.bytes);
        progress.bytes += text.len() as u64;
        for line in text.lines() {
            progress.is_ready |= line == "ready";
            progress.answers += usize::from(line.starts_with("ok "));
            if let Some((_, who)) = line.split_once(" will ") {
                progress.wills_seen.insert(format!("will {who}"));
            }
        }
        progress
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.progress().is_ready
    }

    pub(crate) fn will(&self) -> String {
        will_text(self.session, self.life)
    }

    pub(crate) fn answers(&self) -> usize {
        self.progress().answers
    }

    pub(crate) fn has_seen_will(&self, will: &str) -> bool {
        self.progress().wills_seen.contains(will)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    /// Kills it with no warning and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        self.end = End::Killed;
    }

    /// Waits until somebody else has killed it.
    pub(crate) fn wait_killed(&mut self) {
        let status = wait_exit(&mut self.child);
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
        self.end = End::Killed;
    }

    /// Waits until it ends with an error; gives its last words.
    pub(crate) fn wait_failure(&mut self) -> String {
        assert!(!wait_exit(&mut self.child).success());
        self.end = End::Killed;
        self.lines().pop().unwrap_or_default()
    }

    /// Lets it close its session and end.
    pub(crate) fn close(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"close\n").unwrap();
        let status = wait_exit(&mut self.child);
        assert!(status.success(), "member {} failed: {:?}", self.session, self.lines().last());
        self.end = End::Closed;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if self.end == End::Running {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The text from `offset` to the last complete line.
fn whole_lines(report: &Path, offset: u64) -> String {
    let mut bytes = Vec::new();
    // A member that has not begun has written nothing.
    if let Ok(mut file) = File::open(report) {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
    }
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    bytes.truncate(end);
    String::from_utf8(bytes).unwrap()
}

fn wait_exit(child: &mut Child) -> std::process::ExitStatus {
    let mut status = None;
    wait_until("a member exits", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Polls until it is so.
///
/// # Panics
/// After a time in which it must have come to be so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All lives of a scenario; at most one of each session runs.
pub(crate) struct Herd {
    keep: tempfile::TempDir,
    pub lives: Vec<Life>,
}

impl Herd {
    pub(crate) fn new() -> Self {
        Self { keep: tempfile::tempdir().unwrap(), lives: Vec::new() }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.keep.path().join("shared")
    }

    /// Starts the next life of a session; gives its place in `lives`.
    pub(crate) fn start(&mut self, session: u128) -> usize {
        self.start_as(session, Command::new(std::env::current_exe().unwrap()))
    }

    fn start_as(&mut self, session: u128, mut command: Command) -> usize {
        let life = self.lives.iter().filter(|life| life.session == session).count() as u32 + 1;
        let report = self.keep.path().join(format!("report-{session}-{life}"));
        let role = format!("{session} {life} {} {}", report.display(), self.directory().display());
        let child = command.env(ROLE, role).stdin(Stdio::piped()).spawn().unwrap();
        let progress = RefCell::default();
        self.lives.push(Life { session, life, end: End::Running, report, progress, child });
        self.lives.len() - 1
    }

    /// Starts a member that can make no file longer than some 50 or 100 KiB (shells differ in
    /// their unit), as on a full disk, and that reports no sightings.
    pub(crate) fn start_on_full_disk(&mut self, session: u128) -> usize {
        let mut shell = Command::new("/bin/sh");
        // An ignored signal stays ignored in what the shell becomes: writes then fail instead.
        shell.args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\""]);
        shell.arg(std::env::current_exe().unwrap()).env(QUIET, "1");
        self.start_as(session, shell)
    }

    /// Starts sessions 1 to `count` and waits until all of them have their wills set.
    pub(crate) fn start_all(&mut self, count: u128) {
        for session in 1..=count {
            self.start(session);
        }
        wait_until("all members are ready", || self.lives.iter().all(Life::is_ready));
    }

    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.lives.len()).filter(|life| self.lives[*life].end == End::Running).collect()
    }

    /// The running life that serves, if its hint is right at this moment.
    pub(crate) fn server(&self) -> Option<usize> {
        let hint = std::fs::read_to_string(self.directory().join("lock")).ok()?;
        let pid: u32 = hint.trim().parse().ok()?;
        self.running().into_iter().find(|life| self.lives[*life].child.id() == pid)
    }

    /// Waits until every one of these has had more answers than now.
    pub(crate) fn wait_progress(&self, lives: &[usize]) {
        let goals: Vec<(usize, usize)> =
            lives.iter().map(|life| (*life, self.lives[*life].answers() + 3)).collect();
        wait_until("appends are answered", || {
            goals.iter().all(|(life, goal)| self.lives[*life].answers() >= *goal)
        });
    }

    /// Waits until every one of `witnesses` has seen this will.
    pub(crate) fn wait_seen(&self, witnesses: &[usize], will: &str) {
        wait_until(&format!("{will:?} is seen"), || {
            witnesses.iter().all(|life| self.lives[*life].has_seen_will(will))
        });
    }

    /// Starts a further process of a session that runs, and gives what it reported at its end.
    pub(crate) fn start_twin(&self, session: u128) -> String {
        let report = self.keep.path().join("report-twin");
        let role = format!("{session} 0 {} {}", report.display(), self.directory().display());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let status = wait_exit(&mut child);
        assert!(!status.success());
        whole_lines(&report, 0)
    }
}
