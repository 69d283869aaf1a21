//! Recorded sheep: the power cut after any sync leaves everything that was acknowledged, and
//! without one of the syncs it does not.
//!
//! Way: three sheep record what they do to their disks while two clients write through two of
//!      them; they are killed with writes in flight. Then, for each sheep and for many of its
//!      syncs, a disk is built on which nothing is but what the syncs so far made durable, and
//!      a store is opened on it. Every write that was acknowledged before the next sync ended
//!      must be there: on every sheep, for each holds a copy of everything. Checkpoints are
//!      looked at with a sheep that does nothing else: under load the sync of another write
//!      makes up for theirs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sheepdog_e2e::cuts::{Recorded, Written};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::ledger::{BLOCK_BYTES, Ledger, SharedLedger};
use sheepdog_e2e::setting;
use sheepdog_e2e::writers::{Mix, Writers};
use sheepdog_store::disk::recorder::{self, SyncKind};

const SHIFT: u8 = 20;
const SIZE: u64 = 8 << 20;
/// Changes through each face.
const CHANGES: u64 = 300;
const STALL: Duration = Duration::from_secs(60);
/// How many syncs of a kind are taken out, one after the other, until one is missed.
const TRIES: usize = 40;

async fn recorded_herd(sheep: usize) -> Result<Herd> {
    Herd::of(sheep).arguments(&["--shards", "1"]).record().format().await
}

/// Makes a disk, and opens it through one sheep.
async fn open(herd: &Herd, sheep: usize, face: Face) -> Result<(Arc<Disk>, Written)> {
    let name = format!("disk{sheep}");
    let vid = herd.create(&name, SIZE).await?.vid.0.get();
    let disk = Disk::open(herd.sheep(sheep), face, &name).await?;
    let ledger = SharedLedger::new(Ledger::new(u64::from(vid), SIZE).keeping_all());
    Ok((Arc::new(disk), Written { vid, shift: SHIFT, ledger }))
}

/// Runs three sheep under load and kills them: what each recorded, and what was written.
async fn record_load() -> Result<(Vec<Recorded>, Vec<Written>)> {
    let mut herd = recorded_herd(3).await?;
    let mut writers = Vec::new();
    let mut written = Vec::new();
    for (number, face) in [Face::Nbd, Face::Legacy].into_iter().enumerate() {
        let (disk, new) = open(&herd, number, face).await?;
        let mix = Mix { writers: 4, zeros: 10, seed: 18 + number as u64 };
        writers.push((Writers::start(&disk, &new.ledger, mix), disk));
        written.push(new);
    }
    for (writers, _) in &mut writers {
        writers.more(CHANGES, STALL).await?;
    }
    let end = recorder::now();
    herd.cut_power()?;
    for (writers, _) in writers {
        writers.abandon().await;
    }
    let load = |index: usize| Recorded::load(herd.sheep(index), end);
    let recorded = (0..3).map(load).collect::<Result<Vec<_>>>()?;
    herd.end().await?;
    Ok((recorded, written))
}

/// Runs one sheep that only gets small writes, and ends with a checkpoint.
async fn record_checkpoint() -> Result<(Recorded, Vec<Written>)> {
    let herd = recorded_herd(1).await?;
    let (disk, written) = open(&herd, 0, Face::Nbd).await?;
    for block in (0..SIZE as usize / BLOCK_BYTES).step_by(97) {
        let (sequence, bytes) = written.ledger.lock().begin(block, 1, false);
        disk.write((block * BLOCK_BYTES) as u64, &bytes).await?;
        written.ledger.lock().end(sequence, block, 1);
    }
    let disk = Arc::into_inner(disk).context("somebody still has the disk")?;
    disk.close().await?;
    let end = recorder::now();
    let mut herd = herd;
    let status = herd.sheep_mut(0).terminate().await?;
    ensure!(status.success(), "{status}");
    let recorded = Recorded::load(herd.sheep(0), end)?;
    herd.end().await?;
    Ok((recorded, vec![written]))
}

#[tokio::test]
async fn a_power_cut_after_any_sync_keeps_everything_acknowledged() -> Result<()> {
    let (recorded, written) = record_load().await?;
    let cuts = setting::number("SHEEPDOG_CUTS", 12)? as usize;
    for (index, sheep) in recorded.iter().enumerate() {
        let count = sheep.sync_count();
        let appends = sheep.syncs_of(SyncKind::Append).len();
        ensure!(appends > 100, "sheep {index}: {appends} appends of {count} syncs");
        let cuts = if cuts == 0 { count } else { cuts };
        let fault = sheep.fault(&written, None, Recorded::sample(0..count, cuts))?;
        ensure!(fault.is_none(), "sheep {index}: {fault:?}");
    }
    let sheep = &recorded[0];
    let appends = sheep.syncs_of(SyncKind::Append);
    let acknowledged = |sync: usize| {
        let (after, before) = (sheep.time_of(sync), sheep.time_of(sync + 1));
        written.iter().any(|w| w.ledger.lock().was_acknowledged_between(after, before))
    };
    // Whoever was told before the next sync ended, was told because of this one or one before.
    let told = |sync: usize| if acknowledged(sync) { vec![sync] } else { Vec::new() };
    missed(sheep, &written, SyncKind::Append, told)?;
    // A record that names what was put in place comes with one of the next appends.
    missed(sheep, &written, SyncKind::Placed, |sync| following(&appends, sync, 3))
}

#[tokio::test]
async fn a_checkpoint_needs_each_of_its_syncs() -> Result<()> {
    let (sheep, written) = record_checkpoint().await?;
    ensure!(sheep.fault(&written, None, 0..sheep.sync_count())?.is_none());
    let roots = sheep.syncs_of(SyncKind::Root);
    for kind in [SyncKind::CheckpointData, SyncKind::CheckpointMeta, SyncKind::CheckpointIndex] {
        // It counts from its root on.
        missed(&sheep, &written, kind, |sync| following(&roots, sync, 1))?;
    }
    Ok(())
}

/// The next ones behind a sync.
fn following(syncs: &[usize], sync: usize, count: usize) -> Vec<usize> {
    syncs.iter().filter(|other| **other > sync).take(count).copied().collect()
}

/// The counter-proof: syncs of this kind are needed. One after the other is taken out, until the
/// check fails at one of the power cuts that `cuts` names.
///
/// # Errors
/// If it never fails.
fn missed(
    sheep: &Recorded,
    written: &[Written],
    kind: SyncKind,
    cuts: impl Fn(usize) -> Vec<usize>,
) -> Result<()> {
    let all = sheep.syncs_of(kind);
    let candidates: Vec<usize> =
        all.iter().copied().filter(|sync| !cuts(*sync).is_empty()).take(TRIES).collect();
    for (tried, sync) in candidates.iter().enumerate() {
        if let Some(fault) = sheep.fault(written, Some(*sync), cuts(*sync))? {
            println!("without {kind:?}, number {tried} of {}: {fault}", all.len());
            return Ok(());
        }
    }
    bail!("{} of {} syncs ({kind:?}) were not missed", candidates.len(), all.len())
}
