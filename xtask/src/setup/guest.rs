//! What a guest of the tests is made of: Debian's kernel for virtual machines and a busybox that
//! needs no libraries. Both packages are unpacked and never installed.
//!
//! Holds: Q1 a stamp is written last; what was unpacked once is kept, whatever is newer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cache::Cache;
use super::debian;
use crate::process;

/// Where the tests look, in the cache.
pub(super) const FOLDER: &str = "guest";
const UNPACKING: &str = "guest.unpacking";
/// It depends on the kernel itself, whose name has a version.
const KERNEL: &str = "linux-image-cloud-amd64";
const BUSYBOX: &str = "busybox-static";
/// The way to the disk; what it needs comes first.
const MODULES: &[&str] = &[
    "virtio/virtio_ring.ko",
    "virtio/virtio.ko",
    "virtio/virtio_pci_legacy_dev.ko",
    "virtio/virtio_pci_modern_dev.ko",
    "virtio/virtio_pci.ko",
    "block/virtio_blk.ko",
];

/// The folder, if everything is there.
pub(super) fn find(cache: &Cache) -> Option<PathBuf> {
    let folder = cache.join(FOLDER);
    folder.join("stamp").is_file().then_some(folder)
}

/// The folder, filled first if need be.
pub(super) fn ensure(cache: &Cache) -> Result<PathBuf> {
    if let Some(folder) = find(cache) {
        return Ok(folder);
    }
    let lock = cache.lock()?;
    if find(cache).is_none() {
        unpack(cache).context("what a guest is made of cannot be had")?;
    }
    drop(lock);
    find(cache).context("what a guest is made of vanished")
}

fn unpack(cache: &Cache) -> Result<()> {
    let folder = cache.empty(UNPACKING)?;
    let (packages, root, result) =
        (folder.join("packages"), folder.join("root"), folder.join("result"));
    for made in [&packages, &root, &result] {
        fs::create_dir_all(made).context("cannot prepare folders")?;
    }
    println!("setup: fetching {KERNEL} and {BUSYBOX}, to unpack them");
    download(&packages).or_else(|_| {
        debian::update()?;
        download(&packages)
    })?;
    for package in fs::read_dir(&packages)? {
        let mut dpkg = Command::new("dpkg-deb");
        process::output(dpkg.arg("-x").arg(package?.path()).arg(&root))?;
    }
    let kernels = fs::read_dir(root.join("boot"))?.flatten().map(|entry| entry.path());
    let is_kernel = |path: &PathBuf| path.display().to_string().contains("/vmlinuz-");
    let kernel = kernels.filter(is_kernel).last().context("the package has no kernel")?;
    copy(&kernel, &result.join("vmlinuz"))?;
    copy(&root.join("bin/busybox"), &result.join("busybox"))?;
    let release = kernel.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let release = release.strip_prefix("vmlinuz-").context("a kernel without release")?;
    let drivers = root.join("lib/modules").join(release).join("kernel/drivers");
    for (number, module) in MODULES.iter().enumerate() {
        let name = format!("{number}-{}", module.rsplit('/').next().unwrap_or_default());
        copy(&drivers.join(module), &result.join(name))?;
    }
    fs::write(result.join("stamp"), release).context("cannot write the stamp")?;
    cache.remove(FOLDER)?;
    fs::rename(&result, cache.join(FOLDER)).context("cannot put it in place")?;
    cache.remove(UNPACKING)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| from.display().to_string()).map(drop)
}

fn download(folder: &Path) -> Result<()> {
    let text = process::output(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let named = text.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let kernel = format!("linux-image-{}", named.with_context(|| format!("no {KERNEL}"))?);
    let mut apt = Command::new("apt-get");
    apt.current_dir(folder).args(["-q", "-o", "APT::Sandbox::User=root", "download"]);
    process::output(apt.args([&kernel, BUSYBOX]))?;
    let count = fs::read_dir(folder)?.count();
    ensure!(count == 2, "{count} packages in place of 2");
    Ok(())
}
