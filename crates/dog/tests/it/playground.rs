//! `dog playground` and its processes, with programs in place of `sheep` that fail in their ways.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const LAST_IS_NEVER_READY: &str = "case \"$*\" in *sheep2) ;; *) echo 'sheep is ready';; esac";

/// A copy of `dog` with a script named `sheep` beside it. The script notes its process first.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(script: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("dog").tempdir().unwrap();
        copy_program(Path::new(env!("CARGO_BIN_EXE_dog")), &folder.path().join("dog"));
        let pids = folder.path().join("pids");
        let text = format!("#!/bin/sh\necho $$ >> '{}'\n{script}\n", pids.display());
        let source = folder.path().join("script");
        std::fs::write(&source, text).unwrap();
        std::fs::set_permissions(&source, PermissionsExt::from_mode(0o755)).unwrap();
        copy_program(&source, &folder.path().join("sheep"));
        Self { folder }
    }

    fn start(&self, options: &[&str]) -> Child {
        let data = self.data();
        Command::new(self.folder.path().join("dog"))
            .args(["playground", "--dir"])
            .arg(&data)
            .args(options)
            .env_remove("CARGO")
            .env_remove("CARGO_MANIFEST_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The processes that were started, once there are `count`.
    fn pids(&self, count: usize) -> Vec<Pid> {
        let path = self.folder.path().join("pids");
        let mut text = String::new();
        for _ in 0..20_000 {
            text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.ends_with('\n') && text.lines().count() >= count {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert!(text.lines().count() >= count, "{text:?}");
        text.lines().map(|line| Pid::from_raw(line.parse().unwrap()).unwrap()).collect()
    }
}

/// Copied by another process: a program that this one has open for writing, or a child that
/// another test has just forked off, cannot be started ("text file busy").
fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-p").arg(from).arg(to).status().unwrap().success());
}

fn is_alive(pid: Pid) -> bool {
    // A process that has ended but is not waited for yet is a zombie, and as good as gone.
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let state = std::fs::read_to_string(path).unwrap_or_default();
    let zombie = state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
    test_kill_process(pid).is_ok() && !zombie
}

fn assert_gone(pids: &[Pid]) {
    for _ in 0..10_000 {
        if !pids.iter().any(|pid| is_alive(*pid)) {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let left: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
    for pid in &left {
        let _ = kill_process(**pid, Signal::KILL);
    }
    panic!("left behind: {left:?}");
}

#[test]
fn a_sheep_that_cannot_start_is_told_with_its_last_words_and_nothing_is_left() {
    let stage = Stage::new(
        "case \"$*\" in *sheep2) echo 'the port is taken' >&2; exit 1;; esac
\
         echo 'sheep is ready'; exec sleep 1000",
    );
    let output = stage.start(&[]).wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("sheep 2 ended at its start (exit status: 1)"), "{told}");
    assert!(told.contains("the port is taken"), "{told}");
    assert_gone(&stage.pids(3));
    assert!(stage.data().join("sheep2.log").exists(), "a named directory is kept");
}

#[test]
fn a_signal_during_the_start_ends_every_process() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let stage = Stage::new(&format!("{LAST_IS_NEVER_READY}\nexec sleep 1000"));
        let child = stage.start(&["--check"]);
        let pids = stage.pids(3);
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert_gone(&pids);
    }
}

#[test]
fn a_killed_playground_takes_its_sheep_with_it() {
    let wait = "trap '' TERM INT HUP\nwhile :; do sleep 1; done";
    let stage = Stage::new(&format!("{LAST_IS_NEVER_READY}\n{wait}"));
    let mut child = stage.start(&[]);
    let pids = stage.pids(3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_gone(&pids);
}

#[test]
fn a_missing_sheep_and_a_taken_port_are_told_before_anything_starts() {
    let stage = Stage::new("exit 1");
    std::fs::remove_file(stage.folder.path().join("sheep")).unwrap();
    let output = stage.start(&[]).wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("there is no program sheep") && told.contains("cargo build"), "{told}");

    let stage = Stage::new("exit 1");
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let output = stage.start(&["--port", &port]).wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("port {port} cannot be used")), "{told}");
    assert!(!stage.folder.path().join("pids").exists(), "nothing was started");
}
