//! Programs that Debian's packages bring.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// A program and the package it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// Its name on the search path, or `lib:NAME` for a library that pkg-config must know.
    pub(super) program: &'static str,
    /// The Debian package.
    pub(super) package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// What the tests and the bench start.
pub(super) const PROGRAMS: &[Need] = &[
    need("tgtd", "tgt"),
    need("tgtadm", "tgt"),
    need("iscsi-inq", "libiscsi-bin"),
    need("iscsi-test-cu", "libiscsi-bin"),
    need("nbdinfo", "libnbd-bin"),
    need("nbdcopy", "libnbd-bin"),
    need("qemu-img", "qemu-utils"),
    need("qemu-io", "qemu-utils"),
    need("qemu-nbd", "qemu-utils"),
    need("mkfs.ext4", "e2fsprogs"),
    need("e2fsck", "e2fsprogs"),
    need("debugfs", "e2fsprogs"),
    need("mkfs.xfs", "xfsprogs"),
    need("mkfs.btrfs", "btrfs-progs"),
    need("mount", "mount"),
    need("fio", "fio"),
    need("ip", "iproute2"),
    need("nft", "nftables"),
];

/// What the build of QEMU 5.2 starts and links.
pub(super) const QEMU_BUILD: &[Need] = &[
    need("cc", "gcc"),
    need("make", "make"),
    need("ninja", "ninja-build"),
    need("meson", "meson"),
    need("python3", "python3"),
    need("pkg-config", "pkg-config"),
    need("tar", "tar"),
    need("xz", "xz-utils"),
    need("sha256sum", "coreutils"),
    need("lib:glib-2.0", "libglib2.0-dev"),
    need("lib:zlib", "zlib1g-dev"),
];

/// Where programs of the system are, also for users whose path lacks the last two.
pub(super) const SYSTEM_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// The file of a program, on the search path or in the system's folders.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(SYSTEM_PATH.split(':'));
    folders.map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// The packages that are missing, each once.
pub(super) fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<&'static str> =
        needs.iter().filter(|need| !is_there(need)).map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_there(need: &Need) -> bool {
    match need.program.strip_prefix("lib:") {
        Some(library) => {
            let mut command = Command::new("pkg-config");
            command.env("PATH", SYSTEM_PATH).args(["--exists", library]);
            process::output(&mut command).is_ok()
        }
        None => find(need.program).is_some(),
    }
}

/// Installs packages as root; otherwise says which are missing and fails.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if find("apt-get").is_none() {
        bail!("these Debian packages, or what is in them, are missing here: {list}");
    }
    if process::output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("packages are missing; as root, run: apt-get install {list}");
    }
    println!("setup: installing {list}");
    if apt_get(&["install"], packages).is_err() {
        update()?;
        apt_get(&["install"], packages)?;
    }
    if packages.contains(&"tgt") {
        println!(
            "setup: the package tgt enables a service; tests start their own, so it may be \
             turned off: systemctl disable --now tgt"
        );
    }
    Ok(())
}

/// Fetches the lists of packages anew.
pub(super) fn update() -> Result<()> {
    println!("setup: the package lists may be old; fetching them");
    apt_get(&["update"], &[])
}

fn apt_get(words: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y"]).args(words);
    if !packages.is_empty() {
        // A package that somebody chose in another version is not taken away for ours.
        command.args(["--no-install-recommends", "--no-remove"]).args(packages);
    }
    process::run(&mut command)
}

#[cfg(test)]
#[path = "debian/tests.rs"]
mod tests;
