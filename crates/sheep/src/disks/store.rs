//! Opening the stores of a disk: their settings, and what the table says of the disk.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sheepdog_store::{
    Disk, DiskDirectory, DiskEntry, DiskState, Engine, Home, Options, Recorder, Store,
};

use crate::config::Config;
use crate::start::disk_bytes;

/// Bounds of the space that new data leave free.
const RESERVE_MIN: u64 = 64 << 20;
const RESERVE_MAX: u64 = 8 << 30;

/// Memory of all stores of a sheep: changes that are not in place yet, and metadata.
const DIRTY_BYTES: u64 = 40 << 20;
const METADATA_BYTES: usize = 24 << 20;
/// Each store has at least so much, however many there are.
const DIRTY_BYTES_MIN: u64 = 4 << 20;
const METADATA_BYTES_MIN: usize = 1 << 20;
/// One unit is kept warm for each so many bytes of the reserve: an eighth of it.
const WARM_PART: u64 = 8 * (256 << 10);

/// What is the same for all stores of a sheep.
#[derive(Clone, Debug)]
pub(crate) struct StoreSettings {
    shards: u16,
    engine: Engine,
    record: Option<PathBuf>,
}

impl StoreSettings {
    pub(super) fn new(config: &Config, shards: u16) -> Self {
        Self { shards, engine: config.engine, record: config.record.clone() }
    }

    pub(super) const fn shards(&self) -> u16 {
        self.shards
    }

    /// The disk itself, or one that is recorded.
    fn record(&self, disk: Box<dyn Disk>, name: &str) -> Result<Box<dyn Disk>> {
        let Some(directory) = &self.record else { return Ok(disk) };
        let file = directory.join(name);
        let recorder = Recorder::new(disk, &file).with_context(|| file.display().to_string())?;
        tracing::warn!(file = %file.display(), "everything done to the disk is recorded");
        Ok(Box::new(recorder))
    }
}

/// Whose stores they are.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) node: u128,
    /// A new one for the store of each shard.
    salts: Vec<u64>,
}

impl Owner {
    pub(super) fn new(home: &Home, shards: u16) -> Result<Self> {
        let salts = (0..shards).map(|_| home.new_salt()).collect::<Result<_, _>>()?;
        Ok(Self { node: home.node_uuid(), salts })
    }
}

/// What the table says of a disk that is new.
pub(super) fn entry(directory: &DiskDirectory) -> Result<DiskEntry> {
    let weight = disk_bytes(directory.path())?.0.max(1);
    let path = if directory.is_home() { Path::new("") } else { directory.path() };
    let uuid = directory.uuid();
    Ok(DiskEntry { uuid, weight, state: DiskState::InUse, path: path.to_owned() })
}

/// Opens the store of every shard on the disk of a slot, one of `count`; makes them unless they
/// must exist.
pub(super) fn open_stores(
    settings: &StoreSettings,
    owner: &Owner,
    (slot, directory): (u8, &mut DiskDirectory),
    count: usize,
    must_exist: bool,
) -> Result<Vec<Store>> {
    let reserve_bytes = reserve_bytes(disk_bytes(directory.path())?.0);
    let shards = settings.shards;
    let all = usize::from(shards) * count;
    let mut stores = Vec::new();
    for (shard, salt) in (0..shards).zip(owner.salts.iter().copied()) {
        let disk = directory.store_disk(shard, settings.engine)?;
        let engine = disk.engine();
        let prefix = if directory.is_home() { String::new() } else { format!("disk-{slot}-") };
        let disk = settings.record(Box::new(disk), &format!("{prefix}store-{shard}"))?;
        let options = Options {
            salt,
            node: owner.node,
            shard,
            must_exist,
            reserve_bytes,
            dirty_bytes_max: (DIRTY_BYTES / all as u64).max(DIRTY_BYTES_MIN),
            metadata_bytes_max: (METADATA_BYTES / all).max(METADATA_BYTES_MIN),
            warm_units_max: (reserve_bytes / WARM_PART / u64::from(shards)) as usize,
            ..Options::default()
        };
        let (store, report) =
            Store::open(disk, options).with_context(|| format!("store {shard}"))?;
        let path = directory.path().display();
        tracing::info!(%path, shard, ?engine, ?report, "store opened");
        stores.push(store);
    }
    Ok(stores)
}

/// A twentieth of the file system, within bounds: for the log, for metadata, and for what is on
/// its way into place.
pub(crate) fn reserve_bytes(size: u64) -> u64 {
    (size / 20).clamp(RESERVE_MIN, RESERVE_MAX)
}
