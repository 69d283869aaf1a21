//! The folder that keeps what was built for tests, outside the source tree.

use std::fs::File;
use std::path::{self, Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::repository::Repository;

/// A folder that outlives one run.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// `$SHEEPDOG_TEST_CACHE`, or `sheepdog-test` in the user's cache folder.
    pub(super) fn open(repository: &Repository) -> Result<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let folder = match (set("SHEEPDOG_TEST_CACHE"), set("XDG_CACHE_HOME"), set("HOME")) {
            (Some(folder), _, _) => PathBuf::from(folder),
            (None, Some(folder), _) => PathBuf::from(folder).join("sheepdog-test"),
            (None, None, Some(home)) => PathBuf::from(home).join(".cache/sheepdog-test"),
            (None, None, None) => bail!("set SHEEPDOG_TEST_CACHE to a folder for test tools"),
        };
        let folder = path::absolute(&folder).with_context(|| folder.display().to_string())?;
        if folder.starts_with(repository.root()) {
            bail!("{} is in the source tree: choose another folder", folder.display());
        }
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { folder })
    }

    /// The folder itself, absolute.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a folder in it anew and empty.
    pub(super) fn empty(&self, name: &str) -> Result<PathBuf> {
        let folder = self.join(name);
        self.remove(name)?;
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    /// Removes a folder in it, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let folder = self.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        Ok(())
    }

    /// Keeps other runs out until the returned file is dropped.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.join("lock");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        if file.try_lock().is_err() {
            println!("setup: waiting for another setup that uses {}", self.folder.display());
            file.lock().with_context(|| path.display().to_string())?;
        }
        Ok(file)
    }
}
