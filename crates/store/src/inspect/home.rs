//! The directory of a sheep, looked at while no sheep runs in it.
//!
//! Holds:
//!   IH1 while somebody looks no sheep starts here, for the lock is shared; with `while_running`
//!       no lock is asked for, and what is seen may be the middle of a change.

use std::fs::{self, File};
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::fault::{Fault, FaultKind};
use super::look::{Directory, Shelf};
use crate::home::superblock::{COPY_BYTES, COPY_OFFSETS, PATH, RawSuperblock, Superblock};
use crate::home::{LOCK, STORES_DIR, pid_in};
use crate::store::files::{META_PATH, SUPER_PATH};

/// Why a directory cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// A sheep runs in it.
    #[error("{path} is in use by a running sheep{}", crate::home::shown_pid(*pid))]
    Running {
        /// The directory.
        path: PathBuf,
        /// The sheep's process id, if it is known.
        pid: Option<u32>,
    },
    /// It has neither the files of a sheep nor those of a store.
    #[error("{path} is no directory of a sheep: it has neither superblock nor stores")]
    NoSheep {
        /// The directory.
        path: PathBuf,
    },
    /// The kernel says no.
    #[error("{path}: {source}")]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlace {
    /// Its number; the shard of the sheep.
    pub number: u16,
    /// Its directory.
    pub path: PathBuf,
}

/// A sheep's directory.
#[derive(Debug)]
pub struct HomeInspection {
    /// The sheep's name; `None` if that cannot be read.
    pub node: Option<u128>,
    /// Its cluster; `None` if it never joined one.
    pub cluster: Option<NonZero<u128>>,
    /// Faults of the sheep's own superblock.
    pub faults: Vec<Fault>,
    /// Its stores, in order.
    pub stores: Vec<StorePlace>,
    /// Held for its lock (IH1).
    _lock: Option<File>,
}

impl HomeInspection {
    /// Looks at the directory of a sheep, or at that of one store.
    ///
    /// # Errors
    /// `Running` if a sheep runs in it, unless `while_running`; `NoSheep` if there is nothing to
    /// look at.
    pub fn open(path: &Path, while_running: bool) -> Result<Self, InspectError> {
        let on_path = |source| InspectError::Io { path: path.to_owned(), source };
        fs::read_dir(path).map_err(on_path)?;
        if path.join(META_PATH).exists() || path.join(SUPER_PATH).exists() {
            return Self::of_store(path, while_running);
        }
        let stores = stores(path).map_err(on_path)?;
        if stores.is_empty() && !path.join(PATH).exists() {
            return Err(InspectError::NoSheep { path: path.to_owned() });
        }
        let lock = if while_running { None } else { share_lock(path)? };
        let (found, faults) = look_at_superblock(path);
        let (node, cluster) =
            (found.map(|found| found.node), found.and_then(|found| found.cluster));
        Ok(Self { node, cluster, faults, stores, _lock: lock })
    }

    /// One store alone; the lock is two directories above it, if it is where a sheep left it.
    fn of_store(path: &Path, while_running: bool) -> Result<Self, InspectError> {
        let absolute = path
            .canonicalize()
            .map_err(|source| InspectError::Io { path: path.to_owned(), source })?;
        let home = absolute.parent().filter(|parent| parent.ends_with(STORES_DIR));
        let lock = match home.and_then(Path::parent) {
            Some(home) if !while_running => share_lock(home)?,
            _ => None,
        };
        let number = absolute.file_name().and_then(|name| name.to_str()?.parse().ok());
        let store = StorePlace { number: number.unwrap_or_default(), path: path.to_owned() };
        let (node, cluster, faults) = (None, None, Vec::new());
        Ok(Self { node, cluster, faults, stores: vec![store], _lock: lock })
    }
}

fn stores(path: &Path) -> io::Result<Vec<StorePlace>> {
    let entries = match fs::read_dir(path.join(STORES_DIR)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut stores = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        stores.extend(number.map(|number| StorePlace { number, path }));
    }
    stores.sort_by_key(|store| store.number);
    Ok(stores)
}

/// Keeps sheep out as long as the file lives. Where there is no lock file no sheep runs.
fn share_lock(home: &Path) -> Result<Option<File>, InspectError> {
    let path = home.join(LOCK);
    let on_path = |source| InspectError::Io { path: path.clone(), source };
    let mut lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(on_path(error)),
    };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => {
            let pid = pid_in(&mut lock);
            Err(InspectError::Running { path: home.to_owned(), pid })
        }
        Err(error) => Err(on_path(error.into())),
    }
}

fn look_at_superblock(path: &Path) -> (Option<Superblock>, Vec<Fault>) {
    let mut shelf = Shelf::new(Box::new(Directory::new(path)));
    let mut faults = Vec::new();
    let mut newest: Option<Superblock> = None;
    for (copy, offset) in COPY_OFFSETS.into_iter().enumerate() {
        let mut raw = [0; COPY_BYTES];
        match shelf.read(PATH, offset, &mut raw) {
            Ok(_) => match RawSuperblock(&raw).verify() {
                Ok(found) if newest.is_none_or(|old| found.counter > old.counter) => {
                    newest = Some(found);
                }
                Ok(_) => {}
                Err(why) => {
                    let kind = FaultKind::SuperblockCopy { copy, why };
                    faults.push(Fault::new(PATH, offset, kind));
                }
            },
            Err(error) => faults.push(Fault::of_disk(PATH, offset, &error)),
        }
    }
    if newest.is_none() {
        faults.push(Fault::new(PATH, 0, FaultKind::Superblock { is_guessed: false }));
    }
    (newest, faults)
}
