//! `/v1/node/disks`: the disks of this sheep.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use sheepdog_client::admin::types::{Disk, DiskState, Warning};
use sheepdog_store::DiskState as Entry;

use super::failure::AdminError;
use super::{Admin, Handler};
use crate::disks::DiskView;
use crate::start::disk_bytes;

pub(super) async fn list(State(admin): Handler) -> Result<Json<Vec<Disk>>, AdminError> {
    Ok(Json(admin.list_disks().await?))
}

impl Admin {
    /// The disks, by their slot.
    pub(super) async fn list_disks(&self) -> Result<Vec<Disk>, AdminError> {
        let used = self.used_by_slot().await?;
        let views = self.disks.borrow().clone();
        Ok(views.iter().map(|view| self.describe(view, &used)).collect())
    }

    /// Bytes of objects on each disk.
    async fn used_by_slot(&self) -> Result<BTreeMap<u8, u64>, AdminError> {
        let mut used = BTreeMap::new();
        for shard in 0..self.shared.shards.len() {
            let part = self
                .on_shard(shard, |shard, tell| {
                    tokio::task::spawn_local(async move {
                        let _ = tell.send(shard.used_by_slot().await);
                    });
                })
                .await?;
            for (slot, bytes) in part {
                *used.entry(slot).or_default() += bytes;
            }
        }
        Ok(used)
    }

    /// Where a disk is.
    pub(super) fn path_of(&self, view: &DiskView) -> String {
        let own = view.entry.path.as_os_str().is_empty();
        let path = if own { &self.directory } else { &view.entry.path };
        path.display().to_string()
    }

    fn describe(&self, view: &DiskView, used: &BTreeMap<u8, u64>) -> Disk {
        let path = self.path_of(view);
        // The file system of a disk that failed is asked nothing: it may never answer.
        let space = view.failure.is_none().then(|| disk_bytes(path.as_ref()));
        let available = space.and_then(Result::ok).map_or(0, |(_, available)| available);
        let used = used.get(&view.slot).copied().unwrap_or_default();
        let state = match (&view.failure, view.entry.state) {
            (Some(_), _) | (None, Entry::Failed) => DiskState::Failed,
            (None, Entry::Leaving) => DiskState::Leaving,
            (None, Entry::InUse) => DiskState::Ok,
        };
        Disk {
            id: view.slot,
            path,
            uuid: format!("{:032x}", view.entry.uuid),
            size: used + available,
            used,
            available,
            weight: view.entry.weight,
            buckets: view.buckets as u32,
            moving: view.moving as u32,
            state,
            reason: reason(view),
        }
    }

    /// Bytes that are free on all disks that can be used.
    pub(super) fn available_bytes(&self) -> u64 {
        let views = self.disks.borrow().clone();
        let working = views.iter().filter(|view| view.failure.is_none());
        let bytes = working.filter_map(|view| disk_bytes(self.path_of(view).as_ref()).ok());
        bytes.map(|(_, available)| available).sum()
    }

    /// What the operator should know of this sheep's disks.
    pub(super) fn disk_warnings(&self) -> Vec<Warning> {
        let views = self.disks.borrow().clone();
        let failed = views.iter().filter_map(|view| Some((view, reason(view)?)));
        let warning = |(view, why): (&DiskView, String)| {
            let path = self.path_of(view);
            let action = if view.stuck > 0 {
                format!(
                    "Bring {path} back as it was and start this sheep again: nothing is lost while \
                     that disk exists."
                )
            } else {
                "Its buckets went to this sheep's other disks; copies that are complete are on \
                 other sheep. Do not empty the disk while one of them is down."
                    .to_owned()
            };
            let node = self.shared.me.node;
            Warning { message: format!("Disk {path} of node {node}: {why}."), action }
        };
        failed.map(warning).collect()
    }
}

fn reason(view: &DiskView) -> Option<String> {
    match (&view.failure, view.stuck) {
        (Some(why), 0) => Some(why.clone()),
        (Some(why), stuck) => Some(format!(
            "{why}; it has the last complete copies of {stuck} placement groups, which wait for it"
        )),
        (None, _) if view.entry.state == Entry::Failed => {
            Some("it failed before, and can be read again".to_owned())
        }
        (None, _) => None,
    }
}
