//! The shared directory: its files, who may look into it, and the lock that makes a server.
//!
//! Holds:
//!   F1 nobody but the owner (and root) can enter the directory, so whoever speaks on the
//!      socket could also have written the files;
//!   F2 a lock counts only while its file still has its name: a lock on a file that was
//!      removed or replaced says nothing.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use crate::LogError;

/// Longest path that fits a socket address, without its final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// An open shared directory.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: Arc<File>,
}

impl Directory {
    /// Opens the directory; makes it, private, if it is missing. Its parent must exist.
    ///
    /// # Errors
    /// `NotPrivate` if it is open to others and not empty; `Io`.
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let fail = |error| LogError::io(path, error);
        let path = std::path::absolute(path).map_err(fail)?;
        make(&path)?;
        check_private(&path)?;
        make(&path.join("session"))?;
        let handle = Arc::new(File::open(&path).map_err(fail)?);
        let directory = Self { path, handle };
        directory.sync()?;
        if let Some(parent) = directory.path.parent() {
            sync(parent)?;
        }
        Ok(directory)
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    pub(super) fn session_directory(&self) -> PathBuf {
        self.path.join("session")
    }

    /// Where the server listens. A path too long for a socket address is reached through the
    /// open directory.
    pub(super) fn socket_path(&self) -> PathBuf {
        let plain = self.path.join("server.sock");
        if plain.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return plain;
        }
        PathBuf::from(format!("/proc/self/fd/{}/server.sock", self.handle.as_raw_fd()))
    }

    /// Opens the log for reading; makes an empty one if there is none.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn open_log(&self) -> Result<File, LogError> {
        let path = self.log_path();
        let file = private_file(&path).map_err(|error| LogError::io(&path, error))?;
        self.sync()?;
        Ok(file)
    }

    /// Makes new and removed names in the directory durable.
    fn sync(&self) -> Result<(), LogError> {
        self.handle.sync_all().map_err(|error| LogError::io(&self.path, error))
    }
}

/// The right to serve: held by one process at a time, until dropped or dead.
#[derive(Debug)]
pub(super) struct ServerLock {
    _file: File,
}

impl ServerLock {
    /// Takes the lock if it is free. Its file then names the process, for the operator.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn try_take(directory: &Directory) -> Result<Option<Self>, LogError> {
        let path = directory.lock_path();
        let fail = |error| LogError::io(&path, error);
        let file = private_file(&path).map_err(fail)?;
        if !try_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(fail)?
            || !has_name(&file, &path).map_err(fail)?
        {
            return Ok(None);
        }
        // Of fixed length, so that it can be replaced on a full disk; only a hint in any case.
        if let Err(error) = file.write_all_at(format!("{:<11}\n", std::process::id()).as_bytes(), 0)
        {
            tracing::warn!(%error, "the server cannot note its process id");
        }
        Ok(Some(Self { _file: file }))
    }
}

/// Opens or makes a file for reading and writing that only its owner can open.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes a lock without waiting; false if others hold it.
pub(super) fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether `file` is the one that `path` names now (F2).
pub(super) fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok(held.dev() == named.dev() && held.ino() == named.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes new and removed names in the directory `path` durable.
pub(super) fn sync(path: &Path) -> Result<(), LogError> {
    let fail = |error| LogError::io(path, error);
    File::open(path).map_err(fail)?.sync_all().map_err(fail)
}

fn make(path: &Path) -> Result<(), LogError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(LogError::io(path, error)),
    }
}

fn check_private(path: &Path) -> Result<(), LogError> {
    let fail = |error| LogError::io(path, error);
    // The order matters: another member may be making an empty directory private and filling it.
    let is_empty = std::fs::read_dir(path).map_err(fail)?.next().is_none();
    let mode = std::fs::metadata(path).map_err(fail)?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // A directory that an operator made for this is empty. Anything else may serve others too,
    // and closing it to them is not ours to decide.
    if !is_empty {
        return Err(LogError::NotPrivate { path: path.to_owned(), mode });
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(fail)
}

#[cfg(test)]
#[path = "directory/tests.rs"]
mod tests;
