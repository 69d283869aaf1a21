//! What a shard does about its sheep's disks when it is told to.
//!
//! Holds: DO1 orders are taken in the order in which the control thread gave them.

use std::rc::Rc;

use sheepdog_proto::Vid;

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
}

impl Shard {
    pub(super) fn take_disk_order(self: &Rc<Self>, order: DiskOrder) {
        match order {
            DiskOrder::Fail { slot, why } => {
                if let Some(link) = self.stores.link(slot) {
                    link.fail(failure(&why));
                }
            }
            DiskOrder::Table(buckets) => self.stores.set_buckets(*buckets),
        }
    }

    /// Whether changes of a VDI may be on a disk that cannot be asked (D2).
    pub(super) fn cannot_list(&self, vid: Vid) -> bool {
        if !self.stores.has_failures() {
            return false;
        }
        let state = self.state();
        let Some(vdi) = state.catalogue.get_used(vid) else { return false };
        let groups =
            group::in_sync(&state, self.shared.me.node, |bucket| self.stores.lacks(bucket));
        groups.iter().any(|pg| pg.policy == vdi.policy)
    }
}
