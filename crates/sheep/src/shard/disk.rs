//! What a shard does about its sheep's disks when it is told to.
//!
//! Holds: DO1 orders are taken in the order in which the control thread gave them.

use std::rc::Rc;

use sheepdog_proto::Vid;
use sheepdog_store::Store;
use tokio::sync::mpsc;

use super::Shard;
use super::store_link::failure;
use super::stores::Buckets;
use crate::disks::group;

/// One order.
pub(crate) enum DiskOrder {
    /// Use this disk no more.
    Fail { slot: u8, why: String },
    /// Another table is in force.
    Table(Box<Buckets>),
    /// There is another disk.
    Add { slot: u8, store: Box<Store> },
    /// The disk, which holds nothing, is let go. The sender is dropped when it is.
    Close { slot: u8, closed: mpsc::UnboundedSender<()> },
    /// Copy a bucket to another disk, and from now on keep both equal.
    Move(MoveOrder),
    /// Leave the bucket where it is.
    Stay { id: u64 },
}

/// A bucket that shall be on another disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MoveOrder {
    /// Of this attempt.
    pub(crate) id: u64,
    pub(crate) bucket: u8,
    pub(crate) from: u8,
    pub(crate) to: u8,
}

impl Shard {
    pub(super) fn take_disk_order(self: &Rc<Self>, order: DiskOrder) {
        match order {
            DiskOrder::Fail { slot, why } => {
                if let Some(link) = self.stores.link(slot) {
                    link.fail(failure(&why));
                }
            }
            DiskOrder::Table(buckets) => {
                self.stores.set_buckets(*buckets);
                self.end_move();
            }
            DiskOrder::Add { slot, store } => {
                let link = self.stores.insert(slot, *store);
                tokio::task::spawn_local(self.clone().drive_store(link));
            }
            DiskOrder::Close { slot, closed } => {
                let Some(link) = self.stores.remove(slot) else { return };
                tokio::task::spawn_local(async move {
                    link.close().await;
                    drop(closed);
                });
            }
            DiskOrder::Move(order) => {
                tokio::task::spawn_local(self.clone().move_bucket(order));
            }
            DiskOrder::Stay { id } => self.stores.stay(id),
        }
    }

    /// Whether changes of a VDI may be on a disk that cannot be asked (D2).
    pub(super) fn cannot_list(&self, vid: Vid) -> bool {
        if !self.stores.has_failures() {
            return false;
        }
        let state = self.state();
        let Some(vdi) = state.catalogue.get_used(vid) else { return false };
        let groups = group::taken(&state, self.shared.me.node, |bucket| self.stores.lacks(bucket));
        groups.iter().any(|pg| pg.policy == vdi.policy)
    }
}
