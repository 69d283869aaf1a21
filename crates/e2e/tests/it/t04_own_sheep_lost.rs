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
