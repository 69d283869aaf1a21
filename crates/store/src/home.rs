//! Home: the directory of one sheep, its lock, its name, and the places of its stores.
//!
//! Why: two processes on one directory would destroy it, and a sheep must keep its name.
//! Way: `Home::open` locks `DIR/lock`, reads or makes `DIR/superblock`; the stores live in
//!      `DIR/store/0`, `DIR/store/1`, ...
//! Holds:
//!   H1 everything else happens under the exclusive lock, which ends with the process;
//!   H2 a directory that has stores but no superblock is not given a new name;
//!   H3 a sheep that belongs to a cluster never joins another.
//! Not here: which of several disks holds what (`table`), their directories (`directory`).

pub(crate) mod copies;
mod directory;
pub(crate) mod disk;
mod rendezvous;
pub(crate) mod superblock;
pub(crate) mod table;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::disk::{Disk, DiskError, Engine, RealDisk};
use crate::error::StoreError;
use copies::Copied;
pub use directory::DiskDirectory;
use superblock::Superblock;
pub use table::{BUCKETS, DISKS_MAX, DiskEntry, DiskState, DiskTable, bucket_of};

pub(crate) const LOCK: &str = "lock";
pub(crate) const STORES_DIR: &str = "store";

/// Why a sheep cannot use its directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// Another process has the lock. Stop it, or give this sheep a directory of its own.
    #[error("{path} is in use by another sheep{}", shown_pid(*pid))]
    InUse {
        /// The sheep's directory.
        path: PathBuf,
        /// Its process id, if it is known.
        pid: Option<u32>,
    },
    /// Somebody looks at it with `sheep inspect`, and must see one state. Wait for them.
    #[error("{path} is being looked at by `sheep inspect`; wait until that has ended, or end it")]
    Inspected {
        /// The sheep's directory.
        path: PathBuf,
    },
    /// The sheep belongs to another cluster.
    #[error("wrong cluster: this sheep belongs to {have:032x}, not to {want:032x}")]
    WrongCluster {
        /// The cluster in the superblock.
        have: NonZero<u128>,
        /// The cluster that was asked for.
        want: NonZero<u128>,
    },
    /// There are stores, but the superblock is gone. Put it back, or empty the directory.
    #[error("{path} has stores but no superblock")]
    NoSuperblock {
        /// The sheep's directory.
        path: PathBuf,
    },
    /// The directory of a disk has no superblock of a disk.
    #[error("{path} is not the disk it was: it has no superblock of a disk")]
    NoDisk {
        /// The disk's directory.
        path: PathBuf,
    },
    /// The directory is another disk than the one that was there.
    #[error("{path} is another disk than it was")]
    OtherDisk {
        /// The disk's directory.
        path: PathBuf,
    },
    /// A disk of another sheep.
    #[error("{path} is a disk of sheep {node:032x}")]
    OtherSheep {
        /// The disk's directory.
        path: PathBuf,
        /// That sheep.
        node: u128,
    },
    /// A disk that this sheep had, and has no longer.
    #[error(
        "{path} was a disk of this sheep, and what is on it is not used any more; \
             empty it if nobody needs that"
    )]
    Leftover {
        /// The disk's directory.
        path: PathBuf,
    },
    /// A directory that shall become a disk is not empty.
    #[error("{path} is not empty: it has {name:?}")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// Something that is there.
        name: String,
    },
    /// The path of a disk does not fit into the table.
    #[error("{path} is longer than 480 bytes")]
    PathTooLong {
        /// The disk's directory.
        path: PathBuf,
    },
    /// The table of disks is another sheep's.
    #[error("the table of disks is that of sheep {node:032x}")]
    OtherTable {
        /// That sheep.
        node: u128,
    },
    /// The superblock cannot be read or written.
    #[error("superblock: {0}")]
    Superblock(#[from] StoreError),
    /// The directory cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

pub(crate) fn shown_pid(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl From<DiskError> for HomeError {
    fn from(error: DiskError) -> Self {
        Self::Superblock(error.into())
    }
}

/// A sheep's directory, locked as long as this value lives.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    disk: RealDisk,
    superblock: Superblock,
    was_repaired: bool,
    table: Option<DiskTable>,
    /// Held for its lock (H1).
    _lock: File,
}

impl Home {
    /// Locks the directory and reads its superblock. A directory that is new or empty becomes
    /// the home of a new sheep, with a random name that is durable on return.
    ///
    /// # Errors
    /// `InUse` if another process has it; `NoSuperblock` and `Superblock` if it is damaged.
    pub fn open(path: &Path) -> Result<Self, HomeError> {
        let path = path.to_owned();
        let on_path = |source| HomeError::Io { path: path.clone(), source };
        if !path.is_dir() {
            fs::create_dir_all(&path).map_err(on_path)?;
            if let Some(parent) = path.canonicalize().map_err(on_path)?.parent() {
                File::open(parent).and_then(|parent| parent.sync_all()).map_err(on_path)?;
            }
        }
        let lock = take_lock(&path)?;
        let mut disk = RealDisk::new(&path)?;
        let (superblock, was_repaired) = match Superblock::load_repaired(&mut disk)? {
            Some(loaded) => loaded,
            None => (make_superblock(&mut disk, &path)?, false),
        };
        let table = DiskTable::load(&mut disk)?;
        match table.as_ref().map(|table| table.node) {
            Some(node) if node != superblock.node => Err(HomeError::OtherTable { node }),
            _ => Ok(Self { path, disk, superblock, was_repaired, table, _lock: lock }),
        }
    }

    /// The table of disks; `None` if the directory itself is the only disk, or before the first
    /// table was saved.
    #[must_use]
    pub const fn table(&self) -> Option<&DiskTable> {
        self.table.as_ref()
    }

    /// A table for disks that hold nothing yet, not saved.
    #[must_use]
    pub fn new_table(&self, shards: u16, disks: Vec<DiskEntry>) -> DiskTable {
        DiskTable::new(self.superblock.node, shards, disks)
    }

    /// Replaces the table. Durable on return (TB1).
    ///
    /// # Errors
    /// `Superblock` if it cannot be written: then nobody knows which table counts, and the sheep
    /// must not go on.
    pub fn save_table(&mut self, mut table: DiskTable) -> Result<(), HomeError> {
        table.counter = self.table.as_ref().map_or(0, |table| table.counter) + 1;
        table.save(&mut self.disk)?;
        self.table = Some(table);
        Ok(())
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of this sheep, as long as its directory lives.
    #[must_use]
    pub const fn node_uuid(&self) -> u128 {
        self.superblock.node
    }

    /// The cluster it belongs to; `None` before it has joined one.
    #[must_use]
    pub const fn cluster_id(&self) -> Option<NonZero<u128>> {
        self.superblock.cluster
    }

    /// Whether one copy of the superblock was bad, and was written again from the other.
    #[must_use]
    pub const fn was_repaired(&self) -> bool {
        self.was_repaired
    }

    /// Joins a cluster, for good. Durable on return; the same cluster again changes nothing.
    ///
    /// # Errors
    /// `WrongCluster` if it belongs to another one (H3); `Superblock` if it cannot be written,
    /// then open the home again.
    pub fn set_cluster_id(&mut self, cluster: NonZero<u128>) -> Result<(), HomeError> {
        match self.superblock.cluster {
            Some(have) if have == cluster => Ok(()),
            Some(have) => Err(HomeError::WrongCluster { have, want: cluster }),
            None => {
                let counter = self.superblock.counter + 1;
                let joined = Superblock { counter, cluster: Some(cluster), ..self.superblock };
                joined.replace(&mut self.disk)?;
                self.superblock = joined;
                Ok(())
            }
        }
    }

    /// The disk of store number `index`, whose directory is made if need be.
    ///
    /// # Errors
    /// `Superblock` with the disk's error if the directory cannot be made, or the engine does
    /// not work here.
    pub fn store_disk(&mut self, index: u16, engine: Engine) -> Result<RealDisk, HomeError> {
        self.disk.create_dir(STORES_DIR)?;
        self.disk.sync_dir("")?;
        self.disk.create_dir(&format!("{STORES_DIR}/{index}"))?;
        self.disk.sync_dir(STORES_DIR)?;
        Ok(RealDisk::with_engine(&self.store_path(index), engine)?)
    }

    /// The directory of store number `index`.
    #[must_use]
    pub fn store_path(&self, index: u16) -> PathBuf {
        self.path.join(STORES_DIR).join(index.to_string())
    }

    /// A number that nobody can guess, for [`crate::Options::salt`].
    ///
    /// # Errors
    /// `Io` if the kernel has no randomness.
    pub fn new_salt(&self) -> Result<u64, HomeError> {
        let bytes = random::<8>().map_err(|source| self.io_error(source))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn io_error(&self, source: io::Error) -> HomeError {
        HomeError::Io { path: self.path.clone(), source }
    }
}

/// Takes the lock, and leaves the pid in its file for whoever comes too late.
fn take_lock(directory: &Path) -> Result<File, HomeError> {
    let path = directory.join(LOCK);
    let on_path = |source| HomeError::Io { path: path.clone(), source };
    let mut options = OpenOptions::new();
    let mut lock =
        options.read(true).write(true).create(true).truncate(false).open(&path).map_err(on_path)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            // A lock that can be shared is not a sheep's.
            if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
                return Err(HomeError::Inspected { path: directory.to_owned() });
            }
            let pid = pid_in(&mut lock);
            return Err(HomeError::InUse { path: directory.to_owned(), pid });
        }
        Err(error) => return Err(on_path(error.into())),
    }
    lock.set_len(0).map_err(on_path)?;
    lock.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(on_path)?;
    Ok(lock)
}

/// What the owner of a lock left in its file. Without it a refusal is as right.
pub(crate) fn pid_in(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Gives a directory without stores a new name (H2).
fn make_superblock(disk: &mut RealDisk, path: &Path) -> Result<Superblock, HomeError> {
    let has_stores = match disk.list(STORES_DIR) {
        Ok(stores) => !stores.is_empty(),
        Err(DiskError::NotFound { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    if has_stores {
        return Err(HomeError::NoSuperblock { path: path.to_owned() });
    }
    let on_path = |source| HomeError::Io { path: path.to_owned(), source };
    let node = u128::from_le_bytes(random::<16>().map_err(on_path)?);
    let superblock = Superblock { counter: 1, node, cluster: None };
    superblock.create(disk)?;
    Ok(superblock)
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut done = 0;
    while done < N {
        match getrandom(&mut bytes[done..], GetRandomFlags::empty()) {
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "home/tests.rs"]
mod tests;
