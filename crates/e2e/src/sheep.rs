//! One sheep of a herd: its places, its addresses, its lives.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use sheepdog_client::admin::AdminClient;
use sheepdog_client::endpoint::Endpoint;

use crate::namespaces;
use crate::process::Process;
use crate::setting;
use crate::wait;

const READY: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(40);
const ADMIN: Duration = Duration::from_secs(60);
/// Lines of each log shown when a test fails.
const TAIL_LINES: usize = 25;

/// A sheep, running or not.
#[derive(Debug)]
pub struct Sheep {
    /// Its place in the herd.
    pub index: usize,
    /// Of the first Sheepdog's protocol; then peer, admin, NBD.
    ports: [u16; 4],
    place: PathBuf,
    /// Words of its command line besides directory, log and ports.
    pub arguments: Vec<String>,
    /// Directories of its disks; none: its own directory is its disk.
    pub disks: Vec<PathBuf>,
    /// Its own network; none: it is on loopback, with everybody.
    pub(crate) network: Option<namespaces::Place>,
    /// Sockets that are kept open between its lives.
    held: Vec<OwnedFd>,
    life: Option<Process>,
}

impl Sheep {
    pub(crate) fn new(index: usize, ports: [u16; 4], place: &Path, arguments: &[String]) -> Self {
        let (place, arguments) = (place.to_owned(), arguments.to_vec());
        let disks = Vec::new();
        Self { index, ports, place, arguments, disks, network: None, held: Vec::new(), life: None }
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.place.join(format!("sheep{}", self.index))
    }

    /// Where it records what its stores do, if it does.
    #[must_use]
    pub fn recordings(&self) -> PathBuf {
        self.place.join(format!("sheep{}.recordings", self.index))
    }

    /// Has its first life record what its stores do.
    ///
    /// # Errors
    /// If the directory for it cannot be made.
    pub fn record(&mut self) -> Result<()> {
        let directory = self.recordings();
        fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
        self.arguments.extend(["--record".to_owned(), directory.display().to_string()]);
        Ok(())
    }

    /// From its next life on the sockets for clients are kept open while it does not live, as a
    /// service manager does.
    ///
    /// # Errors
    /// If a port is taken: it must not live.
    pub fn hold_sockets(&mut self) -> Result<()> {
        let [legacy, _, _, nbd] = self.ports;
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let directory = self.directory();
        fs::create_dir_all(&directory)?;
        self.held = vec![
            bind(legacy)?.into(),
            bind(nbd)?.into(),
            UnixListener::bind(directory.join("sock"))?.into(),
            UnixListener::bind(directory.join("nbd.sock"))?.into(),
        ];
        Ok(())
    }

    /// What it logs, through all its lives.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.place.join(format!("sheep{}.log", self.index))
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Its command line.
    ///
    /// # Errors
    /// If there is no program.
    pub fn command(&self) -> Result<Command> {
        let [legacy, peer, admin, nbd] = self.ports.map(|port| port.to_string());
        let mut command = Command::new(setting::program("sheep")?);
        command.arg("-c").arg(format!("local:{}", self.place.join("log").display()));
        command.args(["-p", &legacy, "--peer-port", &peer]);
        command.args(["--admin-port", &admin, "--nbd-port", &nbd]);
        let mut word = self.directory().into_os_string();
        for disk in &self.disks {
            word.push(",");
            word.push(disk);
        }
        command.args(&self.arguments).arg(word);
        Ok(match &self.network {
            None => command,
            Some(network) => {
                let address = network.address.to_string();
                let mut command = network.command(&command);
                command.args(["--bindaddr", &address]);
                command
            }
        })
    }

    /// Starts a life; it may take a while until it serves.
    ///
    /// # Errors
    /// If it lives already or cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.life.is_none(), "sheep {} lives already", self.index);
        let out = self.place.join(format!("sheep{}.out", self.index));
        let name = format!("sheep {}", self.index);
        let (command, log) = (self.command()?, self.log_path());
        self.life = Some(Process::start_with(&name, &command, (&out, &log), &self.held)?);
        Ok(())
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// If it ends instead, or after a minute.
    pub async fn ready(&mut self) -> Result<()> {
        let what = format!("sheep {} to be ready", self.index);
        let life = self.life.as_mut().with_context(|| format!("{what}: it was not started"))?;
        wait::until(&what, READY, async || match life.ended()? {
            Some(status) => bail!("it ended ({status})"),
            None => Ok(life.output().contains("sheep is ready: ").then_some(())),
        })
        .await
    }

    /// Starts a life and waits until it serves.
    ///
    /// # Errors
    /// If it ends instead.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// SIGKILL; gone on return.
    ///
    /// # Errors
    /// If it does not live.
    pub fn kill(&mut self) -> Result<()> {
        let name = format!("sheep {}", self.index);
        self.life.take().with_context(|| format!("{name} does not live"))?.kill()
    }

    /// SIGSTOP: it lives, but does nothing.
    ///
    /// # Errors
    /// If it does not live.
    pub fn pause(&mut self) -> Result<()> {
        self.life()?.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// If it does not live.
    pub fn resume(&mut self) -> Result<()> {
        self.life()?.signal(Signal::CONT)
    }

    /// SIGCONT, or another start if it was killed while it was stopped, as the server of the log
    /// is.
    ///
    /// # Errors
    /// If it does not begin to serve.
    pub async fn go_on(&mut self) -> Result<()> {
        if self.life()?.ended()?.is_some() {
            self.forget_life();
            return self.start().await;
        }
        self.resume()
    }

    /// Any signal.
    ///
    /// # Errors
    /// If it does not live.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.life()?.signal(signal)
    }

    /// Its life is over, and its end was seen.
    pub(crate) fn forget_life(&mut self) {
        self.life = None;
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Errors
    /// If it does not live, or does not end.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.life()?.signal(Signal::TERM)?;
        self.wait_end().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it does not.
    pub async fn wait_end(&mut self) -> Result<ExitStatus> {
        let status = self.life()?.wait(END).await?;
        self.life = None;
        Ok(status)
    }

    /// Whether a life goes on as far as is known.
    #[must_use]
    pub const fn lives(&self) -> bool {
        self.life.is_some()
    }

    pub(crate) fn life(&mut self) -> Result<&mut Process> {
        let name = format!("sheep {}", self.index);
        self.life.as_mut().with_context(|| format!("{name} does not live"))
    }

    /// Client of its admin API.
    #[must_use]
    pub fn admin(&self) -> AdminClient {
        let endpoint = match self.network {
            None => Endpoint::loopback(self.ports[2]),
            Some(_) => Endpoint::unix(&self.directory().join("admin.sock")),
        };
        AdminClient::new(endpoint, Some(ADMIN))
    }

    /// Its admin port.
    #[must_use]
    pub const fn admin_port(&self) -> u16 {
        self.ports[2]
    }

    /// Port for other sheep.
    #[must_use]
    pub const fn peer_port(&self) -> u16 {
        self.ports[1]
    }

    /// Where it speaks NBD by TCP.
    #[must_use]
    pub fn nbd(&self) -> Endpoint {
        Endpoint::loopback(self.ports[3])
    }

    /// Where it speaks NBD by unix socket.
    #[must_use]
    pub fn nbd_unix(&self) -> Endpoint {
        Endpoint::unix(&self.directory().join("nbd.sock"))
    }

    /// Where it speaks the first Sheepdog's protocol by TCP.
    #[must_use]
    pub fn legacy(&self) -> Endpoint {
        Endpoint::loopback(self.ports[0])
    }

    /// Where it speaks the first Sheepdog's protocol by unix socket.
    #[must_use]
    pub fn legacy_unix(&self) -> Endpoint {
        Endpoint::unix(&self.directory().join("sock"))
    }

    /// Port of the first Sheepdog's protocol.
    #[must_use]
    pub const fn legacy_port(&self) -> u16 {
        self.ports[0]
    }

    /// Waits until a client of the first Sheepdog's protocol has connected.
    ///
    /// # Errors
    /// After a minute.
    pub async fn legacy_client(&self) -> Result<()> {
        let what = format!("a client to connect to sheep {}", self.index);
        let port = format!(":{:04X}", self.ports[0]);
        let socket = self.directory().join("sock").display().to_string();
        let by_tcp = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let is_ours = words.next().is_some_and(|local| local.ends_with(&port));
            is_ours && words.nth(1) == Some("01")
        };
        let by_unix = |line: &str| {
            let connected = line.split_whitespace().nth(5) == Some("03");
            connected && line.ends_with(&socket)
        };
        wait::until(&what, READY, async || {
            let read = |path| fs::read_to_string(path).context(path);
            let tcp = read("/proc/net/tcp")?.lines().any(by_tcp);
            Ok((tcp || read("/proc/net/unix")?.lines().any(by_unix)).then_some(()))
        })
        .await
    }

    /// Port of NBD.
    #[must_use]
    pub const fn nbd_port(&self) -> u16 {
        self.ports[3]
    }

    /// For clients of libnbd and QEMU, by TCP.
    #[must_use]
    pub fn nbd_uri(&self, vdi: &str) -> String {
        format!("nbd://127.0.0.1:{}/{vdi}", self.ports[3])
    }

    /// For clients of libnbd and QEMU, by unix socket.
    #[must_use]
    pub fn nbd_unix_uri(&self, vdi: &str) -> String {
        format!("nbd+unix:///{vdi}?socket={}", self.directory().join("nbd.sock").display())
    }

    /// For QEMU's own driver, by TCP.
    #[must_use]
    pub fn sheepdog_uri(&self, vdi: &str) -> String {
        format!("sheepdog://127.0.0.1:{}/{vdi}", self.ports[0])
    }

    /// For QEMU's own driver, by unix socket.
    #[must_use]
    pub fn sheepdog_unix_uri(&self, vdi: &str) -> String {
        format!("sheepdog+unix:///{vdi}?socket={}", self.directory().join("sock").display())
    }
}
