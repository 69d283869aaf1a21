//! Settings: what the environment says about programs and sizes.
//!
//! Holds: S1 a program that is not there is an error that says how to get it, never a skip.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The folder with the programs that are tested.
///
/// # Errors
/// If `SHEEPDOG_BIN` does not name it (S1).
pub fn programs() -> Result<PathBuf> {
    folder("SHEEPDOG_BIN", "`cargo xtask test --only e2e` builds the programs and sets it")
}

/// One of the programs that are tested.
///
/// # Errors
/// If it is not there (S1).
pub fn program(name: &str) -> Result<PathBuf> {
    let path = programs()?.join(name);
    ensure!(path.is_file(), "there is no {}; build it first", path.display());
    Ok(path)
}

/// A program of QEMU 5.2, whose driver speaks the first Sheepdog's protocol.
///
/// # Errors
/// If `SHEEPDOG_QEMU52` does not name its folder (S1).
pub fn qemu52(name: &str) -> Result<PathBuf> {
    let hint = "`cargo xtask setup` builds QEMU 5.2, `cargo xtask test` sets it";
    let path = folder("SHEEPDOG_QEMU52", hint)?.join(name);
    ensure!(path.is_file(), "there is no {}", path.display());
    Ok(path)
}

/// The folder with the kernel of a guest, its drivers, and busybox.
///
/// # Errors
/// If `SHEEPDOG_TEST_CACHE` does not name the folder that has it (S1).
pub fn guest() -> Result<PathBuf> {
    let hint = "`cargo xtask setup` fills it, `cargo xtask test` sets it";
    let path = folder("SHEEPDOG_TEST_CACHE", hint)?.join("guest");
    ensure!(path.join("stamp").is_file(), "there is no {}; {hint}", path.display());
    Ok(path)
}

/// A command that starts the emulator of guests: as `cargo xtask setup` unpacked it, or else as it
/// is installed.
///
/// # Errors
/// If `SHEEPDOG_TEST_CACHE` is not set.
pub fn emulator() -> Result<Command> {
    let hint = "`cargo xtask setup` fills it, `cargo xtask test` sets it";
    let root = folder("SHEEPDOG_TEST_CACHE", hint)?.join("emulator");
    if !root.join("stamp").is_file() {
        return Ok(Command::new("qemu-system-x86_64"));
    }
    let mut command = Command::new(root.join("usr/bin/qemu-system-x86_64"));
    command.arg("-L").arg(root.join("usr/share/qemu"));
    command.arg("-L").arg(root.join("usr/share/seabios"));
    command.env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"));
    Ok(command)
}

fn folder(variable: &str, hint: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.filter(|path| path.is_dir())
        .with_context(|| format!("{variable} must name a folder that exists; {hint}"))
}

/// A number from the environment, or the usual one.
///
/// # Errors
/// If it is set to something that is no number.
pub fn number(variable: &str, usual: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text} is no number")),
        Err(_) => Ok(usual),
    }
}
