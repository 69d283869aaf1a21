//! Start: from checked options to a sheep that serves.
//!
//! Way: directory -> sockets -> log -> stores -> join -> shards -> faces -> "sheep is ready".
//!      Whatever can be refused is refused before the others hear of this sheep.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sheepdog_attach::door::Face;
use sheepdog_cluster::local;
use sheepdog_engine::gateway::Me;
use sheepdog_engine::state::{ClusterState, Outcome};
use sheepdog_proto::LogIndex;
use sheepdog_proto::command::{Addresses, Command};
use sheepdog_store::{Disk, Home, Options as StoreOptions, Recorder, Store};
use tokio::sync::mpsc;

use crate::accept::{self, Listeners};
use crate::admin;
use crate::config::Config;
use crate::control::Control;
use crate::metrics::ShardMetrics;
use crate::shared::Shared;
use crate::{shard, stop};

/// Most shards chosen without being told.
const SHARDS_DEFAULT_MAX: u16 = 4;
/// Virtual nodes: one for each this many bytes of disk, within these bounds.
const WEIGHT_BYTES: u64 = 4 << 30;
const WEIGHT_MIN: u32 = 64;
const WEIGHT_MAX: u32 = 8192;

/// Bounds of the space that new data leave free.
const RESERVE_MIN: u64 = 64 << 20;
const RESERVE_MAX: u64 = 8 << 30;

/// Memory of all stores of a sheep: changes that are not in place yet, and metadata.
const DIRTY_BYTES: u64 = 40 << 20;
const METADATA_BYTES: usize = 24 << 20;
/// One unit is kept warm for each so many bytes of the reserve: an eighth of it.
const WARM_PART: u64 = 8 * (256 << 10);

/// Runs a sheep until it is told to stop.
pub(crate) fn run(config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_async(config))
}

async fn run_async(config: Config) -> Result<()> {
    let mut home = Home::open(&config.directory)?;
    let uuid = home.node_uuid();
    let listeners = Listeners::bind(&config).await?;
    let (log, events) = local::open(&config.log_directory, uuid, LogIndex(0))
        .await
        .with_context(|| format!("coordination log {}", config.log_directory.display()))?;
    let stores = open_stores(&config, &mut home)?;
    let mut control = Control::new(Box::new(log), events, home);
    control.catch_up().await?;
    control.check_cluster()?;
    let me = join(&config, &mut control, &listeners, stores.len() as u16).await?;
    let (proposals, mut proposed) = mpsc::unbounded_channel();
    let (shared, mailboxes) = share(me, uuid, stores.len(), proposals);
    spawn_shards(&shared, control.state(), stores, mailboxes)?;
    let ready = ready_line(&listeners, &config)?;
    let mut watch = control.watch();
    serve(&shared, &control, listeners, &config);
    println!("{ready}");
    let why = tokio::select! {
        result = control.run(&shared, &mut proposed) => match result {
            Ok(()) => "the log has ended",
            Err(error) => stop::die(&format!("{error:#}")),
        },
        signal = stop::asked() => signal?,
        () = watch.stopping() => "cluster shutdown",
    };
    tracing::info!(why, "stopping");
    {
        let drained = stop::drain(&shared);
        tokio::select! {
            result = control.run(&shared, &mut proposed) => result?,
            () = drained => {}
        }
    }
    control.leave(&shared).await;
    tracing::info!("stopped");
    Ok(())
}

/// One store per shard. How many was decided at the first start, for each keeps its own groups.
fn open_stores(config: &Config, home: &mut Home) -> Result<Vec<Store>> {
    let existing = (0..).take_while(|index| home.store_path(*index).exists()).count() as u16;
    let shards = match (existing, config.shards) {
        (0, Some(wanted)) => wanted,
        (0, None) => default_shards(),
        (there, Some(wanted)) if there != wanted => bail!(
            "this sheep was first started with {there} shards, which cannot change; leave out \
             --shards or give --shards {there}"
        ),
        (there, _) => there,
    };
    let reserve_bytes = reserve_bytes(disk_bytes(&config.directory)?.0);
    let mut stores = Vec::new();
    for index in 0..shards {
        let disk = home.store_disk(index, config.engine)?;
        let engine = disk.engine();
        let disk = record(Box::new(disk), config, index)?;
        let options = StoreOptions {
            salt: home.new_salt()?,
            node: home.node_uuid(),
            shard: index,
            reserve_bytes,
            dirty_bytes_max: DIRTY_BYTES / u64::from(shards),
            metadata_bytes_max: METADATA_BYTES / usize::from(shards),
            warm_units_max: (reserve_bytes / WARM_PART / u64::from(shards)) as usize,
            ..StoreOptions::default()
        };
        let (store, report) = Store::open(disk, options)
            .with_context(|| format!("store {index} of {}", config.directory.display()))?;
        tracing::info!(index, ?engine, ?report, "store opened");
        stores.push(store);
    }
    Ok(stores)
}

/// The disk itself, or one that is recorded.
fn record(disk: Box<dyn Disk>, config: &Config, index: u16) -> Result<Box<dyn Disk>> {
    let Some(directory) = &config.record else { return Ok(disk) };
    let file = directory.join(format!("store-{index}"));
    let recorder = Recorder::new(disk, &file).with_context(|| file.display().to_string())?;
    tracing::warn!(file = %file.display(), "everything done to the disk is recorded");
    Ok(Box::new(recorder))
}

/// A twentieth of the file system, within bounds: for the log, for metadata, and for what is on
/// its way into place.
fn reserve_bytes(size: u64) -> u64 {
    (size / 20).clamp(RESERVE_MIN, RESERVE_MAX)
}

fn default_shards() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).unwrap_or(SHARDS_DEFAULT_MAX).min(SHARDS_DEFAULT_MAX)
}

async fn join(
    config: &Config,
    control: &mut Control,
    listeners: &Listeners,
    shards: u16,
) -> Result<Me> {
    // Until the life has its number, the will ends whichever life of this sheep is current.
    let uuid = control.home().node_uuid();
    let will = Command::Ended { uuid };
    control.log().set_will(will.encode()).await?;
    let command = Command::Join {
        uuid,
        zone: config.zone.unwrap_or((uuid & 0xffff_ffff) as u32),
        weight: weight(config)?,
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

fn weight(config: &Config) -> Result<u32> {
    if config.gateway {
        return Ok(0);
    }
    if let Some(weight) = config.weight {
        return Ok(weight);
    }
    let bytes = disk_bytes(&config.directory)?.0;
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
    shards: usize,
    proposals: mpsc::UnboundedSender<crate::shared::Proposal>,
) -> (Arc<Shared>, Mailboxes) {
    let (senders, mailboxes): (Vec<_>, Vec<_>) =
        (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
    let metrics = (0..shards).map(|_| Arc::new(ShardMetrics::default())).collect();
    let openers = sheepdog_attach::opener::Openers::default();
    (Arc::new(Shared { me, uuid, openers, shards: senders, metrics, proposals }), mailboxes)
}

fn spawn_shards(
    shared: &Arc<Shared>,
    state: &ClusterState,
    stores: Vec<Store>,
    mailboxes: Mailboxes,
) -> Result<()> {
    let state = Arc::new(state.clone());
    for ((index, store), mail) in (0..).zip(stores).zip(mailboxes) {
        let (shared, state) = (shared.clone(), state.clone());
        std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            if let Err(error) = shard::run(shared, index, state, store, mail) {
                stop::die(&format!("shard {index}: {error}"));
            }
        })?;
    }
    Ok(())
}

fn serve(shared: &Arc<Shared>, control: &Control, listeners: Listeners, config: &Config) {
    for (face, (tcp, unix)) in [(Face::Legacy, listeners.legacy), (Face::Nbd, listeners.nbd)] {
        tokio::spawn(accept::serve_tcp(shared.clone(), face, tcp));
        tokio::spawn(accept::serve_unix(shared.clone(), face, unix));
    }
    tokio::spawn(accept::serve_peers(shared.clone(), control.watch(), listeners.peer));
    let admin = admin::Admin::new(shared.clone(), control.watch(), config.directory.clone());
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
