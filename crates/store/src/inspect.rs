//! Inspection: what stands on a store's disk, for people, without a sheep and without changes.
//!
//! Why: whoever must understand or rescue the disk of a dead node needs every part of it that
//!      can still be read, and the place of every one that cannot.
//! Way: [`Inspection::open`] reads superblock, checkpoints (`root`), index (`index`) and log
//!      (`log`, `walk`, `changes`), and goes on after each [`Fault`]; then objects are shown and
//!      read (`object`), everything is verified (`verify`). `home` has the sheep's directory.
//! Holds:
//!   IN1 nothing on the disk is changed (`look` cannot);
//!   IN2 no byte of an object is given out that did not match its checksum;
//!   IN3 where nothing is wrong, objects and blocks are those that `Store::open` would find.
//! Not here: repair. The other copies of an object are better than any guess.

mod changes;
mod fault;
mod home;
mod index;
mod log;
mod look;
mod object;
mod record;
mod root;
mod verify;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sheepdog_proto::{BLOCK_BYTES, Oid, Stamp, View};

use crate::contents::object::Object;
use crate::disk::Disk;
use crate::home::bucket_of;
use crate::store::files::{
    CHECKPOINT_PATHS, DATA_DIR, INDEX_PATH, META_PATH, SUPER_PATH, slab_path,
};
use crate::wal::WAL_DIR;
use changes::Changes;
pub use fault::{Fault, FaultKind, Place};
pub use home::{HomeInspection, InspectError, StorePlace};
pub use index::{IndexPage, IndexSlot};
pub use log::LogFile;
use log::LogFiles;
use look::{Directory, Look, Shelf};
pub use object::{BlockView, ObjectBytes, ObjectView};
pub use record::{LogBatch, LogRecord};
pub use root::CheckpointState;
use root::Root;
pub use verify::Verified;
use walk::{Step, Walk};

/// A store that is being looked at.
pub struct Inspection {
    shelf: Shelf,
    root: Root,
    /// As the index has them.
    objects: BTreeMap<Oid, Object>,
    log: LogFiles,
    changes: Changes,
    overview: Overview,
    /// Of superblock, checkpoints, index and log.
    faults: Vec<Fault>,
}

/// A store at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// The sheep whose store it is, and its shard; `None` without a superblock.
    pub owner: Option<(u128, u16)>,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// The two checkpoints, with their files.
    pub checkpoints: Vec<(String, CheckpointState)>,
    /// The one of them that counts.
    pub checkpoint: Option<usize>,
    /// Segments of the log that are needed: first and last.
    pub segments: Option<(u32, u32)>,
    /// Batches in them.
    pub batches: u64,
    /// Bytes of these batches.
    pub log_bytes: u64,
    /// Where the log ends.
    pub log_end: Option<Place>,
    /// Whether an append was cut there. Nobody was told that it was durable.
    pub is_torn: bool,
    /// Changes that are not known to be on all copies.
    pub unstable: u64,
    /// Slabs and their bytes, holes included.
    pub slabs: Vec<(String, u64)>,
    /// Names in the store's directories that are not the store's.
    pub strangers: Vec<String>,
}

/// One object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSummary {
    /// The object.
    pub oid: Oid,
    /// It has 2^shift bytes.
    pub object_shift: u8,
    /// Stamp of the last reset.
    pub base: Stamp,
    /// Newest view under which it was changed.
    pub modified: View,
    /// Blocks that are data or hole.
    pub blocks: u32,
    /// Blocks whose newest content is only in the log.
    pub blocks_in_log: u32,
    /// Blocks of which nothing is known.
    pub unknown: u32,
}

impl ObjectSummary {
    /// Bytes of its blocks.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.blocks as u64 * BLOCK_BYTES as u64
    }
}

impl Inspection {
    /// Looks at the store in a directory. Files are opened for reading only; what is wrong is in
    /// [`Self::faults`], even if nothing is right.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        Self::look_at(Box::new(Directory::new(path)))
    }

    /// Looks at the store on a disk.
    #[must_use]
    pub fn of_disk(disk: Box<dyn Disk>) -> Self {
        Self::look_at(Box::new(disk))
    }

    fn look_at(look: Box<dyn Look>) -> Self {
        let mut shelf = Shelf::new(look);
        let mut faults = Vec::new();
        let root = Root::load(&mut shelf, &mut faults);
        let mut inspection = Self {
            shelf,
            root,
            objects: BTreeMap::new(),
            log: LogFiles::default(),
            changes: Changes::default(),
            overview: Overview::default(),
            faults,
        };
        inspection.look_at_names();
        if let Some(superblock) = inspection.root.superblock {
            inspection.overview.owner = Some((superblock.node, superblock.shard));
            inspection.overview.segment_bytes = superblock.segment_bytes;
            inspection.load();
        }
        let states = std::mem::take(&mut inspection.root.checkpoints);
        let paths = CHECKPOINT_PATHS.map(str::to_owned);
        inspection.overview.checkpoints = paths.into_iter().zip(states).collect();
        inspection.overview.checkpoint = inspection.root.checkpoint.as_ref().map(|(file, _)| *file);
        inspection
    }

    /// Index and log.
    fn load(&mut self) {
        let salt = self.salt();
        let checkpoint = self.root.checkpoint.as_ref().map(|(_, checkpoint)| checkpoint);
        let first = checkpoint.map(|checkpoint| checkpoint.segment);
        self.objects = index::load(&mut self.shelf, salt, checkpoint, &mut self.faults);
        self.log = LogFiles::find(&mut self.shelf, salt, first, &mut self.faults);
        self.overview.strangers.append(&mut self.log.strangers);
        let mut changes = Changes::default();
        let mut overview = std::mem::take(&mut self.overview);
        let mut faults = Vec::new();
        let last = self.log.segments.last_key_value().map(|(segment, _)| *segment);
        overview.segments = last.map(|last| (self.first_segment().unwrap_or(last), last));
        self.walk(&mut |step, file| match step {
            Step::Batch(found) => {
                overview.batches += 1;
                overview.log_bytes += found.header.batch_bytes();
                changes.apply(found, file);
            }
            Step::Fault(fault) => faults.push(fault),
            Step::End(place, is_torn) => {
                (overview.log_end, overview.is_torn) = (Some(place), is_torn);
            }
        });
        self.objects.retain(|oid, _| {
            !changes.forgotten.contains(&bucket_of(*oid)) && !changes.dropped.contains(oid)
        });
        overview.unstable = changes.unstable.iter().count() as u64;
        self.faults.append(&mut faults);
        (self.changes, self.overview) = (changes, overview);
    }

    /// Where the log begins to count: with the checkpoint; without one, at the oldest segment
    /// from which all are there.
    fn first_segment(&self) -> Option<u32> {
        if let Some((_, checkpoint)) = &self.root.checkpoint {
            return Some(checkpoint.segment);
        }
        let mut first = *self.log.segments.last_key_value()?.0;
        while first > 0 && self.log.segments.contains_key(&(first - 1)) {
            first -= 1;
        }
        Some(first)
    }

    /// Walks the log; each step comes with the number of its file.
    fn walk(&mut self, visit: &mut dyn FnMut(Step<'_>, usize)) {
        let (Some(superblock), Some(first)) = (self.root.superblock, self.first_segment()) else {
            return;
        };
        let files = &self.log;
        let file_of = |place: &Place| files.files.iter().position(|file| file.path == place.file);
        let mut visit = |step: Step<'_>| {
            let file = match &step {
                Step::Batch(found) => file_of(&found.place).unwrap_or_default(),
                Step::Fault(_) | Step::End(..) => 0,
            };
            visit(step, file);
        };
        let (salt, segment_bytes) = (superblock.salt, superblock.segment_bytes);
        let shelf = &mut self.shelf;
        Walk { shelf, files, salt, segment_bytes, first, visit: &mut visit }.run();
    }

    fn look_at_names(&mut self) {
        let own = [SUPER_PATH, META_PATH, INDEX_PATH, WAL_DIR, DATA_DIR];
        let own: BTreeSet<&str> = own.into_iter().chain(CHECKPOINT_PATHS).collect();
        for (directory, strangers) in [("", true), (DATA_DIR, false)] {
            let names = match self.shelf.list(directory) {
                Ok(names) => names,
                Err(error) => {
                    self.faults.push(Fault::of_disk(directory, 0, &error));
                    continue;
                }
            };
            for name in names.into_iter().map(|entry| entry.name) {
                if strangers && !own.contains(&*name) {
                    self.overview.strangers.push(name);
                } else if !strangers {
                    self.look_at_slab(format!("{DATA_DIR}/{name}"));
                }
            }
        }
        for path in [META_PATH, INDEX_PATH] {
            if let Err(error) = self.shelf.len(path) {
                self.faults.push(Fault::of_disk(path, 0, &error));
            }
        }
    }

    fn look_at_slab(&mut self, path: String) {
        let number = path.rsplit('/').next().and_then(|name| name.parse::<u32>().ok());
        if number.is_none_or(|number| slab_path(number) != path) {
            self.overview.strangers.push(path);
            return;
        }
        match self.shelf.len(&path) {
            Ok(bytes) => self.overview.slabs.push((path, bytes)),
            Err(error) => self.faults.push(Fault::of_disk(&path, 0, &error)),
        }
    }

    fn salt(&self) -> u64 {
        self.root.superblock.map_or(0, |superblock| superblock.salt)
    }

    /// The store at a glance.
    #[must_use]
    pub const fn overview(&self) -> &Overview {
        &self.overview
    }

    /// What is wrong with superblock, checkpoints, index and log. Faults of single objects are
    /// found by [`Self::verify`] and when they are read.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The files of the log.
    #[must_use]
    pub fn log_files(&self) -> &[LogFile] {
        &self.log.files
    }

    /// Shows every page of the index.
    pub fn index_pages(&mut self, visit: &mut dyn FnMut(IndexPage)) {
        let Some(superblock) = self.root.superblock else { return };
        let checkpoint = self.root.checkpoint.as_ref().map(|(_, checkpoint)| checkpoint);
        index::visit(&mut self.shelf, superblock.salt, checkpoint, visit);
    }

    /// Shows every batch of the log that is needed, in order.
    pub fn batches(&mut self, visit: &mut dyn FnMut(LogBatch)) {
        self.walk(&mut |step, _| {
            if let Step::Batch(found) = step {
                visit(LogBatch::new(found));
            }
        });
    }

    /// Ids of all objects that index or log name, those that were reset to nothing included.
    fn oids(&self) -> BTreeSet<Oid> {
        self.objects.keys().chain(self.changes.objects.keys()).copied().collect()
    }

    /// All objects, in the order of their ids.
    pub fn objects(&mut self) -> Vec<ObjectSummary> {
        let oids = self.oids();
        oids.into_iter().filter_map(|oid| self.summary(oid)).collect()
    }

    fn summary(&mut self, oid: Oid) -> Option<ObjectSummary> {
        // Without changes in the log the index has everything.
        if !self.changes.objects.contains_key(&oid) {
            let object = self.objects.get(&oid).filter(|object| object.exists())?;
            return Some(ObjectSummary {
                oid,
                object_shift: object.shape.shift(),
                base: object.base,
                modified: object.modified,
                blocks: object.present(),
                blocks_in_log: 0,
                unknown: 0,
            });
        }
        let view = self.object(oid)?;
        Some(ObjectSummary {
            oid,
            object_shift: view.object_shift,
            base: view.base,
            modified: view.modified,
            blocks: view.blocks.len() as u32,
            blocks_in_log: view.blocks.iter().filter(|block| block.is_in_log).count() as u32,
            unknown: view.unknown.len() as u32,
        })
    }
}
