//! Putting disks in and taking them out while the sheep runs.
//!
//! Way: a new disk is made ready by a thread of its own, for it may be slow; then it is in the
//!      table, and buckets move to it. A disk that leaves loses its buckets first, then the shards
//!      let go of its stores, then it leaves the table, and last its stores are removed.
//! Holds:
//!   PL1 a disk is in the table before a bucket can be on it, and out of the table before anything
//!       on it is removed;
//!   PL2 a disk is let go only when it holds no bucket and no shard uses it;
//!   PL3 it is shown until this sheep has nothing open on it: then it can be unmounted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use sheepdog_client::admin::types::{ErrorCode, Failure};
use sheepdog_store::{DISKS_MAX, DiskDirectory, DiskEntry, DiskState, Store};
use tokio::sync::mpsc;

use super::moves::tell_all;
use super::store::{Owner, StoreSettings, entry, open_stores};
use super::{Disk, Disks};
use crate::shard::disk::DiskOrder;
use crate::shard::mail::Mail;
use crate::shared::{DiskEvent, DiskReply, Shared};

/// A disk that was made ready, or not, and who waits for it.
#[derive(Debug)]
pub(crate) struct Plugged {
    slot: u8,
    made: Result<(DiskDirectory, DiskEntry, Vec<Store>)>,
    reply: DiskReply,
}

impl Disks {
    /// What the operator or another thread says.
    ///
    /// # Errors
    /// If the table cannot be written, or the last disk failed.
    pub(crate) fn take(&mut self, event: DiskEvent, shared: &Arc<Shared>) -> Result<()> {
        match event {
            DiskEvent::Failed { slot, why } => self.note_failed(slot, why, shared)?,
            DiskEvent::Slow { slot } => self.note_slow(slot),
            DiskEvent::Copied { id, shard } => self.note_copied(id, shard, shared)?,
            DiskEvent::Hindered { id, slot, why } => self.note_hindered(id, (slot, why), shared),
            DiskEvent::Plug { path, reply } => self.plug(&path, reply, shared)?,
            DiskEvent::Plugged(plugged) => self.note_plugged(*plugged, shared)?,
            DiskEvent::Unplug { path, reply } => {
                let answer = self.unplug(&path, shared)?;
                let _ = reply.send(answer);
            }
            DiskEvent::Closed { slot } => self.note_closed(slot, shared)?,
            DiskEvent::Released { slot } => {
                self.releasing.remove(&slot);
                self.show();
            }
        }
        Ok(())
    }

    fn find(&self, path: &Path) -> Option<u8> {
        let own = if path == self.home.path() { Path::new("") } else { path };
        self.table.find_path(own)
    }

    fn plug(&mut self, path: &Path, reply: DiskReply, shared: &Arc<Shared>) -> Result<()> {
        if let Some(slot) = self.find(path) {
            let answer = self.stay(slot, path)?;
            let _ = reply.send(answer);
            return Ok(());
        }
        let is_free = |slot: &u8| !self.is_plugging && !self.releasing.contains_key(slot);
        let slot = self.table.free_slot().filter(is_free);
        let Some(slot) = slot else {
            let why =
                format!("another disk is being put in or let go, or there are {DISKS_MAX} already");
            let _ = reply.send(Err(refusal(ErrorCode::Invalid, why, "try again in a moment")));
            return Ok(());
        };
        self.is_plugging = true;
        let owner = Owner::new(&self.home, self.settings.shards())?;
        let (settings, count) = (self.settings.clone(), self.table.disks.len() + 1);
        let (path, shared) = (path.to_owned(), shared.clone());
        tokio::task::spawn_blocking(move || {
            let made = make(&settings, &owner, slot, count, &path);
            shared.tell_disks(DiskEvent::Plugged(Box::new(Plugged { slot, made, reply })));
        });
        Ok(())
    }

    /// A disk that was about to leave stays.
    fn stay(&mut self, slot: u8, path: &Path) -> Result<Result<(), Failure>> {
        let state = self.table.disks.get(&slot).map(|entry| entry.state);
        if state != Some(DiskState::Leaving) || self.closing.contains(&slot) {
            let why = format!("{} is a disk of this sheep already", path.display());
            return Ok(Err(refusal(ErrorCode::Exists, why, "see `dog node md info`")));
        }
        self.set_state(slot, DiskState::InUse)?;
        Ok(Ok(()))
    }

    fn set_state(&mut self, slot: u8, state: DiskState) -> Result<()> {
        let mut table = self.table.clone();
        if let Some(entry) = table.disks.get_mut(&slot) {
            entry.state = state;
        }
        self.save(table)
    }

    fn note_plugged(&mut self, plugged: Plugged, shared: &Arc<Shared>) -> Result<()> {
        self.is_plugging = false;
        let Plugged { slot, made, reply } = plugged;
        let (directory, entry, stores) = match made {
            Ok(made) => made,
            Err(error) => {
                let hint = "give an empty directory on a file system of its own";
                let failure = refusal(ErrorCode::Invalid, format!("{error:#}"), hint);
                let _ = reply.send(Err(failure));
                return Ok(());
            }
        };
        let mut table = self.table.clone();
        table.disks.insert(slot, entry);
        self.save(table)?; // PL1
        let disk = Disk { directory: Some(directory), failure: None, watched: Arc::default() };
        disk.watch(slot, shared);
        self.disks.insert(slot, disk);
        for (shard, store) in stores.into_iter().enumerate() {
            let store = Box::new(store);
            shared.mail(shard, Mail::Disk(DiskOrder::Add { slot, store }));
        }
        let _ = reply.send(Ok(()));
        Ok(())
    }

    fn unplug(&mut self, path: &Path, shared: &Shared) -> Result<Result<(), Failure>> {
        let Some(slot) = self.find(path) else {
            let why = format!("{} is no disk of this sheep", path.display());
            return Ok(Err(refusal(ErrorCode::NotFound, why, "see `dog node md info`")));
        };
        let others = self.table.disks.iter().filter(|(other, entry)| {
            **other != slot && entry.state == DiskState::InUse && self.works(**other)
        });
        if others.count() == 0 {
            let why = "it is the last disk of this sheep that can be used";
            let hint = "put in another one with `dog node md plug DIR` first";
            return Ok(Err(refusal(ErrorCode::Invalid, why.to_owned(), hint)));
        }
        let holds_any = self.table.buckets_of(slot).next().is_some();
        if !self.works(slot) && holds_any {
            let why = "it failed, and the cluster still needs what is on it";
            let hint = "bring it back as it was, or wait until others have complete copies";
            return Ok(Err(refusal(ErrorCode::Invalid, why.to_owned(), hint)));
        }
        if self.works(slot) {
            self.set_state(slot, DiskState::Leaving)?;
        } else {
            // What is on it stays there: nobody knows what it is still good for.
            self.forget_disk(slot)?;
            let (closed, _) = mpsc::unbounded_channel::<()>();
            tell_all(shared, || DiskOrder::Close { slot, closed: closed.clone() });
        }
        Ok(Ok(()))
    }

    /// Takes a disk out of the table.
    fn forget_disk(&mut self, slot: u8) -> Result<Option<Disk>> {
        let mut table = self.table.clone();
        table.disks.remove(&slot);
        let disk = self.disks.remove(&slot);
        self.save(table)?;
        Ok(disk)
    }

    /// Lets the shards close what holds nothing any more and shall leave (PL2).
    pub(super) fn close_empty(&mut self, shared: &Arc<Shared>) {
        let leaving = self.table.disks.iter().filter(|(slot, entry)| {
            entry.state == DiskState::Leaving
                && self.works(**slot)
                && !self.closing.contains(slot)
                && !self.moves.uses(**slot)
                && self.table.buckets_of(**slot).next().is_none()
        });
        for slot in leaving.map(|(slot, _)| *slot).collect::<Vec<_>>() {
            self.closing.insert(slot);
            let (closed, mut all_closed) = mpsc::unbounded_channel::<()>();
            tell_all(shared, || DiskOrder::Close { slot, closed: closed.clone() });
            let shared = shared.clone();
            tokio::spawn(async move {
                while all_closed.recv().await.is_some() {}
                shared.tell_disks(DiskEvent::Closed { slot });
            });
        }
    }

    fn note_closed(&mut self, slot: u8, shared: &Arc<Shared>) -> Result<()> {
        self.closing.remove(&slot);
        let path = PathBuf::from(self.path(slot));
        // PL3
        let entry = self.table.disks.get(&slot).cloned();
        self.releasing.extend(entry.map(|entry| (slot, entry)));
        let Some(disk) = self.forget_disk(slot)? else { return Ok(()) }; // PL1
        let shared = shared.clone();
        tokio::task::spawn_blocking(move || {
            let released = disk.directory.map_or(Ok(()), DiskDirectory::release);
            match released.context("a disk that was taken out") {
                Ok(()) => tracing::info!(path = %path.display(), "disk taken out"),
                Err(error) => tracing::warn!(path = %path.display(), "{error:#}"),
            }
            shared.tell_disks(DiskEvent::Released { slot });
        });
        Ok(())
    }
}

/// Makes an empty directory a disk with stores. One that cannot have them is let go again.
fn make(
    settings: &StoreSettings,
    owner: &Owner,
    slot: u8,
    count: usize,
    path: &Path,
) -> Result<(DiskDirectory, DiskEntry, Vec<Store>)> {
    let mut directory = DiskDirectory::create(path, owner.node, false)?;
    let made = entry(&directory).and_then(|entry| {
        Ok((entry, open_stores(settings, owner, (slot, &mut directory), count, false)?))
    });
    match made {
        Ok((entry, stores)) => Ok((directory, entry, stores)),
        Err(error) => {
            directory.release().with_context(|| format!("after {error:#}"))?;
            Err(error)
        }
    }
}

fn refusal(code: ErrorCode, message: String, hint: &str) -> Failure {
    Failure { code, message, hint: Some(hint.to_owned()), holder: None }
}
