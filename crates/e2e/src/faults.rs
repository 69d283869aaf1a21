//! Faults: what a client feels of each, as a table.
//!
//! Way: for each row of [`rows`] a new herd, a [`Probe`] through sheep 1, the fault, and a while
//!      after it; then every block is compared through another sheep. Figures are reported, and
//!      compared with nothing: a slow machine has other ones.
//! Holds:
//!   FA1 a wrong block, a client that hangs or fails, ends the run with an error; its row is on
//!       the page.

mod row;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::disk::{Disk, Face};
use crate::herd::Herd;
use crate::loop_disk::LoopDisk;
use crate::mount::FileSystem;
use crate::probe::{Expected, Probe};
pub use row::{Fault, Row, rows};

const NAME: &str = "disk";
const BLOCKS: u64 = 256;
/// Operations after a fault before the next thing is done.
const MORE: u64 = 200;
const OWN: usize = 1;
const REPLICA: usize = 2;
const LOG_SERVER: usize = 0;
/// How long a fault lasts that has a length.
const LONG: Duration = Duration::from_secs(15);
const SHORT: Duration = Duration::from_secs(5);
const DELAY: Duration = Duration::from_millis(20);
/// Of the disk that hangs.
const DISK_MIB: u64 = 1024;
/// Of the file system that gets full.
const FILE_SYSTEM: u64 = 256 << 20;
const HEAD: &str = "\
# Real faults

`cargo xtask faults` writes this page: real sheep, one real client that writes and reads 4 KiB by turns
and waits for each answer, and one fault; all on one machine, each herd anew. The pause is the longest
time between two completed operations from just before the fault until all copies were in sync again.
Wrong are blocks that did not hold what was acknowledged, read during the fault or afterwards through
another sheep. Sheep which are apart have network namespaces of their own.

";

/// What a row brought.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The longest pause.
    pub pause: Duration,
    /// Completed operations from the fault on.
    pub operations: u64,
    /// Blocks that were not as they must be.
    pub wrong: u64,
}

/// Runs the rows and writes the page after each.
///
/// # Errors
/// FA1.
pub async fn run(page: &Path, commit: &str) -> Result<()> {
    let mut text = format!("{HEAD}Commit {commit}.\n\n{}", Row::head());
    let mut bad = 0;
    for row in rows() {
        let measured = measure(row).await;
        let line = row.render(&measured);
        print!("{line}");
        text.push_str(&line);
        fs::write(page, &text).with_context(|| page.display().to_string())?;
        match measured {
            Ok(figures) => bad += figures.wrong,
            Err(error) => {
                eprintln!("{}: {error:#}", row.fault.name());
                bad += 1;
            }
        }
    }
    ensure!(bad == 0, "{bad} rows or blocks are wrong"); // FA1
    Ok(())
}

/// One row.
///
/// # Errors
/// If the client fails or hangs, or a sheep does not come back.
pub async fn measure(row: Row) -> Result<Figures> {
    let mut plan = Herd::of(row.sheep);
    if row.fault.is_of_links() {
        plan = plan.apart();
    }
    if row.fault == Fault::SlowLinks {
        plan = plan.delayed(DELAY);
    }
    if row.fault == Fault::DiskFull {
        plan = plan.file_system(REPLICA, FileSystem::Ext4, FILE_SYSTEM);
    }
    let mut disk = None;
    if row.fault == Fault::DiskHangs {
        let disk = disk.insert(LoopDisk::make(DISK_MIB)?);
        plan = plan.disks(REPLICA, vec![disk.path()]);
    }
    if row.fault == Fault::GatewayReplaced {
        plan = plan.hold_sockets();
    }
    let mut herd = plan.format().await?;
    herd.create(NAME, Expected::disk_bytes(BLOCKS)).await?;
    let probe = Probe::start(&herd, OWN, row.client, NAME, BLOCKS).await?;
    probe.more(MORE).await?;
    probe.pulse.begin();
    let before = probe.pulse.count();
    if let Some(disk) = &disk {
        let hang = disk.hang()?;
        tokio::time::sleep(LONG).await;
        drop(hang);
    }
    act(row.fault, &mut herd, &probe).await?;
    probe.more(MORE).await?;
    herd.until_clean().await?;
    let (pause, operations) = (probe.pulse.longest(), probe.pulse.count() - before);
    let (expected, wrong) = probe.stop().await?;
    let wrong = wrong + compare(&herd, &expected).await?;
    herd.end().await?;
    Ok(Figures { pause, operations, wrong })
}

/// Blocks that are wrong as another sheep tells.
async fn compare(herd: &Herd, expected: &Expected) -> Result<u64> {
    let disk = Disk::open(herd.sheep(REPLICA), Face::NbdUnix, NAME).await?;
    let wrong = expected.wrong(&disk).await?;
    disk.close().await?;
    Ok(wrong)
}

async fn act(fault: Fault, herd: &mut Herd, probe: &Probe) -> Result<()> {
    match fault {
        Fault::DiskHangs => {}
        Fault::None | Fault::SlowLinks => tokio::time::sleep(SHORT).await,
        Fault::ReplicaKilled => kill(herd, REPLICA, probe).await?,
        Fault::LogServerKilled => kill(herd, LOG_SERVER, probe).await?,
        Fault::ReplicaRestarted => restart(herd, REPLICA).await?,
        Fault::GatewayRestarted | Fault::GatewayReplaced => restart(herd, OWN).await?,
        Fault::GatewayKilled => {
            herd.kill(OWN)?;
            herd.start(OWN).await?;
        }
        Fault::ReplicaStopped => stop(herd, REPLICA).await?,
        Fault::GatewayStopped => stop(herd, OWN).await?,
        Fault::CutBothWays => cut(herd, &[(OWN, REPLICA), (REPLICA, OWN)]).await?,
        Fault::ReplicaDeaf => cut(herd, &[(OWN, REPLICA)]).await?,
        Fault::GatewayDeaf => cut(herd, &[(REPLICA, OWN)]).await?,
        Fault::NoCarrier => {
            herd.namespaces()?.set_link(REPLICA, false)?;
            tokio::time::sleep(LONG).await;
            herd.namespaces()?.set_link(REPLICA, true)?;
        }
        Fault::AllKilled => {
            herd.cut_power()?;
            herd.start_all().await?;
        }
        Fault::DiskFull => {
            herd.mount(REPLICA)?.take_space()?;
            tokio::time::sleep(SHORT).await;
            herd.mount(REPLICA)?.give_back()?;
        }
    }
    Ok(())
}

/// It stays away until the client goes on, then comes back.
async fn kill(herd: &mut Herd, victim: usize, probe: &Probe) -> Result<()> {
    herd.kill(victim)?;
    probe.more(MORE).await?;
    herd.start(victim).await
}

async fn restart(herd: &mut Herd, victim: usize) -> Result<()> {
    let status = herd.sheep_mut(victim).terminate().await?;
    ensure!(status.success(), "sheep {victim} stopped with {status}");
    herd.start(victim).await
}

async fn stop(herd: &mut Herd, victim: usize) -> Result<()> {
    herd.sheep_mut(victim).pause()?;
    tokio::time::sleep(LONG).await;
    herd.sheep_mut(victim).resume()
}

async fn cut(herd: &Herd, cuts: &[(usize, usize)]) -> Result<()> {
    let namespaces = herd.namespaces()?;
    cuts.iter().try_for_each(|(from, to)| namespaces.cut(*from, *to))?;
    tokio::time::sleep(LONG).await;
    cuts.iter().try_for_each(|(from, to)| namespaces.mend(*from, *to))
}
