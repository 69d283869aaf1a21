//! Start: from checked options to a sheep that serves.
//!
//! Way: directory -> sockets -> log -> stores -> others reached -> join
//!      -> shards -> faces -> "sheep is ready".
//!      Whatever can be refused is refused before the others hear of this sheep.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sheepdog_attach::door::Face;
use sheepdog_cluster::{Lease, local};
use sheepdog_engine::gateway::Me;
use sheepdog_engine::state::Outcome;
use sheepdog_proto::LogIndex;
use sheepdog_proto::command::{Addresses, Command};
use sheepdog_store::Home;
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

use crate::accept::{self, Listeners};
use crate::admin;
use crate::config::Config;
use crate::control::Control;
use crate::disks::open::{Opened, ShardStores};
use crate::disks::{self, Disks};
use crate::metrics::ShardMetrics;
use crate::shared::{Inbox, Shared};
use crate::{reach, shard, stop};

/// Virtual nodes: one for each this many bytes of disk, within these bounds.
const WEIGHT_BYTES: u64 = 4 << 30;
const WEIGHT_MIN: u32 = 64;
const WEIGHT_MAX: u32 = 8192;

/// Runs a sheep until it is told to stop.
pub(crate) fn run(config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_async(config))
}

async fn run_async(config: Config) -> Result<()> {
    let home = Home::open(&config.directory)?;
    let uuid = home.node_uuid();
    let listeners = Listeners::bind(&config).await?;
    let (log, events) = local::open(&config.log_directory, uuid, LogIndex(0))
        .await
        .with_context(|| format!("coordination log {}", config.log_directory.display()))?;
    let Opened { disks, stores } = disks::open::open(&config, home)?;
    let mut control = Control::new(Box::new(log), events, disks, config.out_after);
    control.catch_up().await?;
    control.check_cluster()?;
    reach::wait_for_all(&mut control, uuid).await?;
    let me = join(&config, &mut control, &listeners, stores.len() as u16).await?;
    control.leave_lost_groups(me).await?;
    let lease = control.log().lease();
    let (shared, mailboxes, mut inbox) = share(me, uuid, &config, lease, stores.len());
    spawn_shards(&shared, &control, stores, mailboxes)?;
    let ready = ready_line(&listeners, &config)?;
    let mut watch = control.watch();
    serve(&shared, &control, listeners, &config);
    println!("{ready}");
    let asked = stop::asked();
    tokio::pin!(asked);
    let why = tokio::select! {
        result = control.run(&shared, &mut inbox) => match result {
            Ok(()) => "the log has ended",
            Err(error) if stop::is_held_for_gone(&error) => {
                // Who is asked to end does not begin another life; a process that stood still
                // learns of both in the same moment.
                let is_asked = timeout(stop::PAUSE, &mut asked).await.is_ok();
                return if is_asked { Ok(()) } else { Err(error) };
            }
            Err(error) => stop::die(&format!("{error:#}")),
        },
        signal = &mut asked => signal?,
        () = watch.stopping() => "cluster shutdown",
    };
    tracing::info!(why, "stopping");
    {
        let drained = stop::drain(&shared);
        tokio::select! {
            result = control.run(&shared, &mut inbox) => match result {
                Err(error) if stop::is_held_for_gone(&error) => {
                    tracing::warn!(%error, "stopped");
                    return Ok(());
                }
                other => other?,
            },
            () = drained => {}
        }
    }
    control.leave(&shared).await;
    tracing::info!("stopped");
    Ok(())
}

async fn join(
    config: &Config,
    control: &mut Control,
    listeners: &Listeners,
    shards: u16,
) -> Result<Me> {
    // Until the life has its number, the will ends whichever life of this sheep is current.
    let uuid = control.disks().home().node_uuid();
    let will = Command::Ended { uuid };
    control.log().set_will(will.encode()).await?;
    let command = Command::Join {
        uuid,
        zone: config.zone.unwrap_or((uuid & 0xffff_ffff) as u32),
        weight: weight(config, control.disks())?,
        shards,
        addresses: addresses(listeners)?,
    };
    let Outcome::Joined(node, incarnation) = control.append_now(&command).await? else {
        bail!("the cluster did not take this sheep");
    };
    let will = Command::Gone { node, incarnation };
    control.log().set_will(will.encode()).await?;
    tracing::info!(node = node.0, incarnation = incarnation.0, "joined");
    Ok(Me { node, incarnation })
}

fn addresses(listeners: &Listeners) -> Result<Addresses> {
    Ok(Addresses {
        peer: listeners.peer.local_addr()?.to_string(),
        legacy: listeners.legacy.0.local_addr()?.to_string(),
        nbd: listeners.nbd.0.local_addr()?.to_string(),
        admin: listeners.admin.0.local_addr()?.to_string(),
    })
}

fn weight(config: &Config, disks: &Disks) -> Result<u32> {
    if config.gateway {
        return Ok(0);
    }
    if let Some(weight) = config.weight {
        return Ok(weight);
    }
    let bytes: u64 = disks.table().disks.values().map(|disk| disk.weight).sum();
    let units = u32::try_from(bytes / WEIGHT_BYTES).unwrap_or(WEIGHT_MAX);
    Ok(units.clamp(WEIGHT_MIN, WEIGHT_MAX))
}

/// Size of the file system below a directory, and what is free of it, in bytes.
pub(crate) fn disk_bytes(directory: &Path) -> Result<(u64, u64)> {
    let found = rustix::fs::statvfs(directory)
        .with_context(|| format!("file system of {}", directory.display()))?;
    Ok((found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize))
}

type Mailboxes = Vec<mpsc::UnboundedReceiver<shard::mail::Mail>>;

fn share(
    me: Me,
    uuid: u128,
    config: &Config,
    lease: Lease,
    shards: usize,
) -> (Arc<Shared>, Mailboxes, Inbox) {
    let (senders, mailboxes): (Vec<_>, Vec<_>) =
        (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
    let metrics = (0..shards).map(|_| Arc::new(ShardMetrics::default())).collect();
    let openers = sheepdog_attach::opener::Openers::default();
    let (proposals, proposed) = mpsc::unbounded_channel();
    let (disks, told) = mpsc::unbounded_channel();
    let (silences, heard) = mpsc::unbounded_channel();
    let shards = senders;
    let shared = Shared {
        me,
        uuid,
        scrub_rate: config.scrub_rate,
        scrub_rest: Duration::from_secs(config.scrub_rest),
        lease,
        silences,
        openers,
        forecast: Default::default(),
        a_disk_rests: Default::default(),
        shards,
        metrics,
        proposals,
        disks,
    };
    (Arc::new(shared), mailboxes, Inbox { silences: heard, proposals: proposed, disks: told })
}

fn spawn_shards(
    shared: &Arc<Shared>,
    control: &Control,
    stores: Vec<ShardStores>,
    mailboxes: Mailboxes,
) -> Result<()> {
    let state = Arc::new(control.state().clone());
    let buckets = control.disks().table().buckets;
    for ((index, stores), mail) in (0..).zip(stores).zip(mailboxes) {
        let (shared, state) = (shared.clone(), state.clone());
        std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            if let Err(error) = shard::run(shared, index, state, (stores, buckets), mail) {
                stop::die(&format!("shard {index}: {error}"));
            }
        })?;
    }
    control.disks().watch_all(shared);
    Ok(())
}

fn serve(shared: &Arc<Shared>, control: &Control, listeners: Listeners, config: &Config) {
    for (face, (tcp, unix)) in [(Face::Legacy, listeners.legacy), (Face::Nbd, listeners.nbd)] {
        tokio::spawn(accept::serve_tcp(shared.clone(), face, tcp));
        tokio::spawn(accept::serve_unix(shared.clone(), face, unix));
    }
    tokio::spawn(accept::serve_peers(shared.clone(), control.watch(), listeners.peer));
    let admin = admin::Admin::new(shared.clone(), control, config.directory.clone());
    admin.spawn(listeners.admin);
}

fn ready_line(listeners: &Listeners, config: &Config) -> Result<String> {
    let a = addresses(listeners)?;
    Ok(format!(
        "sheep is ready: legacy {} nbd {} admin {} peer {} directory {}",
        a.legacy,
        a.nbd,
        a.admin,
        a.peer,
        config.directory.display()
    ))
}
