//! Place: the directory of a playground.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::trouble::Trouble;

/// Longest path of a unix socket that the kernel takes, without its final zero.
const SOCKET_PATH_MAX: usize = 107;

/// Longest path below the directory: `sheep0/admin.sock`.
const SOCKET_NAME_BYTES: usize = 18;

/// Space that a check writes, with some to spare.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// A directory; removed at the end if it was made for this run alone.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    temporary: bool,
    keep: bool,
}

impl Place {
    /// Opens `wanted`, or makes a temporary directory.
    pub(super) fn open(wanted: Option<&Path>) -> Result<Self, Trouble> {
        let place = match wanted {
            Some(path) => Self::named(path)?,
            None => Self::temporary()?,
        };
        place.check()?;
        Ok(place)
    }

    fn named(path: &Path) -> Result<Self, Trouble> {
        let unusable = |error| {
            Trouble::failure(format!("cannot use the directory {}: {error}", path.display()))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        Ok(Self { path, temporary: false, keep: true })
    }

    fn temporary() -> Result<Self, Trouble> {
        let parent = std::env::temp_dir();
        let process = std::process::id();
        for attempt in 0..100 {
            let path = parent.join(format!("sheepdog-{process}-{attempt}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, temporary: true, keep: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let message = format!("cannot make {}: {error}", path.display());
                    return Err(Trouble::failure(message).hint("Name a directory with --dir."));
                }
            }
        }
        Err(Trouble::failure(format!("no free name is left in {}", parent.display())))
    }

    fn check(&self) -> Result<(), Trouble> {
        let shown = self.path.display();
        if self.path.as_os_str().len() + SOCKET_NAME_BYTES > SOCKET_PATH_MAX {
            let message = format!("the path {shown} is too long for unix sockets below it");
            return Err(Trouble::failure(message).hint("Name a shorter one with --dir."));
        }
        let found = rustix::fs::statvfs(&self.path)
            .map_err(|error| Trouble::failure(format!("cannot use {shown}: {error}")))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < FREE_BYTES_MIN {
            let free = crate::size::human(free);
            return Err(Trouble::failure(format!("{shown} has only {free} of free space"))
                .hint("Name a directory on a larger disk with --dir; 1 GB is needed."));
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It goes away at the end.
    pub(super) const fn is_temporary(&self) -> bool {
        self.temporary && !self.keep
    }

    /// Somebody will want to look at it.
    pub(super) const fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_temporary() {
            return;
        }
        // Some file systems take their time over this.
        eprintln!("playground: removing {}", self.path.display());
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("playground: cannot remove {}: {error}", self.path.display());
        }
    }
}
