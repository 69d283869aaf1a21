//! Readiness: which groups of a VDI the attachment may serve.
//!
//! Why: a member that is lost without an `Act` may hold an operation of an older generation that
//!      nobody else knows. Only its groups wait for it, the rest of the VDI works.
//! Way: pieces that need a group that is not ready are parked; `refresh_ready` wakes them.
//! Holds:
//!   RECONCILE-FIRST  a group becomes ready when every member of its in-sync set is alive and has
//!                    listed its operations, and all that were listed are settled;
//!   G1               ready once, ready for good: whoever is lost and returns without an `Act` was
//!                    there when the group became ready, so what it lists of older generations is
//!                    settled already; whoever joins has fetched what the others have.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{Oid, Partition, PgId};

use super::attachment::Attachment;
use super::{Context, Place};
use crate::state::Group;

/// The groups of one attachment.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// By partition; empty until the barrier is over.
    ready: Vec<bool>,
    /// How many are not.
    left: usize,
    /// Pieces that wait for a group.
    parked: BTreeMap<Partition, Vec<u64>>,
}

impl Ready {
    pub(super) fn new(groups: usize) -> Self {
        Self { ready: vec![false; groups], left: groups, parked: BTreeMap::new() }
    }

    pub(super) fn has(&self, pg: PgId) -> bool {
        self.ready.get(usize::from(pg.partition.0)).copied().unwrap_or(false)
    }
}

impl Attachment {
    /// True if the group of `oid` is ready; otherwise the piece runs again when it is.
    pub(super) fn is_ready_for(&mut self, context: &mut Context, oid: Oid, piece: u64) -> bool {
        let state = context.state.clone();
        let Some((pg, group)) = state.group_of(oid) else { return false };
        if self.ready.has(pg) {
            return true;
        }
        self.ready.parked.entry(pg.partition).or_default().push(piece);
        match context.check_fit(pg, group) {
            Ok(()) => context.waits.attach += 1,
            Err(why) => context.count(why),
        }
        false
    }

    /// Every member of the in-sync set is alive and has listed what it holds.
    pub(super) fn is_complete(&self, context: &Context, pg: PgId, group: &Group) -> bool {
        !group.in_sync.is_empty()
            && group.in_sync.iter().all(|node| {
                let member = context.state.members.get(*node).filter(|member| member.up);
                member.is_some_and(|m| self.is_listed(Place { node: *node, shard: m.shard_of(pg) }))
            })
    }

    /// Looks which groups have become ready, and asks the log about those that are waited for.
    pub(super) fn refresh_ready(&mut self, context: &mut Context) {
        if self.ready.left == 0 {
            return;
        }
        let state = context.state.clone();
        let Some(vdi) = state.catalogue.get(self.vid) else { return };
        let unsettled: BTreeSet<PgId> = self.reconcile.unsettled(&state).collect();
        for partition in 0..self.ready.ready.len() {
            let pg = PgId { policy: vdi.policy, partition: Partition(partition as u16) };
            let Some(group) = state.group(pg) else { continue };
            if !self.ready.has(pg)
                && !unsettled.contains(&pg)
                && self.is_complete(context, pg, group)
            {
                self.make_ready(pg);
            }
        }
        for partition in self.ready.parked.keys() {
            let pg = PgId { policy: vdi.policy, partition: *partition };
            if let Some(group) = state.group(pg) {
                let _ = context.check_fit(pg, group); // for the `Act` that it may ask for
            }
        }
    }

    /// An object of the group was settled, perhaps the last one.
    pub(super) fn refresh_group(&mut self, context: &Context, oid: Oid) {
        let state = context.state.clone();
        let Some((pg, group)) = state.group_of(oid) else { return };
        if !self.ready.has(pg)
            && !self.reconcile.unsettled(&state).any(|unsettled| unsettled == pg)
            && self.is_complete(context, pg, group)
        {
            self.make_ready(pg);
        }
    }

    fn make_ready(&mut self, pg: PgId) {
        self.ready.ready[usize::from(pg.partition.0)] = true;
        self.ready.left -= 1;
        self.runnable.extend(self.ready.parked.remove(&pg.partition).unwrap_or_default());
    }
}
