//! The files of this repository: where they are and which of them count.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// The source tree that `cargo xtask` was started in.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    root: PathBuf,
}

impl Repository {
    /// Finds the tree from the current folder upwards.
    pub(crate) fn open() -> Result<Self> {
        let start = std::env::current_dir().context("the current folder cannot be read")?;
        let found = start.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
        match found {
            Some(root) => Ok(Self { root: root.to_path_buf() }),
            None => bail!("run this inside the source tree: no xtask/Cargo.toml above here"),
        }
    }

    /// The top folder, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Paths of all committed files and of new ones git does not ignore, sorted, with `/`.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let listed = process::output(Command::new("git").current_dir(&self.root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let mut files: Vec<String> = listed
            .split_terminator('\0')
            .filter(|path| self.root.join(path).is_file())
            .map(str::to_owned)
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The newest commit that changed these paths, with `-dirty` if they differ from it now.
    pub(crate) fn commit_of(&self, paths: &[&str]) -> Result<String> {
        let git = |words: &[&str]| {
            let mut command = Command::new("git");
            command.current_dir(&self.root).args(words).arg("--").args(paths);
            process::output(&mut command)
        };
        let commit = git(&["log", "-1", "--format=%h"])?.trim().to_owned();
        let is_dirty = !git(&["status", "--porcelain"])?.trim().is_empty();
        Ok(if is_dirty { commit + "-dirty" } else { commit })
    }

    /// The text of a file, or nothing if it is not UTF-8 (captures, images).
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>> {
        let bytes = std::fs::read(self.root.join(path)).with_context(|| path.to_owned())?;
        Ok(String::from_utf8(bytes).ok())
    }

    /// A file as it was at a commit, or nothing where that commit or file does not exist.
    pub(crate) fn text_at(&self, commit: &str, path: &str) -> Option<String> {
        process::output(
            Command::new("git").current_dir(&self.root).args(["show", &format!("{commit}:{path}")]),
        )
        .ok()
    }
}
