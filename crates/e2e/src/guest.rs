//! Guest: a real virtual machine in software, a Debian kernel whose root file system is a VDI.
//!
//! Way: an archive with busybox and the drivers of the disk mounts the VDI and goes on with the
//!      script there. That script writes files with `sync` after each and says so on a serial
//!      line; when it is told to stop it reboots, and in its second life it says the checksum of
//!      every file. The kernel's own messages go to another serial line, into a file.
//! Not here: which sheep die meanwhile (the tests).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::process::Process;
use crate::setting;
use crate::tool::Tool;
use crate::wait;

const START: Duration = Duration::from_secs(60);
const TRAILER: &str = "TRAILER!!!";
/// What busybox is called in the guest.
const APPLETS: &[&str] =
    &["sh", "mount", "mkdir", "dd", "sha256sum", "cut", "sync", "reboot", "poweroff"];
const FIRST: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for driver in /*.ko; do /bin/busybox insmod $driver; done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root && exec /bin/busybox switch_root /root /init
"#;
const SECOND: &str = r#"#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec >/dev/ttyS1
if [ -d /data ]; then
    for file in /data/*; do echo "found ${file##*/} $(sha256sum <$file | cut -c1-64)"; done
    mount -o remount,ro / && echo checked
    poweroff -f
fi
mkdir /data
(read order </dev/ttyS1; : >/dev/stop) &
number=0
until [ -e /dev/stop ]; do
    number=$((number + 1))
    dd if=/dev/urandom of=/data/$number bs=4096 count=$((1 + number % 32)) 2>/dev/null
    sum=$(sha256sum </data/$number | cut -c1-64)
    sync && echo "synced $number $sum"
done
reboot -f
"#;

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    lines: Lines<BufReader<OwnedReadHalf>>,
    output: OwnedWriteHalf,
    console: PathBuf,
}

/// Makes the root file system in `image`, of so many bytes.
///
/// # Errors
/// If a program for it is missing.
pub async fn make_root(place: &Path, image: &Path, bytes: u64) -> Result<()> {
    let root = place.join("root");
    for folder in ["bin", "dev", "proc"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(setting::guest()?.join("busybox"), root.join("bin/busybox"))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("init"), SECOND)?;
    for program in ["bin/busybox", "init"] {
        fs::set_permissions(root.join(program), fs::Permissions::from_mode(0o755))?;
    }
    fs::File::create(image)?.set_len(bytes)?;
    let tool = Tool::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(root).arg(image);
    tool.succeed().await.map(drop)
}

impl Guest {
    /// Starts it on a disk of an NBD server, which it looks for again when it is gone.
    ///
    /// # Errors
    /// If QEMU does not start.
    pub async fn start(place: &Path, socket: &Path, export: &str) -> Result<Self> {
        let parts = setting::guest()?;
        let archive = place.join("initramfs");
        fs::write(&archive, initramfs(&parts)?)?;
        let (talk, console) = (place.join("talk"), place.join("console"));
        let disk = format!(
            "driver=nbd,node-name=disk,server.type=unix,server.path={},export={export},\
             reconnect-delay=60",
            socket.display()
        );
        let mut command = setting::emulator()?;
        command.args(["-accel", "tcg", "-m", "256", "-nodefaults", "-no-user-config"]);
        command.args(["-display", "none", "-append", "console=ttyS0"]);
        command.arg("-kernel").arg(parts.join("vmlinuz")).arg("-initrd").arg(archive);
        command.args(["-serial", &format!("file:{}", console.display())]);
        let line = format!("socket,id=talk,path={},server=on,wait=on", talk.display());
        command.args(["-chardev", &line, "-serial", "chardev:talk"]);
        command.args(["-blockdev", &disk, "-device", "virtio-blk-pci,drive=disk"]);
        let (out, log) = (place.join("qemu.out"), place.join("qemu.log"));
        let mut process = Process::start("qemu-system-x86_64", &command, &out, &log)?;
        let stream = wait::until("QEMU to open its serial line", START, async || {
            if let Some(status) = process.ended()? {
                bail!("QEMU ended ({status}): {}", fs::read_to_string(&log)?);
            }
            Ok(UnixStream::connect(&talk).await.ok())
        })
        .await?;
        let (input, output) = stream.into_split();
        Ok(Self { process, lines: BufReader::new(input).lines(), output, console })
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// If it says nothing for `limit`; the end of the console is told.
    pub async fn line(&mut self, limit: Duration) -> Result<String> {
        let line = wait::within("a line of the guest", limit, self.lines.next_line()).await;
        let line = line.with_context(|| self.console_tail())?;
        Ok(line.with_context(|| self.console_tail())?.trim().to_owned())
    }

    /// Tells it to reboot after the file that it writes.
    ///
    /// # Errors
    /// If it is gone.
    pub async fn stop_writing(&mut self) -> Result<()> {
        Ok(self.output.write_all(b"stop\n").await?)
    }

    /// What its kernel has said of disks that failed.
    #[must_use]
    pub fn disk_errors(&self) -> Vec<String> {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().filter(|line| line.contains("I/O error")).map(str::to_owned).collect()
    }

    /// Waits until it has switched itself off.
    ///
    /// # Errors
    /// After `limit`.
    pub async fn off(mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait(limit).await
    }

    fn console_tail(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("the guest is silent; its console ends with:\n{tail}")
    }
}

/// The archive with which the kernel starts, in the form `newc` of cpio.
fn initramfs(parts: &Path) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for folder in ["bin", "dev", "root"] {
        add(&mut archive, folder, 0o40_755, (0, 0), &[]);
    }
    // The kernel opens it before anything is mounted.
    add(&mut archive, "dev/console", 0o20_600, (5, 1), &[]);
    add(&mut archive, "init", 0o100_755, (0, 0), FIRST.as_bytes());
    add(&mut archive, "bin/busybox", 0o100_755, (0, 0), &fs::read(parts.join("busybox"))?);
    for entry in fs::read_dir(parts)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ko") {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            add(&mut archive, &name, 0o100_644, (0, 0), &fs::read(&path)?);
        }
    }
    add(&mut archive, TRAILER, 0, (0, 0), &[]);
    Ok(archive)
}

fn add(archive: &mut Vec<u8>, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
    let (length, name_length) = (content.len() as u32, name.len() as u32 + 1);
    let inode = archive.len() as u32;
    let fields = [inode, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}
