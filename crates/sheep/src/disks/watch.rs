//! Watching a disk: a directory that is gone is noticed within seconds.
//!
//! Why: files that are open can still be written when their directory is gone; what is written to
//!      them is lost at the next start.
//! Way: a thread for each disk, so that one that does not answer holds up nobody.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sheepdog_store::DiskDirectory;

use super::Disk;
use crate::shared::Shared;

const PERIOD: Duration = Duration::from_secs(1);

impl Disk {
    /// Begins to watch, until the disk fails or is let go.
    pub(super) fn watch(&self, slot: u8, shared: &Arc<Shared>) {
        let Some(directory) = self.directory.as_ref().filter(|directory| !directory.is_home())
        else {
            return;
        };
        let (path, uuid) = (directory.path().to_owned(), directory.uuid());
        let (watched, shared) = (Arc::downgrade(&self.watched), shared.clone());
        let spawned = std::thread::Builder::new().name(format!("disk-{slot}")).spawn(move || {
            if let Some(why) = wait_until_gone(&watched, &path, uuid) {
                shared.tell_disk_failed(slot, why);
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, slot, "disk is not watched");
        }
    }
}

fn wait_until_gone(watched: &Weak<()>, path: &Path, uuid: u128) -> Option<String> {
    loop {
        std::thread::sleep(PERIOD);
        watched.upgrade()?;
        if let Err(why) = DiskDirectory::look(path, uuid) {
            watched.upgrade()?;
            return Some(why.to_string());
        }
    }
}
