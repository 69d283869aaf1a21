//! The emulator of guests, `qemu-system-x86_64`: as the system has it, or installed, or unpacked.
//!
//! Why: where other programs of QEMU are installed in a newer version than Debian has now, its
//!      emulator cannot be installed beside them. Then its packages are unpacked into the cache,
//!      and only the libraries that it needs are installed.
//! Holds: Q1 a stamp is written last; what was unpacked once is kept, whatever is newer.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cache::Cache;
use super::debian;
use crate::process;

/// Where the tests look, in the cache.
const FOLDER: &str = "emulator";
const UNPACKING: &str = "emulator.unpacking";
const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// What is unpacked; network cards of guests would need more.
const PACKAGES: &[&str] = &[PACKAGE, "qemu-system-common", "qemu-system-data", "seabios"];
const BINARY: &str = "usr/bin/qemu-system-x86_64";

/// The program, if it is there.
pub(super) fn find(cache: &Cache) -> Option<PathBuf> {
    let folder = cache.join(FOLDER);
    let unpacked = folder.join("stamp").is_file().then(|| folder.join(BINARY));
    debian::find(PROGRAM).or(unpacked)
}

/// The program, had first if need be.
pub(super) fn ensure(cache: &Cache) -> Result<PathBuf> {
    if find(cache).is_none()
        && let Err(error) = debian::install(&[PACKAGE])
    {
        println!("setup: {PACKAGE} cannot be installed here, so it is unpacked: {error:#}");
        let lock = cache.lock()?;
        unpack(cache).with_context(|| format!("{PROGRAM} cannot be had"))?;
        drop(lock);
    }
    find(cache).with_context(|| format!("{PROGRAM} vanished"))
}

fn unpack(cache: &Cache) -> Result<()> {
    let text = process::output(Command::new("apt-cache").args(["depends", PACKAGE]))?;
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let libraries: Vec<&str> = named.filter(|name| name.starts_with("lib")).collect();
    debian::install(&libraries)?;
    let folder = cache.empty(UNPACKING)?;
    let packages = folder.join("packages");
    fs::create_dir_all(&packages).context("cannot prepare folders")?;
    let mut apt = Command::new("apt-get");
    apt.current_dir(&packages).args(["-q", "-o", "APT::Sandbox::User=root", "download"]);
    process::output(apt.args(PACKAGES))?;
    let root = folder.join("root");
    for package in fs::read_dir(&packages)? {
        let mut dpkg = Command::new("dpkg-deb");
        process::output(dpkg.arg("-x").arg(package?.path()).arg(&root))?;
    }
    ensure!(root.join(BINARY).is_file(), "the package has no {BINARY}");
    fs::write(root.join("stamp"), "unpacked").context("cannot write the stamp")?;
    cache.remove(FOLDER)?;
    fs::rename(&root, cache.join(FOLDER)).context("cannot put it in place")?;
    cache.remove(UNPACKING)
}
