//! Links between sheep are cut, both ways and one way, under a load that knows every byte.
//!
//! Way: each sheep has a network of its own; clients and the coordination log use unix sockets.
//!      What must hold is that nothing acknowledged is lost, nothing old is read, and that after
//!      the link is mended everything goes on and all copies become the same. Whether writes
//!      wait for a sheep that lives but cannot be reached, or go on without it, is not for these
//!      tests to say; `cargo xtask faults` reports how long clients pause.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sheepdog_e2e::disk::{Disk, Face};
use sheepdog_e2e::herd::Herd;
use sheepdog_e2e::namespaces::Namespaces;
use sheepdog_e2e::workload::{Mix, SharedHistory, Traffic};

const SIZE: usize = 8 << 20;
const STALL: Duration = Duration::from_secs(120);
const MIX: Mix = Mix { writers: 6, zeros: 10, bytes_max: 64 << 10, seed: 23 };
/// How long a link is cut: TCP sends again several times, with ever longer pauses.
const CUT: Duration = Duration::from_secs(4);
const LOG_SERVER: usize = 0;
const OWN: usize = 1;
const REPLICA: usize = 2;

/// Pairs `(from, to)` of which the second does not hear the first.
type Cuts = &'static [(usize, usize)];

fn cut(namespaces: &Namespaces, cuts: Cuts) -> Result<()> {
    cuts.iter().try_for_each(|(from, to)| namespaces.cut(*from, *to))
}

fn mend(namespaces: &Namespaces, cuts: Cuts) -> Result<()> {
    let before = cuts.iter().map(|(_, to)| namespaces.dropped(*to)).sum::<Result<u64>>()?;
    ensure!(before > 0, "nothing was said on the links that were cut");
    cuts.iter().try_for_each(|(from, to)| namespaces.mend(*from, *to))
}

/// Lets a client write through sheep 1, cuts, mends, cuts again, kills a sheep that is cut off,
/// mends, starts it, and compares.
async fn under_load(
    victim: usize,
    begin: impl Fn(&Namespaces) -> Result<()>,
    end: impl Fn(&Namespaces) -> Result<()>,
) -> Result<()> {
    let mut herd = Herd::of(3).apart().format().await?;
    let vid = herd.create("disk", SIZE as u64).await?.vid.0.get();
    let history = SharedHistory::new(SIZE, 512, 23);
    let disk = Arc::new(Disk::open(herd.sheep(OWN), Face::LegacyUnix, "disk").await?);
    let mut traffic = Traffic::start(&disk, &history, MIX);
    for is_killed in [false, true] {
        traffic.more(100, STALL).await?;
        begin(herd.namespaces()?)?;
        let before = traffic.acknowledged();
        tokio::time::sleep(CUT).await;
        println!("{} changes while it was cut", traffic.acknowledged() - before);
        if is_killed {
            herd.kill(victim)?;
        }
        end(herd.namespaces()?)?;
        if is_killed {
            herd.start(victim).await?;
        }
        traffic.more(100, STALL).await.with_context(|| format!("killed: {is_killed}"))?;
    }
    traffic.stop().await?;
    history.check(&disk).await?;
    Arc::into_inner(disk).context("somebody still has the disk")?.close().await?;
    herd.until_clean().await?;
    history.check_everywhere(&herd, "disk").await?;
    herd.end_with_equal_copies(&[vid]).await
}

async fn cut_under_load(victim: usize, cuts: Cuts) -> Result<()> {
    under_load(victim, |namespaces| cut(namespaces, cuts), |namespaces| mend(namespaces, cuts))
        .await
}

#[tokio::test]
async fn a_replica_and_the_gateway_do_not_hear_each_other() -> Result<()> {
    cut_under_load(REPLICA, &[(OWN, REPLICA), (REPLICA, OWN)]).await
}

#[tokio::test]
async fn a_replica_does_not_hear_the_gateway() -> Result<()> {
    cut_under_load(REPLICA, &[(OWN, REPLICA)]).await
}

#[tokio::test]
async fn the_gateway_does_not_hear_a_replica() -> Result<()> {
    cut_under_load(REPLICA, &[(REPLICA, OWN)]).await
}

#[tokio::test]
async fn the_gateway_does_not_hear_the_sheep_that_serves_the_log() -> Result<()> {
    cut_under_load(OWN, &[(LOG_SERVER, OWN)]).await
}

#[tokio::test]
async fn a_replica_has_no_carrier() -> Result<()> {
    under_load(
        REPLICA,
        |spaces| spaces.set_link(REPLICA, false),
        |spaces| spaces.set_link(REPLICA, true),
    )
    .await
}

#[tokio::test]
async fn the_gateway_has_no_carrier() -> Result<()> {
    under_load(OWN, |spaces| spaces.set_link(OWN, false), |spaces| spaces.set_link(OWN, true)).await
}
