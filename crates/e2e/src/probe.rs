//! Probe: a client that writes and reads 4 KiB, one after the other, and notes its longest pause.
//!
//! Why: what a virtual machine feels of a fault is how long its disk does not answer.
//! Way: a task writes a block and reads one, by turns; each completed operation is a beat of the
//!      [`Pulse`]. A client that does not connect again by itself is connected again.
//! Holds:
//!   PR1 a write that was not acknowledged is sent again before anything else is done, so every
//!       block has one content that it must hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use crate::disk::{Disk, Face};
use crate::herd::Herd;
use crate::qemu_io::QemuIo;
use crate::setting;
use crate::sheep::Sheep;
use crate::tgt::{Target, Tgt};
use crate::wait;
use crate::workload::Random;

/// Bytes of each operation.
const BLOCK_BYTES: u64 = 4096;
/// Bytes between the beginnings of two blocks, so that few blocks are in many objects.
const STRIDE: u64 = 16 * BLOCK_BYTES;
/// Longest that anything may take; what hangs is an error, what is slow is a figure.
const LIMIT: Duration = Duration::from_secs(120);
/// Pause between two attempts to connect again.
const AGAIN: Duration = Duration::from_millis(2);

/// Which program the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Our own, by NBD.
    Nbd,
    /// Our own, by the first Sheepdog's protocol.
    Legacy,
    /// qemu-io of the system, by NBD, connecting again by itself.
    Qemu,
    /// qemu-io of QEMU 5.2, with its own driver.
    Qemu52,
    /// Our own, by iSCSI from tgt.
    Tgt,
}

impl Client {
    /// For a page.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nbd => "own, NBD",
            Self::Legacy => "own, legacy protocol",
            Self::Qemu => "qemu-io, NBD",
            Self::Qemu52 => "qemu-io 5.2, its own driver",
            Self::Tgt => "iSCSI through tgt",
        }
    }
}

/// Completed operations.
#[derive(Debug)]
struct Beats {
    count: u64,
    last: Instant,
    longest: Duration,
}

/// What a probe has felt.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Mutex<Beats>>);

impl Pulse {
    fn new() -> Self {
        let beats = Beats { count: 0, last: Instant::now(), longest: Duration::ZERO };
        Self(Arc::new(Mutex::new(beats)))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Beats) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn beat(&self) {
        self.with(|beats| {
            beats.count += 1;
            beats.longest = beats.longest.max(beats.last.elapsed());
            beats.last = Instant::now();
        });
    }

    /// Forgets the pauses so far.
    pub fn begin(&self) {
        self.with(|beats| beats.longest = Duration::ZERO);
    }

    /// Completed operations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.with(|beats| beats.count)
    }

    /// The longest pause, that which lasts included.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.with(|beats| beats.longest.max(beats.last.elapsed()))
    }
}

/// The blocks, and the byte of which each must be full.
#[derive(Clone, Debug, Default)]
pub struct Expected(BTreeMap<u64, u8>);

impl Expected {
    /// Bytes of a disk that has so many blocks.
    #[must_use]
    pub const fn disk_bytes(blocks: u64) -> u64 {
        blocks * STRIDE
    }

    /// Reads all blocks and says how many are wrong.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub async fn wrong(&self, disk: &Disk) -> Result<u64> {
        let mut wrong = 0;
        for (block, pattern) in &self.0 {
            let bytes = disk.read(block * STRIDE, BLOCK_BYTES as usize).await?;
            wrong += u64::from(bytes.iter().any(|byte| byte != pattern));
        }
        Ok(wrong)
    }
}

/// A client at work.
#[derive(Debug)]
pub struct Probe {
    /// What it feels.
    pub pulse: Pulse,
    stop: Arc<Mutex<bool>>,
    task: JoinHandle<Result<(Expected, u64)>>,
    /// What the client goes through.
    tgt: Option<(Tgt, Target)>,
}

/// An open disk.
enum Link {
    Disk(Disk),
    /// Connected again by the probe.
    Reopened(Option<Disk>, Address),
    Qemu(QemuIo),
}

/// Where a sheep is to be found again.
type Address = (sheepdog_client::endpoint::Endpoint, String);

impl Probe {
    /// Opens a disk through a sheep, writes every one of its `blocks`, and goes on.
    ///
    /// # Errors
    /// If the disk cannot be opened.
    pub async fn start(
        herd: &Herd,
        sheep: usize,
        client: Client,
        disk: &str,
        blocks: u64,
    ) -> Result<Self> {
        let mut tgt = None;
        let sheep = herd.sheep(sheep);
        let link = match client {
            Client::Nbd => Link::Reopened(None, (sheep.nbd_unix(), disk.to_owned())),
            Client::Legacy => Link::Disk(Disk::open(sheep, Face::LegacyUnix, disk).await?),
            Client::Qemu | Client::Qemu52 => Link::Qemu(qemu(sheep, client, disk).await?),
            Client::Tgt => {
                let mut server = herd.tgt().await?;
                let socket = sheep.directory().join("sock");
                let target = server.offer(&format!("unix:{}:{disk}", socket.display())).await?;
                let link = Link::Disk(Disk::Iscsi(target.log_in().await?));
                tgt = Some((server, target));
                link
            }
        };
        let (pulse, stop) = (Pulse::new(), Arc::new(Mutex::new(false)));
        let work = work(link, blocks, pulse.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let ended = work.await;
            if let Err(error) = &ended {
                eprintln!("{}: {error:#}", client.name()); // whoever waits for more sees no more
            }
            ended
        });
        let probe = Self { pulse, stop, task, tgt };
        probe.more(blocks).await.context("writing every block once")?;
        Ok(probe)
    }

    /// Waits for so many more completed operations.
    ///
    /// # Errors
    /// If the client fails or hangs.
    pub async fn more(&self, count: u64) -> Result<()> {
        let goal = self.pulse.count() + count;
        wait::until("operations of a client", LIMIT, async || {
            ensure!(!self.task.is_finished(), "the client has ended");
            Ok((self.pulse.count() >= goal).then_some(()))
        })
        .await
    }

    /// Ends it: what the disk must hold, and how many reads were wrong.
    ///
    /// # Errors
    /// If the client has failed, or hangs.
    pub async fn stop(self) -> Result<(Expected, u64)> {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let ended = wait::within("the last operation", LIMIT, self.task).await?;
        if let Some((server, target)) = &self.tgt {
            server.withdraw(target).await?;
        }
        ended
    }
}

async fn qemu(sheep: &Sheep, client: Client, disk: &str) -> Result<QemuIo> {
    if client == Client::Qemu52 {
        let words = ["-f", "raw", "-t", "none", &sheep.sheepdog_unix_uri(disk)];
        return QemuIo::open(setting::qemu52("qemu-io")?, words).await;
    }
    let socket = sheep.directory().join("nbd.sock");
    let server = format!("server.type=unix,server.path={}", socket.display());
    let options = format!("driver=nbd,{server},export={disk},reconnect-delay=60");
    QemuIo::open("qemu-io", ["-t", "none", "--image-opts", &options]).await
}

/// Writes each block once, then writes and reads any by turns.
async fn work(
    mut link: Link,
    blocks: u64,
    pulse: Pulse,
    stop: Arc<Mutex<bool>>,
) -> Result<(Expected, u64)> {
    let (mut expected, mut wrong, mut random) = (Expected::default(), 0, Random(blocks));
    let mut turn = 0;
    while !*stop.lock().unwrap_or_else(PoisonError::into_inner) {
        let any = random.below(blocks as usize) as u64;
        let block = if turn < blocks { turn } else { any };
        if turn < blocks || turn.is_multiple_of(2) {
            let pattern = (turn % 250) as u8 + 1;
            link.write(block, pattern).await?;
            expected.0.insert(block, pattern);
        } else {
            wrong += u64::from(!link.holds(block, expected.0[&block]).await?);
        }
        pulse.beat();
        turn += 1;
    }
    link.close().await?;
    Ok((expected, wrong))
}

impl Link {
    async fn write(&mut self, block: u64, pattern: u8) -> Result<()> {
        let (offset, bytes) = (block * STRIDE, [pattern; BLOCK_BYTES as usize]);
        match self {
            Self::Disk(disk) => disk.write(offset, &bytes).await,
            Self::Qemu(qemu) => qemu.write(offset, BLOCK_BYTES, pattern).await,
            Self::Reopened(disk, address) => loop {
                // PR1
                match open(disk, address).await?.write(offset, &bytes).await {
                    Ok(()) => return Ok(()),
                    Err(_) => *disk = None,
                }
            },
        }
    }

    async fn holds(&mut self, block: u64, pattern: u8) -> Result<bool> {
        let (offset, length) = (block * STRIDE, BLOCK_BYTES as usize);
        let bytes = match self {
            Self::Disk(disk) => disk.read(offset, length).await?,
            Self::Qemu(qemu) => {
                let read = qemu.ask(&format!("read -P {pattern} {offset} {length}"), LIMIT).await?;
                ensure!(read.contains("read 4096/4096 bytes"), "{read}{}", qemu.errors());
                return Ok(!read.contains("verification failed"));
            }
            Self::Reopened(disk, address) => loop {
                match open(disk, address).await?.read(offset, length).await {
                    Ok(bytes) => break bytes,
                    Err(_) => *disk = None,
                }
            },
        };
        Ok(bytes.iter().all(|byte| *byte == pattern))
    }

    async fn close(self) -> Result<()> {
        match self {
            Self::Disk(disk) | Self::Reopened(Some(disk), _) => disk.close().await,
            Self::Qemu(qemu) => qemu.close().await,
            Self::Reopened(None, _) => Ok(()),
        }
    }
}

/// The disk, opened again if its connection has ended.
async fn open<'a>(disk: &'a mut Option<Disk>, address: &Address) -> Result<&'a Disk> {
    if disk.is_none() {
        let (endpoint, name) = address;
        let deadline = Instant::now() + LIMIT;
        let opened = loop {
            match Disk::open_nbd(endpoint, name).await {
                Ok(opened) => break opened,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        };
        *disk = Some(opened);
    }
    disk.as_ref().context("it was just opened")
}
