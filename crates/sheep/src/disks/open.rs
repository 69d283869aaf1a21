//! Opening the disks at the start of a sheep.
//!
//! Way: the table says which disks there are; the command line says where they are now, and at the
//!      first start which ones there shall be. A disk that cannot be used is left out, as if it
//!      had failed in this life.
//! Holds:
//!   DO1 an empty directory, or one without its stores, is never taken for a disk that has data;
//!   DO2 nothing new is taken in without `dog node md plug`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use sheepdog_store::{DISKS_MAX, DiskDirectory, DiskState, DiskTable, Home, Store};

use super::store::{Owner, StoreSettings, entry, open_stores};
use super::{Disk, Disks};
use crate::config::Config;

/// Most shards chosen without being told.
const SHARDS_DEFAULT_MAX: u16 = 4;

/// The stores of one shard, by the slot of their disk.
pub(crate) type ShardStores = BTreeMap<u8, Store>;

/// What was found.
pub(crate) struct Opened {
    pub(crate) disks: Disks,
    /// One for each shard.
    pub(crate) stores: Vec<ShardStores>,
}

/// Opens whatever can be opened.
///
/// # Errors
/// If nothing can be, or the options do not fit what is there.
pub(crate) fn open(config: &Config, home: Home) -> Result<Opened> {
    match home.table().cloned() {
        Some(table) => open_known(config, home, table),
        None if config.disks.is_empty() => open_home(config, home),
        None => open_first(config, home),
    }
}

/// How many shards there are was decided at the first start, for each keeps its own groups.
fn shards(config: &Config, existing: u16) -> Result<u16> {
    match (existing, config.shards) {
        (0, Some(wanted)) => Ok(wanted),
        (0, None) => Ok(default_shards()),
        (there, Some(wanted)) if there != wanted => bail!(
            "this sheep was first started with {there} shards, which cannot change; leave out \
             --shards or give --shards {there}"
        ),
        (there, _) => Ok(there),
    }
}

fn default_shards() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).unwrap_or(SHARDS_DEFAULT_MAX).min(SHARDS_DEFAULT_MAX)
}

fn home_stores(home: &Home) -> u16 {
    (0..).take_while(|index| home.store_path(*index).exists()).count() as u16
}

/// The sheep's own directory is its only disk.
fn open_home(config: &Config, home: Home) -> Result<Opened> {
    let existing = home_stores(&home);
    let path = config.directory.display();
    let is_old = home.cluster_id().is_some();
    ensure!(
        existing > 0 || !is_old,
        "{path} belongs to a sheep of a cluster, but its stores are gone; restore them, or give \
         the sheep an empty directory: it is a new one then"
    ); // DO1
    let shards = shards(config, existing)?;
    let mut directory = DiskDirectory::of_home(&home)?;
    let entry = entry(&directory)?;
    let settings = StoreSettings::new(config, shards);
    let owner = Owner::new(&home, shards)?;
    let stores = open_stores(&settings, &owner, (0, &mut directory), 1, is_old)
        .with_context(|| config.directory.display().to_string())?;
    let table = home.new_table(shards, vec![entry]);
    let disk = Disk { directory: Some(directory), failure: None, watched: Arc::default() };
    let disks = Disks::new(settings, home, table, BTreeMap::from([(0, disk)]));
    let stores = stores.into_iter().map(|store| BTreeMap::from([(0, store)])).collect();
    Ok(Opened { disks, stores })
}

/// The first start with disks.
fn open_first(config: &Config, mut home: Home) -> Result<Opened> {
    let path = config.directory.display();
    ensure!(
        home_stores(&home) == 0,
        "this sheep keeps its data in {path}; start it without further disks, and add them with \
         `dog node md plug DIR`"
    );
    ensure!(
        home.cluster_id().is_none(),
        "{path} belongs to a sheep of a cluster, but its table of disks is gone; restore it"
    ); // DO1
    ensure!(config.disks.len() <= DISKS_MAX, "a sheep can have {DISKS_MAX} disks");
    let shards = shards(config, 0)?;
    let settings = StoreSettings::new(config, shards);
    let owner = Owner::new(&home, shards)?;
    let (mut entries, mut disks) = (Vec::new(), BTreeMap::new());
    let mut stores: Vec<ShardStores> = (0..shards).map(|_| BTreeMap::new()).collect();
    for (slot, path) in (0..).zip(&config.disks) {
        let on_disk = || format!("disk {}", path.display());
        let mut directory =
            DiskDirectory::create(path, home.node_uuid(), true).with_context(on_disk)?;
        entries.push(entry(&directory)?);
        let count = config.disks.len();
        let opened = open_stores(&settings, &owner, (slot, &mut directory), count, false);
        let opened = opened.with_context(on_disk)?;
        for (all, store) in stores.iter_mut().zip(opened) {
            all.insert(slot, store);
        }
        let disk = Disk { directory: Some(directory), failure: None, watched: Arc::default() };
        disks.insert(slot, disk);
    }
    let table = home.new_table(shards, entries);
    home.save_table(table.clone()).context("table of disks")?;
    Ok(Opened { disks: Disks::new(settings, home, table, disks), stores })
}

/// Every later start.
fn open_known(config: &Config, mut home: Home, before: DiskTable) -> Result<Opened> {
    let shards = shards(config, before.shards)?;
    let mut table = before.clone();
    for (slot, path) in locate(config, &before)? {
        if let Some(entry) = table.disks.get_mut(&slot) {
            entry.path = path;
        }
    }
    let settings = StoreSettings::new(config, shards);
    let mut disks = BTreeMap::new();
    let mut stores: Vec<ShardStores> = (0..shards).map(|_| BTreeMap::new()).collect();
    for (slot, entry) in &mut table.disks {
        let (directory, failure) = match open_disk(&settings, &home, &before, *slot, &entry.path) {
            Ok((directory, opened)) => {
                for (all, store) in stores.iter_mut().zip(opened) {
                    all.insert(*slot, store);
                }
                (Some(directory), None)
            }
            Err(error) => {
                let why = format!("{error:#}");
                tracing::error!(slot, path = %entry.path.display(), why, "disk cannot be used");
                entry.state = DiskState::Failed;
                (None, Some(why))
            }
        };
        disks.insert(*slot, Disk { directory, failure, watched: Arc::default() });
    }
    if disks.values().all(|disk| !disk.works()) {
        let why = disks.into_values().filter_map(|disk| disk.failure).collect::<Vec<_>>();
        bail!("none of this sheep's disks can be used: {}", why.join("; ")); // DK3
    }
    if table != before {
        home.save_table(table.clone()).context("table of disks")?;
    }
    Ok(Opened { disks: Disks::new(settings, home, table, disks), stores })
}

/// Where the disks that the command line names are in the table (DO2).
fn locate(config: &Config, table: &DiskTable) -> Result<BTreeMap<u8, PathBuf>> {
    let mut located = BTreeMap::new();
    for path in &config.disks {
        let shown = path.display();
        let found = DiskDirectory::identity(path);
        let slot = found.as_ref().ok().copied().flatten().and_then(|uuid| table.find(uuid));
        if let Some(slot) = slot {
            ensure!(located.insert(slot, path.clone()).is_none(), "{shown} is given twice");
        } else if table.find_path(path).is_none() {
            let why = found.err().map(|error| format!(" ({error})")).unwrap_or_default();
            bail!(
                "{shown} is no disk of this sheep{why}; start it without that, then add it with \
                 `dog node md plug {shown}`"
            );
        }
    }
    Ok(located)
}

fn open_disk(
    settings: &StoreSettings,
    home: &Home,
    table: &DiskTable,
    slot: u8,
    path: &Path,
) -> Result<(DiskDirectory, Vec<Store>)> {
    let uuid = table.disks.get(&slot).map_or(0, |entry| entry.uuid);
    let mut directory = if path.as_os_str().is_empty() {
        DiskDirectory::of_home(home)?
    } else {
        DiskDirectory::open(path, home.node_uuid(), uuid)?
    };
    let holds_any = table.buckets_of(slot).next().is_some();
    let count = table.disks.len();
    let stores = open_stores(
        settings,
        &Owner::new(home, settings.shards())?,
        (slot, &mut directory),
        count,
        holds_any,
    )?;
    Ok((directory, stores))
}
