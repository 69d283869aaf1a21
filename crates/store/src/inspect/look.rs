//! Looking: all that an inspection can do with a disk.
//!
//! Why: no call by which anything could be changed exists here, so no mistake can make one.
//! Way: [`Shelf`] keeps the files open that were read, by their paths.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sheepdog_proto::BLOCK_BYTES;

use super::fault::Fault;
use crate::disk::{Disk, DiskError, Entry, FileId};

/// A directory of a disk, to be read.
pub(super) trait Look: Send {
    fn open(&mut self, path: &str) -> Result<FileId, DiskError>;
    fn list(&mut self, path: &str) -> Result<Vec<Entry>, DiskError>;
    fn len(&mut self, file: FileId) -> Result<u64, DiskError>;
    fn read_at(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError>;
}

impl Look for Box<dyn Disk> {
    fn open(&mut self, path: &str) -> Result<FileId, DiskError> {
        (**self).open(path)
    }

    fn list(&mut self, path: &str) -> Result<Vec<Entry>, DiskError> {
        (**self).list(path)
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        (**self).len(file)
    }

    fn read_at(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError> {
        (**self).read_at(file, offset, bytes)
    }
}

/// Files of the operating system, opened for reading only.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    files: Vec<(String, File)>,
}

impl Directory {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), files: Vec::new() }
    }

    fn file(&self, id: FileId) -> Result<&(String, File), DiskError> {
        let found = usize::try_from(id.0).ok().and_then(|id| self.files.get(id));
        found
            .ok_or_else(|| DiskError::sort("read", "(closed file)", io::ErrorKind::NotFound.into()))
    }
}

impl Look for Directory {
    fn open(&mut self, path: &str) -> Result<FileId, DiskError> {
        let file = File::open(self.root.join(path));
        let file = file.map_err(|error| DiskError::sort("open", path, error))?;
        self.files.push((path.to_owned(), file));
        Ok(FileId(self.files.len() as u64 - 1))
    }

    fn list(&mut self, path: &str) -> Result<Vec<Entry>, DiskError> {
        let names = || -> io::Result<Vec<Entry>> {
            fs::read_dir(self.root.join(path))?
                .map(|entry| {
                    let entry = entry?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    Ok(Entry { name, is_directory: entry.file_type()?.is_dir() })
                })
                .collect()
        };
        let mut names = names().map_err(|error| DiskError::sort("list", path, error))?;
        names.sort();
        Ok(names)
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        let (path, file) = self.file(file)?;
        let metadata = file.metadata().map_err(|error| DiskError::sort("stat", path, error))?;
        Ok(metadata.len())
    }

    fn read_at(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError> {
        let (path, file) = self.file(file)?;
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DiskError::sort("read", path, error)),
            }
        }
        Ok(done)
    }
}

/// A directory and the files of it that are open.
pub(super) struct Shelf {
    look: Box<dyn Look>,
    files: BTreeMap<String, FileId>,
}

impl Shelf {
    pub(super) fn new(look: Box<dyn Look>) -> Self {
        Self { look, files: BTreeMap::new() }
    }

    fn file(&mut self, path: &str) -> Result<FileId, DiskError> {
        if let Some(file) = self.files.get(path) {
            return Ok(*file);
        }
        let file = self.look.open(path)?;
        self.files.insert(path.to_owned(), file);
        Ok(file)
    }

    pub(super) fn list(&mut self, path: &str) -> Result<Vec<Entry>, DiskError> {
        self.look.list(path)
    }

    pub(super) fn len(&mut self, path: &str) -> Result<u64, DiskError> {
        let file = self.file(path)?;
        self.look.len(file)
    }

    /// Reads as much as there is; the rest of `bytes` becomes zeros.
    pub(super) fn read(
        &mut self,
        path: &str,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<usize, DiskError> {
        bytes.fill(0);
        let file = self.file(path)?;
        let count = self.look.read_at(file, offset, bytes)?;
        bytes[count..].fill(0);
        Ok(count)
    }

    /// Reads what can be read, block by block where need be; the rest becomes zeros and a fault.
    pub(super) fn read_blocks(
        &mut self,
        path: &str,
        offset: u64,
        bytes: &mut [u8],
        note: &mut dyn FnMut(Fault),
    ) {
        if self.read(path, offset, bytes).is_ok() {
            return;
        }
        for (place, block) in (offset..).step_by(BLOCK_BYTES).zip(bytes.chunks_mut(BLOCK_BYTES)) {
            if let Err(error) = self.read(path, place, block) {
                block.fill(0);
                note(Fault::of_disk(path, place, &error));
            }
        }
    }
}
