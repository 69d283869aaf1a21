//! The client's own sheep dies and stays away: the others agree on what the disk holds.
//!
//! Way: in each round a new VDI is written by several writers, in overlapping and unaligned
//!      pieces, until its sheep is killed; then the whole disk is read through each of the others,
//!      and at last through the killed one, which comes back. It is the same sheep in several
//!      rounds; the others' turn comes in a new herd.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::setting;
use sheepdog_e2e::workload::{Mix, Random, SharedHistory, Traffic};

const SIZE: usize = 4 << 20;
const CELL_BYTES: usize = 256;
/// Longest pause between two acknowledged writes.
const STALL: Duration = Duration::from_secs(30);

/// How long the client's own sheep is the only one that works.
const ALONE: Duration = Duration::from_millis(500);

struct Round {
    number: u64,
    face: Face,
    victim: usize,
}

/// What all rounds have seen.
#[derive(Debug, Default)]
struct Sum {
    writes: u64,
    acknowledged_cells: usize,
    in_doubt_cells: usize,
}

async fn run(herd: &mut Herd, round: &Round, sum: &mut Sum) -> Result<()> {
    let name = format!("round{}", round.number);
    herd.create(&name, SIZE as u64).await?;
    let history = SharedHistory::new(SIZE, CELL_BYTES, round.number as u32);
    let mut random = Random(round.number);
    let disk = Arc::new(Disk::open(herd.sheep(round.victim), round.face, &name).await?);
    let mix = Mix { writers: 6, zeros: 10, bytes_max: 96 << 10, seed: round.number };
    let mut traffic = Traffic::start(&disk, &history, mix);
    traffic.more(20 + random.below(100) as u64, STALL).await?;
    herd.kill(round.victim)?;
    sum.writes += traffic.abandon().await;
    drop(disk);
    let mut images = Vec::new();
    let survivors = (0..herd.count()).filter(|index| *index != round.victim);
    for index in survivors.chain([round.victim]) {
        if index == round.victim {
            herd.start(index).await?;
        }
        let sheep = herd.sheep(index);
        let disk = Disk::open(sheep, Face::Nbd, &name).await?;
        let checked = history.check(&disk).await;
        let (checked, image) = checked.with_context(|| format!("{name} through sheep {index}"))?;
        disk.close().await?;
        sum.acknowledged_cells += checked.acknowledged;
        sum.in_doubt_cells += checked.in_doubt;
        images.push(image);
    }
    let same = images.windows(2).all(|pair| pair[0] == pair[1]);
    ensure!(same, "{name}: two sheep tell different things");
    Ok(())
}

async fn rounds(face: Face) -> Result<()> {
    let count = setting::number("SHEEPDOG_ROUNDS", 100)?;
    let mut sum = Sum::default();
    for victim in 0..3 {
        let mut herd = Herd::of(3).format().await?;
        for number in (0..count).filter(|number| number % 3 == victim) {
            let round = Round { number, face, victim: victim as usize };
            let result = run(&mut herd, &round, &mut sum).await;
            result.with_context(|| format!("round {number}, sheep {victim} was killed"))?;
        }
        herd.end().await?;
    }
    println!("{count} rounds: {sum:?}");
    ensure!(sum.acknowledged_cells > 0, "nothing was compared: {sum:?}");
    Ok(())
}

#[tokio::test]
async fn nbd_client_loses_its_sheep_and_no_acknowledged_block() -> Result<()> {
    rounds(Face::Nbd).await
}

#[tokio::test]
async fn legacy_client_loses_its_sheep_and_no_acknowledged_block() -> Result<()> {
    rounds(Face::Legacy).await
}

/// Both other sheep do nothing for a while, then the client's own sheep dies: what was not on
/// their disks must not have been acknowledged.
#[tokio::test]
async fn nothing_is_acknowledged_that_only_the_dead_sheep_has() -> Result<()> {
    for (number, face) in [Face::NbdUnix, Face::Legacy, Face::Nbd].into_iter().enumerate() {
        let mut herd = Herd::of(3).format().await?;
        herd.create("disk", SIZE as u64).await?;
        let history = SharedHistory::new(SIZE, CELL_BYTES, number as u32);
        let disk = Arc::new(Disk::open(herd.sheep(0), face, "disk").await?);
        let mix = Mix { writers: 6, zeros: 5, bytes_max: 256 << 10, seed: number as u64 };
        let mut traffic = Traffic::start(&disk, &history, mix);
        traffic.more(50, STALL).await?;
        for index in [1, 2] {
            herd.sheep_mut(index).pause()?;
        }
        // Long enough for a sheep that acknowledges too early to fill every buffer on the way.
        tokio::time::sleep(ALONE).await;
        herd.kill(0)?;
        traffic.abandon().await;
        drop(disk);
        for index in [1, 2] {
            herd.sheep_mut(index).resume()?;
        }
        let mut images = Vec::new();
        for index in [1, 2] {
            let disk = Disk::open(herd.sheep(index), Face::Nbd, "disk").await?;
            let checked = history.check(&disk).await;
            images.push(checked.with_context(|| format!("{face:?}, through sheep {index}"))?.1);
            disk.close().await?;
        }
        ensure!(images[0] == images[1], "two sheep tell different things");
        herd.end().await?;
    }
    Ok(())
}
