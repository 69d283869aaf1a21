//! No file may know the machine it was written on.
//!
//! Why: a path of somebody's home or checkout works for one person only, and it says more
//!      about that person than a source tree should.

use super::Findings;
use crate::repository::Repository;

/// Folders that hold people's own files.
const HOMES: &[&str] = &["/home/", "/root/", "/Users/"]; // allow: what is looked for

/// The paths of this machine that must not occur.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    folders: Vec<String>,
}

impl Machine {
    /// The tree's own place, the home folder, and where everybody's homes are.
    pub(super) fn here(repository: &Repository) -> Self {
        let root = repository.root().to_string_lossy().into_owned();
        Self::new(&root, std::env::var("HOME").ok().as_deref())
    }

    fn new(root: &str, home: Option<&str>) -> Self {
        let mut folders: Vec<String> = HOMES.iter().map(|home| (*home).to_owned()).collect();
        for folder in [Some(root), home].into_iter().flatten() {
            let folder = folder.trim_end_matches('/');
            if !folder.is_empty() {
                folders.push(format!("{folder}/"));
            }
        }
        Self { folders }
    }

    /// Checks one file of any kind.
    pub(super) fn check(&self, path: &str, text: &str, findings: &mut Findings) {
        for (index, line) in text.lines().enumerate() {
            let lifted = line.contains("allow: ");
            if let Some(folder) = self.found(line).filter(|_| !lifted) {
                let message = format!("no path of one machine ({folder}): make it relative");
                findings.add(path, index + 1, message);
            }
        }
    }

    /// The first of the folders that a path in this line begins with.
    fn found(&self, line: &str) -> Option<&str> {
        let begins = |at: usize| {
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-./}*".contains(c))
        };
        let stands = |folder: &&String| line.match_indices(*folder).any(|(at, _)| begins(at));
        self.folders.iter().find(stands).map(String::as_str)
    }
}

#[cfg(test)]
#[path = "machine/tests.rs"]
mod tests;
