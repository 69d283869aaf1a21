//! Names of the fake disk: directories as they are, and as a power cut would leave them.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;

use super::super::{DiskError, Entry};
use super::Dice;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Directory,
}

/// One unsynced change of a directory.
#[derive(Clone, Debug)]
enum NameChange {
    Bind {
        name: String,
        node: Node,
    },
    Unbind {
        name: String,
    },
    /// A rename inside one directory happens wholly or not at all.
    Move {
        from: String,
        to: String,
        node: Node,
    },
}

#[derive(Clone, Debug, Default)]
struct Directory {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    unsynced: Vec<NameChange>,
}

/// All directories by path; "" is always there.
#[derive(Clone, Debug)]
pub(super) struct Names {
    directories: BTreeMap<String, Directory>,
}

impl Default for Names {
    fn default() -> Self {
        Self { directories: BTreeMap::from([(String::new(), Directory::default())]) }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Bind { name, node } => {
                names.insert(name.clone(), *node);
            }
            Self::Unbind { name } => {
                names.remove(name);
            }
            Self::Move { from, to, node } => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Directory {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }
}

impl Names {
    fn directory(
        &mut self,
        operation: &'static str,
        path: &str,
    ) -> Result<&mut Directory, DiskError> {
        self.directories.get_mut(path).ok_or_else(|| not_found(operation, path))
    }

    pub(super) fn file(&self, path: &str) -> Option<u64> {
        let (parent, name) = parent_and_name(path);
        match self.directories.get(parent)?.live.get(name)? {
            Node::File(inode) => Some(*inode),
            Node::Directory => None,
        }
    }

    pub(super) fn create(
        &mut self,
        operation: &'static str,
        path: &str,
        node: Node,
    ) -> Result<(), DiskError> {
        let (parent, name) = parent_and_name(path);
        let directory = self.directory(operation, parent)?;
        if directory.live.contains_key(name) {
            return Err(DiskError::sort(operation, path, Errno::EXIST.into()));
        }
        directory.change(NameChange::Bind { name: name.to_owned(), node });
        Ok(())
    }

    pub(super) fn create_dir(&mut self, path: &str) -> Result<(), DiskError> {
        if self.directories.contains_key(path) {
            return Ok(());
        }
        self.create("make directory", path, Node::Directory)?;
        self.directories.insert(path.to_owned(), Directory::default());
        Ok(())
    }

    pub(super) fn list(&mut self, path: &str) -> Result<Vec<Entry>, DiskError> {
        let directory = self.directory("list", path)?;
        let entry = |(name, node): (&String, &Node)| Entry {
            name: name.clone(),
            is_directory: *node == Node::Directory,
        };
        Ok(directory.live.iter().map(entry).collect())
    }

    pub(super) fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        if self.file(path).is_none() {
            return Err(not_found("remove", path));
        }
        let (parent, name) = parent_and_name(path);
        self.directory("remove", parent)?.change(NameChange::Unbind { name: name.to_owned() });
        Ok(())
    }

    /// Between two directories the new name and the loss of the old one are independent.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let Some(inode) = self.file(from) else {
            return Err(not_found("rename", from));
        };
        let node = Node::File(inode);
        let (source, from_name) = parent_and_name(from);
        let (target, to_name) = parent_and_name(to);
        let (from_name, to_name) = (from_name.to_owned(), to_name.to_owned());
        if source == target {
            let change = NameChange::Move { from: from_name, to: to_name, node };
            self.directory("rename", source)?.change(change);
        } else {
            self.directory("rename", target)?.change(NameChange::Bind { name: to_name, node });
            self.directory("rename", source)?.change(NameChange::Unbind { name: from_name });
        }
        Ok(())
    }

    pub(super) fn sync(&mut self, operation: &'static str, path: &str) -> Result<(), DiskError> {
        let directory = self.directory(operation, path)?;
        directory.durable = directory.live.clone();
        directory.unsynced.clear();
        Ok(())
    }

    /// F2: each unsynced name is kept or lost.
    pub(super) fn power_cut(&mut self, dice: &mut Dice) {
        self.cut(|| dice.below(2) == 0);
    }

    /// No unsynced name is kept.
    pub(super) fn lose_unsynced(&mut self) {
        self.cut(|| false);
    }

    fn cut(&mut self, mut is_kept: impl FnMut() -> bool) {
        for directory in self.directories.values_mut() {
            for change in std::mem::take(&mut directory.unsynced) {
                if is_kept() {
                    change.apply(&mut directory.durable);
                }
            }
            directory.live = directory.durable.clone();
        }
        let all = std::mem::take(&mut self.directories);
        let mut kept: BTreeSet<String> = BTreeSet::from([String::new()]);
        // Parents sort before their children.
        for (path, directory) in &all {
            for (name, node) in &directory.live {
                if *node == Node::Directory && kept.contains(path) {
                    kept.insert(join(path, name));
                }
            }
        }
        self.directories = all.into_iter().filter(|(path, _)| kept.contains(path)).collect();
    }

    /// Inodes that have a name, or would have one after a power cut.
    pub(super) fn linked(&self) -> BTreeSet<u64> {
        let mut linked = BTreeSet::new();
        for directory in self.directories.values() {
            let unsynced = directory.unsynced.iter().filter_map(|change| match change {
                NameChange::Bind { node, .. } | NameChange::Move { node, .. } => Some(node),
                NameChange::Unbind { .. } => None,
            });
            let nodes = directory.live.values().chain(directory.durable.values()).chain(unsynced);
            linked.extend(nodes.filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                Node::Directory => None,
            }));
        }
        linked
    }

    /// Inodes that have a name as readers see it.
    pub(super) fn linked_now(&self) -> BTreeSet<u64> {
        let nodes = self.directories.values().flat_map(|directory| directory.live.values());
        let inode = |node: &Node| match node {
            Node::File(inode) => Some(*inode),
            Node::Directory => None,
        };
        nodes.filter_map(inode).collect()
    }

    pub(super) fn plant(&mut self, path: &str, inode: u64) {
        let (parent, name) = parent_and_name(path);
        let mut above = String::new();
        for part in parent.split('/').filter(|part| !part.is_empty()) {
            let directory = self.directories.entry(above.clone()).or_default();
            directory.live.insert(part.to_owned(), Node::Directory);
            directory.durable.insert(part.to_owned(), Node::Directory);
            above = join(&above, part);
        }
        let directory = self.directories.entry(above).or_default();
        directory.live.insert(name.to_owned(), Node::File(inode));
        directory.durable.insert(name.to_owned(), Node::File(inode));
    }

    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for (path, directory) in &self.directories {
            for (name, node) in &directory.live {
                if matches!(node, Node::File(_)) {
                    paths.push(join(path, name));
                }
            }
        }
        paths.sort();
        paths
    }
}

fn parent_and_name(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn not_found(operation: &'static str, path: &str) -> DiskError {
    DiskError::NotFound { operation, path: path.to_owned() }
}
