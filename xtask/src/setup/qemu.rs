//! The tools of QEMU 5.2 with the `sheepdog` driver, built from Debian's source package.
//!
//! Why: QEMU 6.1 and later have no such driver, so no installed QEMU can test the legacy
//!      face. Debian 11 kept the source of 5.2; its driver is built, never read.
//! Way: the tarball comes through apt with a private list of sources, made of the servers this
//!      machine already uses, and must have the SHA-256 below. Only qemu-img, qemu-io and
//!      qemu-nbd are built, without system emulation, documentation or optional libraries.
//! Holds:
//!   Q1 a stamp that names the tarball and the options is written last; without it, or with
//!      another one, the tools are built again;
//!   Q2 tools that do not list `sheepdog` among their formats are never used.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, thread};

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::debian::{self, SYSTEM_PATH};
use crate::process;

/// What is built.
pub(super) const PROGRAMS: &[&str] = &["qemu-img", "qemu-io", "qemu-nbd"];

/// Debian's release that has QEMU 5.2.
const SUITE: &str = "bullseye";
const TARBALL: &str = "qemu_5.2+dfsg.orig.tar.xz";
const TARBALL_SHA256: &str = "be5ae7ddc88d68af81c7b2435b95c1cad4e9416c9a1426ee5a6a4b9a9c0bf87e";

const BUILT: &str = "qemu-5.2";
const BUILDING: &str = "qemu-5.2.building";
const LOG: &str = "qemu-5.2.log";

/// Options of `configure`; `x` in the second list stands for `--disable-x`.
const ENABLED: &[&str] = &[
    "--meson=/usr/bin/meson",
    "--ninja=/usr/bin/ninja",
    "--without-default-devices",
    "--enable-sheepdog",
    "--enable-tools",
];
const DISABLED: &str = "git-update system user docs werror debug-info guest-agent slirp capstone \
    fdt blobs gnutls nettle gcrypt auth-pam bzip2 lzfse lzo snappy zstd curl libssh libiscsi \
    libnfs rbd glusterfs libxml2 linux-aio linux-io-uring xfsctl vnc mpath libudev replication \
    bochs cloop dmg vdi vvfat qed parallels vhost-user keyring xkbcommon";

/// The folder with the tools, built first if need be.
pub(super) fn ensure(cache: &Cache) -> Result<PathBuf> {
    if let Some(folder) = find(cache)? {
        return Ok(folder);
    }
    let lock = cache.lock()?;
    if let Some(folder) = find(cache)? {
        return Ok(folder);
    }
    debian::install(&debian::missing(debian::QEMU_BUILD))?;
    let tarball = fetch(cache)?;
    build(cache, &tarball)?;
    drop(lock);
    find(cache)?.context("the QEMU 5.2 tools vanished after they were built")
}

/// The folder with usable tools: the one the user names, or the one that was built.
pub(super) fn find(cache: &Cache) -> Result<Option<PathBuf>> {
    if let Some(folder) = env::var_os("SHEEPDOG_QEMU52").filter(|folder| !folder.is_empty()) {
        let folder = PathBuf::from(folder);
        check(&folder).context("SHEEPDOG_QEMU52 is set, but its tools cannot be used")?;
        return Ok(Some(folder));
    }
    let folder = cache.join(BUILT);
    let stamped = fs::read_to_string(folder.join("stamp")).is_ok_and(|text| text == stamp());
    Ok((stamped && check(&folder).is_ok()).then_some(folder))
}

/// Refuses tools that are missing, of another release, or without the driver (Q2).
fn check(folder: &Path) -> Result<()> {
    for program in PROGRAMS {
        let path = folder.join(program);
        let version = process::output(Command::new(&path).arg("--version"))?;
        if !version.contains(" 5.2.") {
            bail!("{} is not of QEMU 5.2: {}", path.display(), version.trim_end());
        }
    }
    let help = process::output(Command::new(folder.join("qemu-img")).arg("--help"))?;
    if !lists_driver(&help) {
        bail!("{} was built without --enable-sheepdog", folder.join("qemu-img").display());
    }
    Ok(())
}

fn lists_driver(help: &str) -> bool {
    let formats = help.lines().find_map(|line| line.strip_prefix("Supported formats:"));
    formats.is_some_and(|formats| formats.split_whitespace().any(|name| name == "sheepdog"))
}

fn options() -> Vec<String> {
    let disabled = DISABLED.split_whitespace().map(|name| format!("--disable-{name}"));
    ENABLED.iter().map(|option| (*option).to_owned()).chain(disabled).collect()
}

fn stamp() -> String {
    format!("{TARBALL_SHA256} {}\n", options().join(" "))
}

/// The tarball, from the cache or through apt.
fn fetch(cache: &Cache) -> Result<PathBuf> {
    let tarball = cache.join(TARBALL);
    if tarball.is_file() && sha256(&tarball)? == TARBALL_SHA256 {
        return Ok(tarball);
    }
    let mut refusals = Vec::new();
    for server in servers()? {
        println!("setup: fetching {TARBALL} of Debian {SUITE}");
        match fetch_from(cache, &server) {
            Ok(downloaded) => {
                fs::rename(&downloaded, &tarball).context("cannot keep the tarball")?;
                cache.remove("apt")?;
                return Ok(tarball);
            }
            Err(error) => refusals.push(format!("{error:#}")),
        }
    }
    bail!(
        "the source of QEMU 5.2 cannot be had: no apt server of this machine gives the source \
         package qemu of Debian {SUITE}.\nPut {TARBALL} (SHA-256 {TARBALL_SHA256}) into {}, or \
         set SHEEPDOG_QEMU52 to a folder with {} of QEMU 5.2 built with --enable-sheepdog.\n{}",
        cache.folder().display(),
        PROGRAMS.join(", "),
        refusals.join("\n")
    )
}

/// The servers this machine's apt uses, those of Debian proper first.
fn servers() -> Result<Vec<String>> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
    let text = process::output(&mut command).context("apt cannot say which servers it uses")?;
    let mut servers: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if !servers.iter().any(|server| server == line) {
            servers.push(line.to_owned());
        }
    }
    servers.sort_by_key(|server| !server.trim_end_matches('/').ends_with("/debian"));
    if servers.is_empty() {
        bail!("apt on this machine has no servers");
    }
    Ok(servers)
}

/// Downloads the tarball with a list of sources of our own, which apt otherwise ignores.
fn fetch_from(cache: &Cache, server: &str) -> Result<PathBuf> {
    let folder = cache.empty("apt")?;
    for name in ["lists/partial", "cache/archives/partial", "download"] {
        fs::create_dir_all(folder.join(name)).context("cannot prepare folders for apt")?;
    }
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let signed = if Path::new(keyring).is_file() {
        format!("[signed-by={keyring}] ")
    } else {
        String::new()
    };
    let list = folder.join("sources.list");
    fs::write(&list, format!("deb-src {signed}{server} {SUITE} main\n"))
        .context("cannot write a list of sources for apt")?;
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.current_dir(folder.join("download")).arg("-q");
        for (name, value) in [
            ("Dir::Etc::sourcelist", list.as_path()),
            ("Dir::Etc::sourceparts", Path::new("/dev/null")),
            ("Dir::State::lists", &folder.join("lists")),
            ("Dir::Cache", &folder.join("cache")),
            ("APT::Sandbox::User", Path::new("root")),
            ("APT::Update::Error-Mode", Path::new("any")),
        ] {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        }
        process::output(command.args(words))
    };
    apt(&["update"])?;
    apt(&["source", "--download-only", "--tar-only", "--only-source", "qemu"])?;
    let tarball = folder.join("download").join(TARBALL);
    let sum = sha256(&tarball)?;
    if sum != TARBALL_SHA256 {
        bail!("{TARBALL} has the SHA-256 {sum}, not {TARBALL_SHA256}: it is not used");
    }
    Ok(tarball)
}

fn sha256(path: &Path) -> Result<String> {
    let text = process::output(Command::new("sha256sum").arg(path))?;
    text.split_whitespace().next().map(str::to_owned).context("sha256sum printed nothing")
}

/// Builds the tools aside, checks them, and puts them in place (U2, Q1).
fn build(cache: &Cache, tarball: &Path) -> Result<()> {
    let started = Instant::now();
    let folder = cache.empty(BUILDING)?;
    let source = folder.join("source");
    let objects = folder.join("objects");
    let result = folder.join("result");
    for made in [&source, &objects, &result] {
        fs::create_dir_all(made).context("cannot prepare folders for the build")?;
    }
    let log = Log::create(cache.join(LOG))?;
    println!("setup: building the QEMU 5.2 tools (about a minute on two cores)");
    let unpack = ["--extract", "--strip-components=1", "--file"];
    log.run(Command::new("tar").current_dir(&source).args(unpack).arg(tarball))?;
    // Debian's tarball has no firmware, and the build description insists on its files even
    // when none is installed. The tools need none of them.
    fs::write(source.join("pc-bios/meson.build"), "").context("the tarball has no pc-bios")?;
    log.run(Command::new("../source/configure").current_dir(&objects).args(options()))?;
    let jobs = thread::available_parallelism().map_or(2, |count| count.get().max(2));
    let mut ninja = Command::new("ninja");
    ninja.current_dir(&objects).arg(format!("-j{jobs}")).args(PROGRAMS);
    log.run(&mut ninja)?;
    for program in PROGRAMS {
        fs::copy(objects.join(program), result.join(program))
            .with_context(|| format!("the build made no {program}"))?;
    }
    check(&result)?;
    fs::write(result.join("stamp"), stamp()).context("cannot write the stamp")?;
    cache.remove(BUILT)?;
    fs::rename(&result, cache.join(BUILT)).context("cannot put the tools in place")?;
    cache.remove(BUILDING)?;
    println!("setup: built the QEMU 5.2 tools in {} s", started.elapsed().as_secs());
    Ok(())
}

/// The output of the build, shown only when a step fails.
struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, file })
    }

    /// Runs a step with the system's own programs first on the path.
    fn run(&self, command: &mut Command) -> Result<()> {
        let status = command
            .env("PATH", SYSTEM_PATH)
            .stdin(Stdio::null())
            .stdout(self.file.try_clone()?)
            .stderr(self.file.try_clone()?)
            .status()
            .with_context(|| format!("cannot start `{}`", process::line(command)))?;
        if status.success() {
            return Ok(());
        }
        let bytes = fs::read(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n");
        let program = command.get_program().to_string_lossy().into_owned();
        bail!("{program} failed: {status}; the end of {}:\n{end}", self.path.display())
    }
}

#[cfg(test)]
#[path = "qemu/tests.rs"]
mod tests;
