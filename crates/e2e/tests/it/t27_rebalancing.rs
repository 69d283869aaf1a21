//! Sheep come, stay away and come back: copies move by themselves, clients go on, and in the end
//! each object has as many copies as it should, equal, and no more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::copies;
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::wait;
use sheepdog_e2e::workload::Random;
use sheepdog_proto::{Oid, Vid};

const OBJECT: u64 = 4 << 20;
const OBJECTS: u64 = 24;
const BLOCK: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(60);

/// What each block of a disk was filled with last.
struct Writer {
    disk: Arc<Disk>,
    random: Random,
    fills: BTreeMap<u64, u8>,
}

impl Writer {
    async fn new(herd: &Herd, name: &str) -> Result<Self> {
        let disk = Arc::new(Disk::open(herd.sheep(0), Face::Nbd, name).await?);
        for object in 0..OBJECTS {
            disk.write(object * OBJECT, &[7; 1 << 20]).await?;
        }
        Ok(Self { disk, random: Random(5), fills: BTreeMap::new() })
    }

    async fn write(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let block = self.random.below((OBJECTS * OBJECT / BLOCK) as usize) as u64;
            let fill = 1 + self.random.below(200) as u8;
            self.disk.write(block * BLOCK, &[fill; BLOCK as usize]).await?;
            self.fills.insert(block, fill);
        }
        Ok(())
    }

    /// Everything reads back; the disk is closed.
    async fn check(self) -> Result<()> {
        for (block, fill) in &self.fills {
            let read = self.disk.read(block * BLOCK, BLOCK as usize).await?;
            ensure!(read == [*fill; BLOCK as usize], "block {block} is not {fill}");
        }
        Arc::into_inner(self.disk).context("somebody still has the disk")?.close().await
    }
}

/// Whoever can do without copies has dropped them: each object is on `count` sheep.
async fn until_dropped(herd: &Herd, vid: u32, count: usize) -> Result<()> {
    let vid = Vid::new(vid).context("a vid")?;
    let is_dropped = async || {
        for object in 0..OBJECTS as u32 {
            let oid = format!("{:016x}", Oid::data(vid, object).get());
            let mut held = 0;
            for index in 0..herd.count() {
                held += usize::from(herd.admin(index).holds(&oid).await?);
            }
            if held != count {
                return Ok(None);
            }
        }
        Ok(Some(()))
    };
    wait::until("as many copies as there should be", LIMIT, is_dropped).await
}

/// Stops the cluster, so that nobody counts as away; each object is on `count` sheep, and equal
/// there. How many each has.
async fn count_copies(herd: &mut Herd, vid: u32, count: usize) -> Result<Vec<usize>> {
    let mut all: BTreeMap<u32, Vec<copies::Copy>> = BTreeMap::new();
    let mut each = Vec::new();
    herd.admin(0).shutdown().await?;
    for index in 0..herd.count() {
        herd.sheep_mut(index).wait_end().await?;
        let found = copies::all(&mut copies::open(herd.sheep(index))?, vid)?;
        each.push(found.len());
        found.into_iter().for_each(|(object, copy)| all.entry(object).or_default().push(copy));
    }
    ensure!(all.len() as u64 == OBJECTS, "{} objects", all.len());
    for (object, copies) in all {
        ensure!(copies.len() == count, "object {object} has {} copies", copies.len());
        ensure!(copies.iter().all(|copy| *copy == copies[0]), "copies of object {object} differ");
    }
    Ok(each)
}

#[tokio::test]
async fn a_new_sheep_gets_its_share_while_clients_write() -> Result<()> {
    let mut herd = Herd::of(3).object_shift(22).format().await?;
    let vid = herd.create("disk", OBJECTS * OBJECT).await?.vid.0.get();
    let mut writer = Writer::new(&herd, "disk").await?;
    let new = herd.add(&[]);
    let writing = tokio::spawn(async move {
        writer.write(1000).await?;
        Ok::<_, anyhow::Error>(writer)
    });
    herd.start(new).await?;
    herd.until_clean().await?;
    let writer = wait::within("the last writes", LIMIT, writing).await??;
    writer.check().await?;
    until_dropped(&herd, vid, 3).await?;
    let each = count_copies(&mut herd, vid, 3).await?;
    println!("objects of {OBJECTS} on each of four sheep: {each:?}");
    ensure!(each[new] > 0 && each.iter().all(|count| *count < OBJECTS as usize), "{each:?}");
    herd.end().await
}

#[tokio::test]
async fn a_sheep_that_stays_away_is_replaced_and_takes_its_place_again() -> Result<()> {
    let mut herd = Herd::of(4).object_shift(22).arguments(&["--out-after", "2"]).format().await?;
    let vid = herd.create("disk", OBJECTS * OBJECT).await?.vid.0.get();
    let mut writer = Writer::new(&herd, "disk").await?;
    herd.kill(3)?;
    writer.write(200).await?;
    let is_out = async || {
        let nodes = herd.admin(0).nodes().await?;
        Ok(nodes.iter().any(|node| node.node == 3 && node.out).then_some(()))
    };
    wait::until("the log says that it is out", LIMIT, is_out).await?;
    herd.until_clean().await?; // with three copies, on the three that are left
    // Another one may be lost now.
    herd.kill(2)?;
    writer.write(200).await?;
    herd.start(2).await?;
    herd.start(3).await?;
    herd.until_clean().await?;
    writer.write(100).await?;
    writer.check().await?;
    until_dropped(&herd, vid, 3).await?;
    let each = count_copies(&mut herd, vid, 3).await?;
    ensure!(each[3] > 0, "{each:?}");
    herd.end().await
}
