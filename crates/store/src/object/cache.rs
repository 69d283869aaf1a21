//! The objects of a store: which exist, and the metadata of those in use.
//!
//! Why: open files and loaded metadata are bounded, whatever the number of objects.
//! Way: `load` finds or opens; `prepare` makes a new one; `trim` lets the longest unused go.
//! Holds:
//!   C1 an object with changes that are not in its file yet is never let go;
//!   C2 a changed file is synced before it is closed, so that no error is lost with the handle.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{Oid, Stamp, View};

use super::header::{HEADER_BYTES, Header, RawHeader};
use super::page::{PAGE_BYTES, Page, PageSlot, RawPage};
use super::shape::{PAGES_START, Shape};
use super::{NEW_DIR, OBJECTS_DIR, Object, new_path, object_dir, object_path};
use crate::disk::FileId;
use crate::disk::guarded::GuardedDisk;
use crate::error::{Corruption, StoreError};

/// Read at first: the metadata of a 4 MiB object in one go.
const FIRST_READ_BYTES: usize = PAGES_START as usize + 32 * PAGE_BYTES;

/// How much is kept open and in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) files: usize,
    pub(crate) bytes: usize,
}

/// All objects of one store.
pub(crate) struct Objects {
    known: BTreeSet<Oid>,
    loaded: BTreeMap<Oid, Object>,
    ages: BTreeMap<u64, Oid>,
    clock: u64,
    memory: usize,
    directories: BTreeSet<String>,
    changed_directories: BTreeSet<String>,
    limits: Limits,
}

impl Objects {
    /// Finds the objects of a store and empties `new/`. Also returns names under `obj/` that
    /// are no object files.
    pub(crate) fn scan(
        disk: &mut GuardedDisk,
        limits: Limits,
    ) -> Result<(Self, Vec<String>), StoreError> {
        for left in disk.list(NEW_DIR)? {
            disk.remove(&format!("{NEW_DIR}/{}", left.name))?;
        }
        let mut objects = Self {
            known: BTreeSet::new(),
            loaded: BTreeMap::new(),
            ages: BTreeMap::new(),
            clock: 0,
            memory: 0,
            directories: BTreeSet::new(),
            changed_directories: BTreeSet::new(),
            limits,
        };
        let mut strangers = Vec::new();
        for directory in disk.list(OBJECTS_DIR)? {
            let path = format!("{OBJECTS_DIR}/{}", directory.name);
            if !directory.is_directory {
                strangers.push(path);
                continue;
            }
            for entry in disk.list(&path)? {
                match parse_name(&entry.name).filter(|oid| object_dir(*oid) == path) {
                    Some(oid) if !entry.is_directory => {
                        objects.known.insert(oid);
                    }
                    _ => strangers.push(format!("{path}/{}", entry.name)),
                }
            }
            objects.directories.insert(path);
        }
        Ok((objects, strangers))
    }

    /// Number of object files.
    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// The first oid above `after`.
    pub(crate) fn oid_after(&self, after: Option<Oid>) -> Option<Oid> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.known.range((after.map_or(Unbounded, Excluded), Unbounded)).next().copied()
    }

    /// An object that is in memory already.
    pub(crate) fn get_mut(&mut self, oid: Oid) -> Option<&mut Object> {
        self.loaded.get_mut(&oid)
    }

    /// The object's metadata, from memory or its file; `None` if there is no such file. With
    /// `redo` a file whose header was never written counts as none: its making is in the
    /// journal that is being replayed.
    pub(crate) fn load(
        &mut self,
        disk: &mut GuardedDisk,
        oid: Oid,
        redo: bool,
    ) -> Result<Option<&mut Object>, StoreError> {
        if self.loaded.contains_key(&oid) {
            self.touch(oid);
            return Ok(self.loaded.get_mut(&oid));
        }
        if !self.known.contains(&oid) {
            return Ok(None);
        }
        let file = disk.open(&object_path(oid))?;
        match read_object(disk, file, oid, redo) {
            Ok(Some(object)) => {
                self.insert(object);
                self.trim(disk, Some(oid))?;
                Ok(self.loaded.get_mut(&oid))
            }
            Ok(None) => {
                disk.close(file);
                Ok(None)
            }
            Err(error) => {
                disk.close(file);
                Err(error)
            }
        }
    }

    /// Makes a file for an object that does not exist, in `new/`, with space for its metadata.
    /// May be `Full`; then nothing has changed.
    pub(crate) fn prepare(
        &mut self,
        disk: &mut GuardedDisk,
        oid: Oid,
        shape: Shape,
    ) -> Result<&mut Object, StoreError> {
        let header = Header { oid, shape, base: Stamp::NONE, modified: View(0) };
        let reusable = self.loaded.get(&oid).is_some_and(|old| old.shape() == shape);
        if !reusable {
            if let Some(old) = self.loaded.get_mut(&oid).filter(|old| old.is_new) {
                // Its name is needed for the file that takes its place.
                old.is_new = false;
                disk.remove(&new_path(oid))?;
            }
            let file = disk.create(&new_path(oid))?;
            if let Err(error) = disk.allocate(file, 0, shape.blocks_start()) {
                disk.close(file);
                if !error.is_fatal() {
                    disk.remove(&new_path(oid))?;
                }
                return Err(error);
            }
            if let Some(old) = self.forget(oid) {
                disk.close(old.file);
            }
            let is_named = self.known.contains(&oid);
            self.insert(Object::fresh(file, header, is_named));
            self.known.insert(oid);
        }
        self.touch(oid);
        match self.loaded.get_mut(&oid) {
            Some(object) => {
                assert!(!object.exists(), "a new object takes the place of one that exists");
                object.header = header;
                object.header_changed = true;
                Ok(object)
            }
            None => unreachable!("it was inserted above"),
        }
    }

    /// Gives an object its name in `obj/`.
    pub(crate) fn name(&mut self, disk: &mut GuardedDisk, oid: Oid) -> Result<(), StoreError> {
        let directory = object_dir(oid);
        if !self.directories.contains(&directory) {
            disk.create_dir(&directory)?;
            self.directories.insert(directory.clone());
            self.changed_directories.insert(OBJECTS_DIR.to_owned());
        }
        disk.rename(&new_path(oid), &object_path(oid))?;
        self.changed_directories.insert(directory);
        Ok(())
    }

    /// Counts the name of an object as changed: whoever wrote it may have been killed before
    /// it was durable.
    pub(crate) fn doubt_name(&mut self, oid: Oid) {
        let directory = object_dir(oid);
        if self.directories.contains(&directory) {
            self.changed_directories.insert(OBJECTS_DIR.to_owned());
            self.changed_directories.insert(directory);
        }
    }

    /// Removes an object's file.
    pub(crate) fn remove(&mut self, disk: &mut GuardedDisk, oid: Oid) -> Result<(), StoreError> {
        let Some(object) = self.forget(oid) else {
            return Ok(());
        };
        self.known.remove(&oid);
        disk.close(object.file);
        if object.is_new {
            disk.remove(&new_path(oid))?;
        }
        if object.is_named {
            disk.remove(&object_path(oid))?;
            self.changed_directories.insert(object_dir(oid));
        }
        Ok(())
    }

    /// Makes everything that was changed durable: files first, then their names.
    pub(crate) fn sync(&mut self, disk: &mut GuardedDisk) -> Result<(), StoreError> {
        for object in self.loaded.values_mut().filter(|object| object.is_dirty) {
            assert!(!object.is_pinned(), "a change is not in its file yet"); // C1
            disk.sync(object.file)?;
            object.is_dirty = false;
        }
        // The names of directories before the names in them.
        if self.changed_directories.remove(OBJECTS_DIR) {
            disk.sync_dir(OBJECTS_DIR)?;
        }
        for directory in std::mem::take(&mut self.changed_directories) {
            disk.sync_dir(&directory)?;
        }
        Ok(())
    }

    /// Lets go what exceeds the limits, the longest unused first, but not `keep` and not what
    /// has changes outside its file (C1).
    pub(crate) fn trim(
        &mut self,
        disk: &mut GuardedDisk,
        keep: Option<Oid>,
    ) -> Result<(), StoreError> {
        while self.loaded.len() > self.limits.files || self.memory > self.limits.bytes {
            let goes = self.ages.values().copied().find(|oid| {
                Some(*oid) != keep && self.loaded.get(oid).is_some_and(|object| !object.is_pinned())
            });
            let Some(object) = goes.and_then(|oid| self.forget(oid)) else {
                return Ok(());
            };
            if object.is_dirty {
                disk.sync(object.file)?; // C2
            }
            disk.close(object.file);
        }
        Ok(())
    }

    fn insert(&mut self, mut object: Object) {
        self.clock += 1;
        object.used = self.clock;
        self.memory += memory_of(&object);
        self.ages.insert(object.used, object.oid());
        self.loaded.insert(object.oid(), object);
    }

    fn forget(&mut self, oid: Oid) -> Option<Object> {
        let object = self.loaded.remove(&oid)?;
        self.memory -= memory_of(&object);
        self.ages.remove(&object.used);
        Some(object)
    }

    fn touch(&mut self, oid: Oid) {
        if let Some(object) = self.loaded.get_mut(&oid) {
            self.ages.remove(&object.used);
            self.clock += 1;
            object.used = self.clock;
            self.ages.insert(object.used, oid);
        }
    }
}

/// The most that an object's metadata can take, in bytes, so that it never changes.
fn memory_of(object: &Object) -> usize {
    let page = size_of::<PageSlot>() + size_of::<Page>();
    size_of::<Object>() + object.pages.len() * page
}

fn parse_name(name: &str) -> Option<Oid> {
    let oid = u64::from_str_radix(name, 16).ok().and_then(Oid::from_wire)?;
    (oid.to_string() == name).then_some(oid)
}

/// Reads and verifies an object's metadata (O2).
fn read_object(
    disk: &mut GuardedDisk,
    file: FileId,
    oid: Oid,
    redo: bool,
) -> Result<Option<Object>, StoreError> {
    let mut bytes = vec![0_u8; FIRST_READ_BYTES];
    let count = disk.read_at(file, 0, &mut bytes)?;
    let Some(sector) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(Corruption::Header { oid, why: WireError::Short }.into());
    };
    let raw = RawHeader(sector);
    if redo && raw.is_zero() {
        return Ok(None);
    }
    if count < HEADER_BYTES {
        return Err(Corruption::Header { oid, why: WireError::Short }.into());
    }
    let header = raw.verify(oid).map_err(|why| Corruption::Header { oid, why })?;
    let end = header.shape.blocks_start() as usize;
    if end > FIRST_READ_BYTES {
        bytes.resize(end, 0);
        disk.read_at(file, FIRST_READ_BYTES as u64, &mut bytes[FIRST_READ_BYTES..])?;
    }
    let (sectors, _) = bytes[PAGES_START as usize..].as_chunks::<PAGE_BYTES>();
    let pages = (0..header.shape.pages()).zip(sectors);
    let pages = pages.map(|(number, sector)| RawPage(sector).verify(oid, number)).collect();
    Ok(Some(Object::loaded(file, header, pages)))
}
