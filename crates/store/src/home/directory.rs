//! A disk's directory: locked as long as the sheep uses it, with the stores that are on it.
//!
//! Way: `DIR/disk` is its superblock, `DIR/lock` its lock, `DIR/store/N` the store of shard N. The
//!      sheep's own directory can be a disk, too: it has its own superblock and lock.
//! Holds:
//!   DD1 only an empty directory, or one that was let go, becomes a disk;
//!   DD2 a directory is a certain disk only if its superblock says so.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::copies::Copied;
use super::disk::DiskSuperblock;
use super::table::PATH_BYTES_MAX;
use super::{Home, HomeError, LOCK, STORES_DIR, random, take_lock};
use crate::disk::{Disk, Engine, RealDisk};
use crate::store::has_store;

/// What an empty file system has.
const LOST_AND_FOUND: &str = "lost+found";

/// A directory with stores of this sheep.
#[derive(Debug)]
pub struct DiskDirectory {
    path: PathBuf,
    disk: RealDisk,
    uuid: u128,
    /// `None` for the sheep's own directory, whose superblock and lock are those of its home.
    own: Option<(DiskSuperblock, File)>,
}

impl DiskDirectory {
    /// The sheep's own directory as a disk.
    ///
    /// # Errors
    /// `Superblock` if it cannot be used.
    pub fn of_home(home: &Home) -> Result<Self, HomeError> {
        let path = home.path().to_owned();
        Ok(Self { disk: RealDisk::new(&path)?, path, uuid: home.node_uuid(), own: None })
    }

    /// Which disk a directory is; `None` if it is none.
    ///
    /// # Errors
    /// `Superblock` if it cannot be used, or its superblock cannot be read.
    pub fn identity(path: &Path) -> Result<Option<u128>, HomeError> {
        let mut disk = RealDisk::new(path)?;
        Ok(DiskSuperblock::load(&mut disk)?.map(|superblock| superblock.disk))
    }

    /// Whether a directory is still the disk it was. Takes no lock and repairs nothing.
    ///
    /// # Errors
    /// `Io` if it cannot be read; `NoDisk`, `OtherDisk`.
    pub fn look(path: &Path, uuid: u128) -> Result<(), HomeError> {
        let path = path.join(DiskSuperblock::PATH);
        let bytes =
            fs::read(&path).map_err(|source| HomeError::Io { path: path.clone(), source })?;
        let mut copies = DiskSuperblock::COPY_OFFSETS.iter().filter_map(|offset| {
            let copy = bytes.get(*offset as usize..)?.get(..DiskSuperblock::COPY_BYTES)?;
            DiskSuperblock::verify(copy).ok()
        });
        match copies.next_back() {
            None => Err(HomeError::NoDisk { path }),
            Some(found) if found.disk != uuid => Err(HomeError::OtherDisk { path }),
            Some(_) => Ok(()),
        }
    }

    /// Locks a disk that this sheep has (DD2).
    ///
    /// # Errors
    /// `NoDisk` if the directory is empty, or another file system than it was; `OtherDisk` if it
    /// is another disk; `InUse` if another process has it; `Superblock` if it cannot be used.
    pub fn open(path: &Path, node: u128, uuid: u128) -> Result<Self, HomeError> {
        let mut disk = RealDisk::new(path)?;
        let no_disk = || HomeError::NoDisk { path: path.to_owned() };
        let superblock = DiskSuperblock::load(&mut disk)?.ok_or_else(no_disk)?;
        if (superblock.disk, superblock.node) != (uuid, node) {
            return Err(HomeError::OtherDisk { path: path.to_owned() });
        }
        let own = Some((superblock, take_lock(path)?));
        Ok(Self { path: path.to_owned(), disk, uuid, own })
    }

    /// Makes an empty directory a disk of this sheep (DD1); durable on return. With `again` also
    /// one that this sheep began to make a disk, and has no data on.
    ///
    /// # Errors
    /// `OtherSheep` if it is a disk of another sheep; `Leftover` if it was one of this sheep;
    /// `NotEmpty` if it has anything else; `InUse`, `PathTooLong`, `Superblock`, `Io`.
    pub fn create(path: &Path, node: u128, again: bool) -> Result<Self, HomeError> {
        let owned = || path.to_owned();
        if path.as_os_str().as_bytes().len() > PATH_BYTES_MAX {
            return Err(HomeError::PathTooLong { path: owned() });
        }
        let mut disk = RealDisk::new(path)?;
        let found = DiskSuperblock::load(&mut disk)?;
        match &found {
            Some(found) if found.node == node && again => {}
            Some(found) if found.node == node => {
                return Err(HomeError::Leftover { path: owned() });
            }
            Some(found) if found.node != 0 => {
                return Err(HomeError::OtherSheep { path: owned(), node: found.node });
            }
            Some(_) => {}
            None => check_empty(&mut disk, path)?,
        }
        let lock = take_lock(path)?;
        if DiskSuperblock::load(&mut disk)? != found {
            return Err(HomeError::InUse { path: owned(), pid: None });
        }
        let on_path = |source| HomeError::Io { path: owned(), source };
        let counter = found.map_or(0, |found| found.counter) + 1;
        let uuid = u128::from_le_bytes(random::<16>().map_err(on_path)?);
        let superblock = DiskSuperblock { counter, disk: uuid, node };
        let mut directory = Self { path: owned(), disk, uuid, own: Some((superblock, lock)) };
        directory.remove_stores()?;
        superblock.save(&mut directory.disk)?;
        Ok(directory)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its identity as a disk.
    #[must_use]
    pub const fn uuid(&self) -> u128 {
        self.uuid
    }

    /// Whether it is the sheep's own directory.
    #[must_use]
    pub const fn is_home(&self) -> bool {
        self.own.is_none()
    }

    /// Whether the store of a shard has ever been made.
    ///
    /// # Errors
    /// `Superblock` with the disk's error.
    pub fn has_store(&mut self, index: u16) -> Result<bool, HomeError> {
        Ok(has_store(&mut self.disk, &format!("{STORES_DIR}/{index}"))?)
    }

    /// The disk of the store of a shard, whose directory is made if need be.
    ///
    /// # Errors
    /// `Superblock` with the disk's error if the directory cannot be made, or the engine does
    /// not work here.
    pub fn store_disk(&mut self, index: u16, engine: Engine) -> Result<RealDisk, HomeError> {
        self.disk.create_dir(STORES_DIR)?;
        self.disk.sync_dir("")?;
        self.disk.create_dir(&format!("{STORES_DIR}/{index}"))?;
        self.disk.sync_dir(STORES_DIR)?;
        let path = self.path.join(STORES_DIR).join(index.to_string());
        Ok(RealDisk::with_engine(&path, engine)?)
    }

    /// Removes the stores and lets the directory go: any sheep may take it. Nobody may use a
    /// store of it any more.
    ///
    /// # Errors
    /// `Superblock`, `Io`: it is still a disk of this sheep, perhaps without stores.
    pub fn release(mut self) -> Result<(), HomeError> {
        self.remove_stores()?;
        if let Some((superblock, _)) = self.own {
            let counter = superblock.counter + 1;
            DiskSuperblock { counter, node: 0, ..superblock }.save(&mut self.disk)?;
        }
        Ok(())
    }

    fn remove_stores(&mut self) -> Result<(), HomeError> {
        let stores = self.path.join(STORES_DIR);
        match fs::remove_dir_all(&stores) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(HomeError::Io { path: stores, source }),
            Ok(()) => Ok(self.disk.sync_dir("")?),
        }
    }
}

fn check_empty(disk: &mut RealDisk, path: &Path) -> Result<(), HomeError> {
    let own = [LOST_AND_FOUND, LOCK, DiskSuperblock::NEW_PATH];
    match disk.list("")?.into_iter().find(|entry| !own.contains(&entry.name.as_str())) {
        Some(entry) => Err(HomeError::NotEmpty { path: path.to_owned(), name: entry.name }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "directory/tests.rs"]
mod tests;
