//! Full disks: writes wait, everything else goes on, and writes go on when there is space.
//!
//! Way: sheep on small file systems of their own are filled through NBD until writes wait. Then
//!      everything that needs no space must work; what gives space back must let the waiting
//!      writes go on by themselves, whether a guest gives it back, a deletion, or somebody else
//!      who took it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::filler::{self, Chunk, Filler};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::ledger::{BLOCK_BYTES, Ledger, SharedLedger};
use sheepdog_e2e::mount::FileSystem;
use sheepdog_e2e::wait;

const FILE_SYSTEM: u64 = 256 << 20;
/// More than any of the file systems.
const SIZE: u64 = 512 << 20;
/// What is deleted to make space.
const BALLAST: [&str; 2] = ["ballast0", "ballast1"];
const BALLAST_BYTES: u64 = 16 << 20;
const LIMIT: Duration = Duration::from_secs(60);
/// Blocks of an object, and of what a store takes space for at once.
const OBJECT: usize = 256;
const UNIT: usize = 64;
/// Large writes that are put in place, and small ones that go through the log.
const CHUNKS: [usize; 4] = [OBJECT, UNIT, UNIT, 8];

/// A cluster with a full disk.
struct Full {
    herd: Herd,
    disk: Arc<Disk>,
    ledger: SharedLedger,
    filler: Filler,
}

impl Full {
    /// Fills it. The client writes through sheep 0.
    async fn fill(herd: Herd) -> Result<Self> {
        for name in BALLAST {
            herd.create(name, BALLAST_BYTES).await?;
            let ballast = Disk::open(herd.sheep(0), Face::Nbd, name).await?;
            for offset in (0..BALLAST_BYTES).step_by(1 << 20) {
                ballast.write(offset, &vec![3; 1 << 20]).await?;
            }
            ballast.close().await?;
        }
        let vid = herd.create("disk", SIZE).await?.vid.0.get();
        let ledger = SharedLedger::new(Ledger::new(u64::from(vid), SIZE));
        let disk = Arc::new(Disk::open(herd.sheep(0), Face::Nbd, "disk").await?);
        let filler = Filler::start(&disk, &ledger, &CHUNKS);
        filler.until_it_waits().await?;
        let full = Self { herd, disk, ledger, filler };
        ensure!(full.count("no_space").await? > 0, "writes wait, but not for space");
        Ok(full)
    }

    /// How often something has waited, for this reason.
    async fn count(&self, reason: &str) -> Result<u64> {
        let text = self.herd.admin(0).metrics().await?;
        let series = format!("sheep_waits_total{{reason=\"{reason}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series)).context(series)?;
        Ok(value.parse()?)
    }

    /// Chunks of so many blocks that were written.
    fn written(&self, blocks: usize) -> Vec<Chunk> {
        chunks_of(&self.filler, blocks)
    }

    async fn look(&self) -> Result<()> {
        filler::look(&self.disk, &self.ledger, &self.filler.written()).await
    }

    /// What needs no space works.
    async fn goes_on(&self) -> Result<()> {
        self.look().await.context("reads")?;
        for (at, count) in [(3, 1), (17, 20), (0, UNIT)] {
            // The newest: of others a part may have been discarded, and needs space.
            for Chunk { first, .. } in self.written(UNIT).into_iter().rev().take(12) {
                let write = filler::write(&self.disk, &self.ledger, first + at, count);
                let write = wait::within("an overwrite", LIMIT, write).await;
                write.with_context(|| format!("{count} blocks from {}", first + at))?;
            }
        }
        self.look().await.context("reads after overwrites")
    }

    /// A discard, a deletion: each lets writing go on, until the disk is full again.
    async fn space_comes_back(&self) -> Result<()> {
        for Chunk { first, .. } in self.written(OBJECT).into_iter().take(16) {
            filler::discard(&self.disk, &self.ledger, first, OBJECT).await?;
        }
        self.filler.until_it_goes_on("after a discard of objects").await?;
        self.filler.until_it_waits().await?;
        for Chunk { first, .. } in self.written(UNIT).into_iter().take(60) {
            filler::discard(&self.disk, &self.ledger, first, UNIT / 2).await?;
        }
        self.filler.until_it_goes_on("after a discard of parts").await?;
        self.filler.until_it_waits().await?;
        self.herd.admin(0).delete(BALLAST[0]).await?;
        self.filler.until_it_goes_on("after a deletion").await?;
        self.filler.until_it_waits().await
    }

    /// Lets the waiting writes end, and compares through every sheep and face.
    async fn end(self) -> Result<()> {
        let Self { herd, disk, ledger, filler } = self;
        let all = [Chunk { first: 0, count: SIZE as usize / BLOCK_BYTES }];
        for Chunk { first, .. } in chunks_of(&filler, OBJECT).into_iter().skip(16) {
            filler::discard(&disk, &ledger, first, OBJECT).await?;
        }
        filler.stop().await?;
        let disk = Arc::into_inner(disk).context("somebody still has the disk")?;
        disk.close().await?;
        for (number, face) in [Face::Legacy, Face::Nbd].into_iter().enumerate() {
            let sheep = herd.sheep((number + 1) % herd.count());
            let disk = Disk::open(sheep, face, "disk").await?;
            filler::look(&disk, &ledger, &all).await.with_context(|| format!("{face:?}"))?;
            disk.close().await?;
        }
        herd.end().await
    }
}

fn chunks_of(filler: &Filler, blocks: usize) -> Vec<Chunk> {
    filler.written().into_iter().filter(|chunk| chunk.count == blocks).collect()
}

#[tokio::test]
async fn one_of_three_sheep_is_full() -> Result<()> {
    let herd = Herd::of(3).file_system(2, FileSystem::Ext4, FILE_SYSTEM).format().await?;
    let full = Full::fill(herd).await?;
    full.goes_on().await?;
    full.space_comes_back().await?;
    full.goes_on().await?;
    full.end().await
}

#[tokio::test]
async fn all_sheep_are_full_and_killed() -> Result<()> {
    let mut plan = Herd::of(3);
    for sheep in 0..3 {
        plan = plan.file_system(sheep, FileSystem::Ext4, FILE_SYSTEM);
    }
    let mut full = Full::fill(plan.format().await?).await?;
    full.goes_on().await?;
    full.herd.cut_power()?;
    full.filler.abandon().await;
    full.herd.start_all().await.context("on full disks")?;
    full.disk = Arc::new(Disk::open(full.herd.sheep(0), Face::Nbd, "disk").await?);
    // A write that some sheep had space for and others not must be brought to all before its
    // object is read again; so something else has to go first.
    full.herd.admin(0).delete(BALLAST[1]).await?;
    let read = full.disk.read(0, SIZE as usize);
    let bytes = wait::within("a read of everything", LIMIT, read).await?;
    full.ledger.lock().settle(&bytes)?;
    full.filler = Filler::start(&full.disk, &full.ledger, &CHUNKS);
    full.filler.until_it_waits().await?;
    full.goes_on().await?;
    full.space_comes_back().await?;
    full.end().await
}

#[tokio::test]
async fn somebody_else_takes_the_space_and_gives_it_back() -> Result<()> {
    let herd = Herd::of(1).file_system(0, FileSystem::Ext4, FILE_SYSTEM).format().await?;
    let vid = herd.create("disk", SIZE).await?.vid.0.get();
    let ledger = SharedLedger::new(Ledger::new(u64::from(vid), SIZE));
    let disk = Arc::new(Disk::open(herd.sheep(0), Face::Nbd, "disk").await?);
    let filler = Filler::start(&disk, &ledger, &CHUNKS);
    wait::until("a few writes", LIMIT, async || Ok((filler.written().len() > 40).then_some(())))
        .await?;
    // All of it, in the middle of what is under way.
    herd.mount(0)?.take_space()?;
    filler.until_it_waits().await?;
    filler::look(&disk, &ledger, &filler.written()).await.context("reads")?;
    herd.mount(0)?.give_back()?;
    filler.until_it_goes_on("after somebody gave space back").await?;
    filler.until_it_waits().await?;
    herd.mount(0)?.take_space()?;
    herd.create("another", 1 << 20).await?;
    herd.mount(0)?.give_back()?;
    for Chunk { first, .. } in chunks_of(&filler, OBJECT) {
        filler::discard(&disk, &ledger, first, OBJECT).await?;
    }
    let written = filler.written();
    filler.stop().await?;
    filler::look(&disk, &ledger, &written).await?;
    drop(disk);
    herd.end().await
}
