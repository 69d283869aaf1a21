//! Herd: a cluster of real sheep, in a directory and on ports of its own.
//!
//! Way: `Herd::of(3).format().await` -> disasters (`kill`, `start`, ...) -> [`Herd::end`], which
//!      checks that every sheep that lives stops in order and that none has panicked.
//! Holds:
//!   H1 a herd that is dropped without its end shows the tails of all logs: the test has failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use sheepdog_client::admin::AdminClient;
use sheepdog_client::admin::types::{Copies, FormatRequest, NewVdi, Vdi};
use tempfile::TempDir;

use crate::copies;
use crate::mount::{FileSystem, Mount};
use crate::namespaces::Namespaces;
use crate::port::PortRow;
use crate::process::{self, Process};
use crate::sheep::Sheep;
use crate::tgt::Tgt;
use crate::wait;

/// Longest that a sheep may be behind the log.
const KNOWN: Duration = Duration::from_secs(30);
/// Longest that copies may take to be in sync again.
const CLEAN: Duration = Duration::from_secs(120);
/// First port of the relay, in a network where nothing else listens.
const DELAY_PORT: u16 = 9000;
const PORTS_PER_SHEEP: u16 = 4;
/// The first port of the row that no sheep has.
const PORTS_FREE: u16 = 24;

/// Sheep that are to be started.
#[derive(Clone, Debug)]
pub struct Plan {
    count: usize,
    arguments: Vec<String>,
    /// By the number of the sheep.
    disks: BTreeMap<usize, Vec<PathBuf>>,
    format: FormatRequest,
    records: bool,
    file_systems: Vec<(usize, FileSystem, u64)>,
    apart: bool,
    holds_sockets: bool,
    delay: Option<Duration>,
}

/// Sheep, their directories and their ports.
#[derive(Debug)]
pub struct Herd {
    sheep: Vec<Sheep>,
    /// Dropped when no sheep lives any more.
    mounts: Vec<(usize, Mount)>,
    /// Keeps back what is between them.
    delay: Option<Process>,
    namespaces: Option<Namespaces>,
    row: PortRow,
    place: TempDir,
    ended: bool,
}

impl Plan {
    /// Gives every sheep more words on its command line.
    #[must_use]
    pub fn arguments(mut self, words: &[&str]) -> Self {
        self.arguments.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Gives one sheep a file system of its own, of `bytes`, for its directory.
    #[must_use]
    pub fn file_system(mut self, sheep: usize, system: FileSystem, bytes: u64) -> Self {
        self.file_systems.push((sheep, system, bytes));
        self
    }

    /// Keeps the sockets of TCP clients open while a sheep is started again, as a service manager
    /// does.
    #[must_use]
    pub const fn hold_sockets(mut self) -> Self {
        self.holds_sockets = true;
        self
    }

    /// Gives every sheep a network of its own. Clients reach it by unix sockets.
    #[must_use]
    pub const fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Gives every sheep a network of its own, and keeps back what one sends to another for up to
    /// `delay`, so that connections overtake each other.
    #[must_use]
    pub const fn delayed(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self.apart()
    }

    /// Has every sheep record what its stores do to their disks, in [`Sheep::recordings`].
    #[must_use]
    pub const fn record(mut self) -> Self {
        self.records = true;
        self
    }

    /// Gives one sheep disks.
    #[must_use]
    pub fn disks(mut self, index: usize, disks: Vec<PathBuf>) -> Self {
        self.disks.insert(index, disks);
        self
    }

    /// Objects of 2^`shift` bytes.
    #[must_use]
    pub const fn object_shift(mut self, shift: u8) -> Self {
        self.format.object_shift = Some(shift);
        self
    }

    /// Copies of everything.
    #[must_use]
    pub const fn copies(mut self, copies: Copies) -> Self {
        self.format.copies = copies;
        self
    }

    /// Starts the sheep, one after the other: the first one serves the coordination log.
    ///
    /// # Errors
    /// If one does not start.
    pub async fn start(self) -> Result<Herd> {
        let place = tempfile::Builder::new().prefix("sheepdog-e2e-").tempdir()?;
        let row = PortRow::claim()?;
        let namespaces = self.apart.then(|| Namespaces::make(self.count)).transpose()?;
        let (sheep, mounts) = (Vec::new(), Vec::new());
        let mut herd = Herd { sheep, mounts, delay: None, namespaces, row, place, ended: false };
        for index in 0..self.count {
            herd.add(&self.arguments);
            herd.sheep[index].network = herd.namespaces.as_ref().map(|spaces| spaces.place(index));
        }
        if let Some(delay) = self.delay {
            herd.keep_back(delay).await?;
        }
        for index in 0..self.count {
            for (_, system, bytes) in self.file_systems.iter().filter(|(of, ..)| *of == index) {
                let mount = Mount::make(*system, *bytes, &herd.sheep[index].directory()).await?;
                herd.mounts.push((index, mount));
            }
            if self.holds_sockets {
                herd.sheep[index].hold_sockets()?;
            }
            if self.records {
                herd.sheep[index].record()?;
            }
            herd.sheep[index].disks = self.disks.get(&index).cloned().unwrap_or_default();
            herd.sheep[index].start().await?;
        }
        Ok(herd)
    }

    /// Starts the sheep and formats the cluster.
    ///
    /// # Errors
    /// If one does not start.
    pub async fn format(self) -> Result<Herd> {
        let format = self.format.clone();
        let herd = self.start().await?;
        herd.admin(0).format(&format).await.context("format")?;
        Ok(herd)
    }
}

impl Herd {
    /// A plan of `count` sheep, three copies, and objects of 1 MiB.
    #[must_use]
    pub fn of(count: usize) -> Plan {
        let format = FormatRequest {
            copies: Copies::Auto,
            object_shift: Some(20),
            partition_bits: None,
            force: false,
        };
        Plan {
            count,
            arguments: Vec::new(),
            disks: BTreeMap::new(),
            format,
            records: false,
            file_systems: Vec::new(),
            apart: false,
            holds_sockets: false,
            delay: None,
        }
    }

    /// One more sheep, not started.
    pub fn add(&mut self, arguments: &[String]) -> usize {
        let index = self.sheep.len();
        let first = index as u16 * PORTS_PER_SHEEP;
        assert!(first + PORTS_PER_SHEEP <= PORTS_FREE, "a row has ports for six sheep");
        let ports = [0, 1, 2, 3].map(|port| self.row.port(first + port));
        self.sheep.push(Sheep::new(index, ports, self.place.path(), arguments));
        index
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sheep.len()
    }

    /// One of them.
    #[must_use]
    pub fn sheep(&self, index: usize) -> &Sheep {
        &self.sheep[index]
    }

    /// One of them, to start or stop it.
    pub fn sheep_mut(&mut self, index: usize) -> &mut Sheep {
        &mut self.sheep[index]
    }

    /// The file system of a sheep that has one of its own.
    ///
    /// # Errors
    /// If it has none.
    pub fn mount(&self, sheep: usize) -> Result<&Mount> {
        let mount = self.mounts.iter().find(|(of, _)| *of == sheep).map(|(_, mount)| mount);
        mount.with_context(|| format!("sheep {sheep} has no file system of its own"))
    }

    /// The networks of sheep that are apart.
    ///
    /// # Errors
    /// If they are not.
    pub fn namespaces(&self) -> Result<&Namespaces> {
        self.namespaces.as_ref().context("the sheep of this herd share one network")
    }

    /// Puts a relay between each two sheep, in both directions.
    async fn keep_back(&mut self, delay: Duration) -> Result<()> {
        let mut command = Command::new(process::beside("e2e-delay")?);
        command.args([delay.as_millis().to_string(), std::process::id().to_string()]);
        let namespaces = self.namespaces()?;
        let hub = namespaces.hub();
        for (from, to) in (0..self.count()).flat_map(|from| (0..from).map(move |to| (from, to))) {
            for (from, to) in [(from, to), (to, from)] {
                let port = DELAY_PORT + (from * self.count() + to) as u16;
                namespaces.lead(from, to, port)?;
                let target = namespaces.place(to).address;
                command.arg(format!("{}:{port}", hub.address));
                command.arg(format!("{target}:{}", self.sheep[to].peer_port()));
            }
        }
        let [out, log] = ["delay.out", "delay.log"].map(|name| self.place().join(name));
        let mut relay = Process::start("e2e-delay", &hub.command(&command), &out, &log)?;
        wait::until("the relay to listen", KNOWN, async || match relay.ended()? {
            Some(status) => bail!("it ended ({status}): {:?}", std::fs::read_to_string(&log)),
            None => Ok(relay.output().contains("listening").then_some(())),
        })
        .await?;
        self.delay = Some(relay);
        Ok(())
    }

    /// How many connections between sheep were delayed so far.
    #[must_use]
    pub fn delayed_connections(&self) -> usize {
        let output = self.delay.as_ref().map(Process::output).unwrap_or_default();
        output.lines().skip(1).count()
    }

    /// A directory that goes away with the herd.
    #[must_use]
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// A port for something else; there are six.
    #[must_use]
    pub fn port(&self, index: u16) -> u16 {
        self.row.port(PORTS_FREE + index)
    }

    /// Client of one sheep's admin API.
    #[must_use]
    pub fn admin(&self, index: usize) -> AdminClient {
        self.sheep[index].admin()
    }

    /// Makes a VDI of the default class, and waits until every sheep that lives knows it.
    ///
    /// # Errors
    /// As told by the first sheep that lives.
    pub async fn create(&self, name: &str, size: u64) -> Result<Vdi> {
        let alive: Vec<&Sheep> = self.sheep.iter().filter(|sheep| sheep.lives()).collect();
        let first = alive.first().context("no sheep lives")?.admin();
        let new = NewVdi { name: name.to_owned(), size, copies: None, object_shift: None };
        let vdi = first.create(&new).await.with_context(|| format!("create {name}"))?;
        for sheep in &alive[1..] {
            let what = format!("sheep {} to know {name}", sheep.index);
            let admin = sheep.admin();
            let known = async || Ok(admin.vdi(name).await.is_ok_and(|v| v == vdi).then_some(()));
            wait::until(&what, KNOWN, known).await?;
        }
        Ok(vdi)
    }

    /// Waits until every group has all its copies, as each sheep knows it.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn until_clean(&self) -> Result<()> {
        for sheep in self.sheep.iter().filter(|sheep| sheep.lives()) {
            let what = format!("every copy in sync, says sheep {}", sheep.index);
            wait::until(&what, CLEAN, async || {
                let cluster = sheep.admin().cluster().await?;
                Ok(cluster.classes.iter().all(|class| class.clean == class.total).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Ends the sheep as [`Herd::end`] does, and compares what all of them hold of some VDIs.
    ///
    /// # Errors
    /// If copies differ.
    pub async fn end_with_equal_copies(mut self, vids: &[u32]) -> Result<()> {
        for sheep in &mut self.sheep {
            let status = sheep.terminate().await?;
            ensure!(status.success(), "sheep {} stopped with {status}", sheep.index);
        }
        for vid in vids {
            let first = copies::all(&mut copies::open(&self.sheep[0])?, *vid)?;
            for sheep in &self.sheep[1..] {
                let other = copies::all(&mut copies::open(sheep)?, *vid)?;
                if let Some(difference) = copies::difference(&first, &other) {
                    bail!("sheep 0 and {}: {difference}", sheep.index);
                }
            }
        }
        self.end().await
    }

    /// SIGKILL of one sheep.
    ///
    /// # Errors
    /// If it does not live.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        self.sheep[index].kill()
    }

    /// SIGKILL of all at once, as near to it as one process can.
    ///
    /// # Errors
    /// If one does not live.
    pub fn cut_power(&mut self) -> Result<()> {
        for sheep in &mut self.sheep {
            sheep.life()?.signal(Signal::KILL)?;
        }
        for sheep in &mut self.sheep {
            sheep.kill().or_else(|_| Ok::<(), anyhow::Error>(()))?;
        }
        Ok(())
    }

    /// As `cut_power`, where some may have ended by themselves. Returns how many had not.
    ///
    /// # Errors
    /// If a signal cannot be sent.
    pub fn cut_power_of_the_living(&mut self) -> Result<u64> {
        for sheep in self.sheep.iter_mut().filter(|sheep| sheep.lives()) {
            sheep.life()?.signal(Signal::KILL)?;
        }
        let mut killed = 0;
        for sheep in self.sheep.iter_mut().filter(|sheep| sheep.lives()) {
            let status = sheep.life()?.reap()?;
            sheep.forget_life();
            killed += u64::from(!status.success());
        }
        Ok(killed)
    }

    /// Leaves its directory behind; the sheep are killed.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.place.disable_cleanup(true);
        self.place.path().to_owned()
    }

    /// Starts one sheep where and as it was.
    ///
    /// # Errors
    /// If it does not come to serve.
    pub async fn start(&mut self, index: usize) -> Result<()> {
        self.sheep[index].start().await
    }

    /// Starts all sheep at once, and waits for all.
    ///
    /// # Errors
    /// If one does not come to serve.
    pub async fn start_all(&mut self) -> Result<()> {
        for sheep in &mut self.sheep {
            sheep.spawn()?;
        }
        for sheep in &mut self.sheep {
            sheep.ready().await?;
        }
        Ok(())
    }

    /// An iSCSI target program of this herd's own.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn tgt(&self) -> Result<Tgt> {
        Tgt::start(self.port(0), self.place.path()).await
    }

    /// Ends the sheep that live, by SIGTERM.
    ///
    /// # Errors
    /// If one had ended by itself, ends with another code than 0, or has panicked.
    pub async fn end(mut self) -> Result<()> {
        for sheep in self.sheep.iter_mut().filter(|sheep| sheep.lives()) {
            let index = sheep.index;
            let ended = sheep.life()?.ended()?;
            ensure!(ended.is_none(), "sheep {index} had ended by itself: {ended:?}");
            sheep.life()?.signal(Signal::TERM)?;
        }
        for sheep in self.sheep.iter_mut().filter(|sheep| sheep.lives()) {
            let status = sheep.wait_end().await?;
            ensure!(status.success(), "sheep {} stopped with {status}", sheep.index);
        }
        for sheep in &self.sheep {
            let log = sheep.log();
            let panic = log.lines().find(|line| line.contains("panicked at"));
            ensure!(panic.is_none(), "sheep {}: {panic:?}", sheep.index);
        }
        self.ended = true;
        Ok(())
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        for sheep in &self.sheep {
            eprintln!("-- end of the log of sheep {}\n{}", sheep.index, sheep.log_tail()); // H1
        }
    }
}
