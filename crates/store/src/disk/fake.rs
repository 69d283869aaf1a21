//! The fake disk: files in memory that lose power, tear writes, rot, fill up and fail.
//!
//! Why: what a crash may do is decided by a seed, so that each crash can be replayed.
//! Way: the store gets one handle (it is a [`Disk`]), the test keeps another
//!      ([`FakeDisk::clone`]): cut, flip, count, and give the power back.
//! Holds:
//!   F1 live bytes and durable bytes are kept apart; only `sync` and `sync_dir` move them;
//!   F2 at a power cut each unsynced write is independently kept, lost, or torn at 512 bytes,
//!      each unsynced name kept or lost, whatever its order;
//!   F3 bytes whose sync failed never become durable, and a later sync does not say so;
//!   F4 what is under way happens in an order that `shuffle` decides; what was under way when
//!      the power went off, or the process died, has happened or not.

mod content;
mod dice;
mod names;
mod queue;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Disk, DiskError, Ended, Entry, FileId, Operation, Ticket};
use content::{Change, Inode};
use names::{Names, Node};
use queue::Queue;

pub use dice::Dice;

/// A disk in memory; clones are handles to the same disk.
#[derive(Clone, Debug, Default)]
pub struct FakeDisk {
    state: Arc<Mutex<State>>,
}

/// Which call an injected error hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `read_at`.
    Read,
    /// `write_at`.
    Write,
    /// `sync` and `sync_dir`.
    Sync,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: Names,
    handles: BTreeMap<FileId, u64>,
    next: u64,
    /// Changes and syncs so far: the index at which power can be cut.
    operations: u64,
    syncs: u64,
    cut_at: Option<u64>,
    is_off: bool,
    capacity: Option<u64>,
    overstates_space: bool,
    faults: Vec<(Fault, u64)>,
    queue: Queue,
    /// Copies that are made before each change and sync, if somebody wants them.
    forks: Option<Vec<State>>,
}

impl FakeDisk {
    /// An empty disk of unlimited size.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on a copy of the disk is kept as it is before each change and sync.
    pub fn keep_forks(&self) {
        self.lock().forks = Some(Vec::new());
    }

    /// The copies since the last call. Each is a disk by itself, to which a power cut or a kill
    /// can happen.
    #[must_use]
    pub fn take_forks(&self) -> Vec<Self> {
        let forks = self.lock().forks.as_mut().map(std::mem::take).unwrap_or_default();
        forks.into_iter().map(|state| Self { state: Arc::new(Mutex::new(state)) }).collect()
    }

    /// A copy of the disk as it is, with what is under way.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { state: Arc::new(Mutex::new(self.lock().fork())) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test thread that panicked must not hide the disk from the one that reports.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes and syncs done so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Calls of `sync` so far, those of directories not counted.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Files that are open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.lock().handles.len()
    }

    /// Turns the power off during the change or sync with this index (counted from zero):
    /// a write may still reach the disk, a sync does not. Everything later fails.
    pub fn cut_at(&self, operation: u64) {
        self.lock().cut_at = Some(operation);
    }

    /// Cuts the power now and gives it back: what was not synced is decided by `seed`, open
    /// files are closed.
    pub fn power_cycle(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        let state = &mut *self.lock();
        state.drop_queue(&mut dice);
        state.names.power_cut(&mut dice);
        for inode in state.inodes.values_mut() {
            inode.power_cut(&mut dice);
        }
        state.come_back();
    }

    /// Cuts the power now and gives it back: everything that was not synced is lost.
    pub fn lose_unsynced(&self) {
        let state = &mut *self.lock();
        state.queue.clear();
        state.names.lose_unsynced();
        for inode in state.inodes.values_mut() {
            inode.lose_unsynced();
        }
        state.come_back();
    }

    /// What a sync of the file would cover if it began now, for `sync_up_to`.
    pub(super) fn mark(&self, file: FileId) -> Result<u64, DiskError> {
        Ok(self.lock().inode("sync", file)?.mark())
    }

    /// A sync that began at `mark` ends.
    pub(super) fn sync_up_to(&self, file: FileId, mark: u64) -> Result<(), DiskError> {
        self.lock().inode("sync", file)?.sync_up_to(mark);
        Ok(())
    }

    /// The process is killed and another one starts: open files are closed, the kernel keeps
    /// what was written, synced or not. With `cut_at` before it, the process dies there.
    pub fn restart(&self) {
        let state = &mut *self.lock();
        let mut dice = Dice::new(state.operations);
        state.drop_queue(&mut dice);
        state.handles.clear();
        state.cut_at = None;
        state.is_off = false;
        state.faults.clear();
        state.drop_unused();
    }

    /// The `after`-th next call of this kind fails with EIO (zero: the very next).
    pub fn fail(&self, fault: Fault, after: u64) {
        self.lock().faults.push((fault, after));
    }

    /// What was to fail and has not yet will not.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Bytes the disk can hold from now on, counted in 4 KiB pages. A file is made only where a
    /// byte is left.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// From now on `free_space` says that there is plenty, as if another process took the space
    /// in the next moment.
    pub fn overstate_free_space(&self) {
        self.lock().overstates_space = true;
    }

    /// Bytes allocated, counted in 4 KiB pages.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Flips one bit at rest. False if the file has no such byte.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) -> bool {
        let state = &mut *self.lock();
        match state.names.file(path).and_then(|inode| state.inodes.get_mut(&inode)) {
            Some(inode) => inode.flip_bit(offset, bit),
            None => false,
        }
    }

    /// All bytes of a file as a reader sees them; `None` if there is no such file.
    #[must_use]
    pub fn file_bytes(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.inodes.get(&state.names.file(path)?)?;
        let mut bytes = vec![0_u8; usize::try_from(inode.live.len()).ok()?];
        inode.live.read(0, &mut bytes);
        Some(bytes)
    }

    /// Puts a durable file there, with the directories above it.
    pub fn plant(&self, path: &str, bytes: &[u8]) {
        let state = &mut *self.lock();
        let inode = state.fresh();
        state.inodes.insert(inode, Inode::durable_from(bytes));
        state.names.plant(path, inode);
    }

    /// Paths of all files, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.lock().names.paths()
    }
}

impl State {
    fn fork(&self) -> Self {
        Self {
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            handles: self.handles.clone(),
            next: self.next,
            operations: self.operations,
            capacity: self.capacity,
            queue: self.queue.fork(),
            ..Self::default()
        }
    }

    /// The power is back: no file is open.
    fn come_back(&mut self) {
        let linked = self.names.linked();
        self.inodes.retain(|inode, _| linked.contains(inode));
        self.handles.clear();
        self.cut_at = None;
        self.is_off = false;
        self.faults.clear();
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A file without a name takes space until it is closed.
    fn used(&self) -> u64 {
        let mut used = self.names.linked_now();
        used.extend(self.handles.values());
        let inodes = used.iter().filter_map(|inode| self.inodes.get(inode));
        inodes.map(|inode| inode.live.allocated()).sum()
    }

    /// Counts a change or sync. True if the power goes off during it.
    fn begin(&mut self, operation: &'static str, path: &str) -> Result<bool, DiskError> {
        self.check_power(operation, path)?;
        if self.forks.is_some() {
            let fork = self.fork();
            self.forks.get_or_insert_default().push(fork);
        }
        let index = self.operations;
        self.operations += 1;
        self.is_off = self.cut_at == Some(index);
        Ok(self.is_off)
    }

    fn check_power(&self, operation: &'static str, path: &str) -> Result<(), DiskError> {
        if self.is_off { Err(power_is_off(operation, path)) } else { Ok(()) }
    }

    /// Counts down the injected errors of this kind.
    fn hits(&mut self, kind: Fault) -> bool {
        let mut hit = false;
        self.faults.retain_mut(|(fault, after)| {
            if *fault != kind {
                return true;
            }
            if *after == 0 {
                hit = true;
                return false;
            }
            *after -= 1;
            true
        });
        hit
    }

    fn inode(&mut self, operation: &'static str, file: FileId) -> Result<&mut Inode, DiskError> {
        self.handles
            .get(&file)
            .and_then(|inode| self.inodes.get_mut(inode))
            .ok_or_else(|| DiskError::sort(operation, "(closed file)", Errno::BADF.into()))
    }

    /// Applies a change to the live bytes; `Full` before anything happened.
    fn change(
        &mut self,
        operation: &'static str,
        file: FileId,
        change: Change,
    ) -> Result<(), DiskError> {
        let path = format!("file {}", file.0);
        let goes_off = self.begin(operation, &path)?;
        self.check_capacity(operation, file, &change)?;
        self.inode(operation, file)?.change(change);
        if goes_off { Err(power_is_off(operation, &path)) } else { Ok(()) }
    }

    fn check_capacity(
        &mut self,
        operation: &'static str,
        file: FileId,
        change: &Change,
    ) -> Result<(), DiskError> {
        let grows = self.inode(operation, file)?.grows_by(change);
        if self.capacity.is_some_and(|capacity| grows > 0 && self.used() + grows > capacity) {
            return Err(DiskError::Full { operation, path: format!("file {}", file.0) });
        }
        Ok(())
    }

    /// Removes inodes that have neither a name nor a handle.
    fn drop_unused(&mut self) {
        let linked = self.names.linked();
        let handles = &self.handles;
        self.inodes.retain(|inode, _| {
            linked.contains(inode) || handles.values().any(|open| open == inode)
        });
    }
}

fn power_is_off(operation: &'static str, path: &str) -> DiskError {
    DiskError::Io { operation, path: path.to_owned(), source: io::Error::other("power is off") }
}

fn io_error(operation: &'static str, path: &str) -> DiskError {
    DiskError::sort(operation, path, Errno::IO.into())
}

impl Disk for FakeDisk {
    fn create(&mut self, path: &str) -> Result<FileId, DiskError> {
        let state = &mut *self.lock();
        let goes_off = state.begin("create", path)?;
        if state.capacity.is_some_and(|capacity| state.used() >= capacity) {
            return Err(DiskError::Full { operation: "create", path: path.to_owned() });
        }
        let inode = state.fresh();
        state.names.create("create", path, Node::File(inode))?;
        state.inodes.insert(inode, Inode::default());
        if goes_off {
            return Err(power_is_off("create", path));
        }
        let file = FileId(state.fresh());
        state.handles.insert(file, inode);
        Ok(file)
    }

    fn open(&mut self, path: &str) -> Result<FileId, DiskError> {
        let state = &mut *self.lock();
        state.check_power("open", path)?;
        let Some(inode) = state.names.file(path) else {
            return Err(DiskError::NotFound { operation: "open", path: path.to_owned() });
        };
        let file = FileId(state.fresh());
        state.handles.insert(file, inode);
        Ok(file)
    }

    fn close(&mut self, file: FileId) {
        let state = &mut *self.lock();
        state.handles.remove(&file);
        state.drop_unused();
    }

    fn read_at(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError> {
        let state = &mut *self.lock();
        state.check_power("read", "")?;
        if state.hits(Fault::Read) {
            return Err(io_error("read", &format!("file {}", file.0)));
        }
        Ok(state.inode("read", file)?.live.read(offset, bytes))
    }

    fn write_at(&mut self, file: FileId, offset: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let state = &mut *self.lock();
        if state.hits(Fault::Write) {
            state.begin("write", "")?;
            return Err(io_error("write", &format!("file {}", file.0)));
        }
        state.change("write", file, Change::Write { offset, bytes: parts.concat().into() })
    }

    fn allocate(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), DiskError> {
        self.lock().change("allocate", file, Change::Allocate { offset, len })
    }

    fn punch_hole(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), DiskError> {
        self.lock().change("punch", file, Change::Punch { offset, len })
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        let state = &mut *self.lock();
        state.check_power("stat", "")?;
        Ok(state.inode("stat", file)?.live.len())
    }

    fn set_len(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.lock().change("truncate", file, Change::SetLen { len })
    }

    fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        let state = &mut *self.lock();
        if state.begin("sync", "")? {
            return Err(power_is_off("sync", ""));
        }
        state.syncs += 1;
        let fails = state.hits(Fault::Sync);
        let inode = state.inode("sync", file)?;
        if fails {
            inode.fail_sync();
            return Err(io_error("sync", &format!("file {}", file.0)));
        }
        inode.sync();
        Ok(())
    }

    fn sync_dir(&mut self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.lock();
        if state.begin("sync directory", path)? {
            return Err(power_is_off("sync directory", path));
        }
        if state.hits(Fault::Sync) {
            return Err(io_error("sync directory", path));
        }
        state.names.sync("sync directory", path)
    }

    fn create_dir(&mut self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.lock();
        let goes_off = state.begin("make directory", path)?;
        state.names.create_dir(path)?;
        if goes_off { Err(power_is_off("make directory", path)) } else { Ok(()) }
    }

    fn list(&mut self, path: &str) -> Result<Vec<Entry>, DiskError> {
        let state = &mut *self.lock();
        state.check_power("list", path)?;
        state.names.list(path)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let state = &mut *self.lock();
        let goes_off = state.begin("rename", from)?;
        state.names.rename(from, to)?;
        state.drop_unused();
        if goes_off { Err(power_is_off("rename", from)) } else { Ok(()) }
    }

    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        let state = &mut *self.lock();
        let goes_off = state.begin("remove", path)?;
        state.names.remove(path)?;
        state.drop_unused();
        if goes_off { Err(power_is_off("remove", path)) } else { Ok(()) }
    }

    fn free_space(&mut self) -> Result<u64, DiskError> {
        let state = &mut *self.lock();
        state.check_power("stat file system", "")?;
        let used = state.used();
        let capacity = state.capacity.filter(|_| !state.overstates_space);
        Ok(capacity.map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(used)))
    }

    fn submit(&mut self, ticket: Ticket, operation: Operation) {
        self.lock().queue.push(ticket, operation);
    }

    fn reap(&mut self, wait: bool, ended: &mut Vec<Ended>) {
        self.reap_queue(wait, ended);
    }

    fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
