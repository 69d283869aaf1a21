//! `/v1/node/disks`: the disks of this sheep.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use sheepdog_client::admin::types::{Disk, DiskRequest, DiskState, ErrorCode, Warning};
use sheepdog_store::DiskState as Entry;
use tokio::sync::oneshot;

use super::failure::AdminError;
use super::{Admin, Handler};
use crate::disks::DiskView;
use crate::disks::store::reserve_bytes;
use crate::shared::{DiskEvent, DiskReply};
use crate::start::disk_bytes;

pub(super) async fn list(State(admin): Handler) -> Result<Json<Vec<Disk>>, AdminError> {
    Ok(Json(admin.list_disks().await?))
}

/// Puts a disk in.
pub(super) async fn plug(
    State(admin): Handler,
    Json(request): Json<DiskRequest>,
) -> Result<(), AdminError> {
    let path = absolute(&request)?;
    admin.order_disk(|reply| DiskEvent::Plug { path, reply }).await
}

/// Begins to take a disk out.
pub(super) async fn unplug(
    State(admin): Handler,
    Json(request): Json<DiskRequest>,
) -> Result<(), AdminError> {
    let path = absolute(&request)?;
    admin.check_room_without(&request.path).await?;
    admin.order_disk(|reply| DiskEvent::Unplug { path, reply }).await
}

fn absolute(request: &DiskRequest) -> Result<PathBuf, AdminError> {
    let path = PathBuf::from(&request.path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(AdminError::new(ErrorCode::Invalid, format!("{} is no absolute path", request.path))
        .hint("give the whole path of a directory on the sheep's host, from /"))
}

impl Admin {
    async fn order_disk(
        &self,
        event: impl FnOnce(DiskReply) -> DiskEvent,
    ) -> Result<(), AdminError> {
        let (reply, answer) = oneshot::channel();
        self.shared.tell_disks(event(reply));
        answer.await.map_err(|_| AdminError::stopping())?.map_err(AdminError)
    }

    /// The other disks must have room for what is on one that shall leave.
    async fn check_room_without(&self, path: &str) -> Result<(), AdminError> {
        let disks = self.list_disks().await?;
        let used: u64 = disks.iter().filter(|disk| disk.path == path).map(|disk| disk.used).sum();
        let stays = |disk: &&Disk| disk.path != path && disk.state == DiskState::Ok;
        let room = |disk: &Disk| disk.available.saturating_sub(reserve_bytes(disk.weight));
        let available: u64 = disks.iter().filter(stays).map(room).sum();
        if used == 0 || used < available {
            return Ok(());
        }
        let why =
            format!("{used} bytes are on it, and {available} are free for it on the other disks");
        Err(AdminError::new(ErrorCode::NoSpace, why)
            .hint("put in another disk with `dog node md plug DIR` first"))
    }

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
        let answers = view.failure.is_none() && view.rest.is_none();
        let space = answers.then(|| disk_bytes(path.as_ref()));
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
        let answers = |view: &&DiskView| view.failure.is_none() && view.rest.is_none();
        let working = views.iter().filter(answers);
        let bytes = working.filter_map(|view| disk_bytes(self.path_of(view).as_ref()).ok());
        bytes.map(|(_, available)| available).sum()
    }

    /// What the operator should know of this sheep's disks.
    pub(super) fn disk_warnings(&self) -> Vec<Warning> {
        let views = self.disks.borrow().clone();
        let is_bad = |view: &&DiskView| {
            view.failure.is_some() || view.rest.is_some() || view.entry.state == Entry::Failed
        };
        let failed = views.iter().filter(is_bad).filter_map(|view| Some((view, reason(view)?)));
        let warning = |(view, why): (&DiskView, String)| {
            let path = self.path_of(view);
            let action = if view.stuck > 0 {
                format!(
                    "Bring {path} back as it was and start this sheep again: nothing is lost while \
                     that disk exists."
                )
            } else if view.rest.is_some() && view.failure.is_none() {
                format!(
                    "It takes part again by itself. If this comes again, look at the disk, and \
                     replace it: `dog node md plug DIR`, then `dog node md unplug {path}`."
                )
            } else {
                format!(
                    "Take it out with `dog node md unplug {path}`, and put in an empty one with \
                     `dog node md plug DIR`."
                )
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
        (None, _) => view.rest.clone().or_else(|| view.hindrance.clone()),
    }
}
