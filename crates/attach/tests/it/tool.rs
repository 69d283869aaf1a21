//! Tools: programs of others, run as a user would.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

/// Which Debian package a program comes from.
const PACKAGES: [(&str, &str); 5] = [
    ("qemu-img", "qemu-utils"),
    ("qemu-io", "qemu-utils"),
    ("qemu-nbd", "qemu-utils"),
    ("nbdinfo", "libnbd-bin"),
    ("nbdcopy", "libnbd-bin"),
];

fn missing(program: &str) -> String {
    let package = PACKAGES.iter().find(|(name, _)| *name == program).map_or("?", |(_, p)| p);
    format!("{program} is missing: install the package {package}, or run `cargo xtask setup`")
}

fn spawned<T>(program: &str, result: std::io::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!("{}", missing(program)),
        Err(error) => panic!("{program}: {error}"),
    }
}

/// Runs to the end, whatever that is.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    // `timeout` bounds a client that would wait for ever; it passes the exit status on.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "60", program]).args(arguments).stdin(Stdio::null());
    let output = spawned("timeout", command.output());
    let code = output.status.code();
    assert_ne!(code, Some(127), "{}", missing(program));
    assert_ne!(code, Some(124), "{program} {arguments:?} does not end: {}", said(&output));
    output
}

/// Runs to a good end; what it said on its standard output.
pub(crate) fn ok(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs to a bad end; all that it said.
pub(crate) fn fails(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(!output.status.success(), "{program} {arguments:?} worked: {}", said(&output));
    said(&output)
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A `qemu-io` that waits for commands. Killed when dropped.
pub(crate) struct QemuIo {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl QemuIo {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new("qemu-io");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawned("qemu-io", command.stderr(Stdio::inherit()).spawn());
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command; its answer is read by [`QemuIo::expect`].
    pub(crate) fn send(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
    }

    /// Reads until a line holds `text`.
    pub(crate) fn expect(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "qemu-io ended before it said '{text}'");
        }
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for QemuIo {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
