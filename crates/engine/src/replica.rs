//! The replica: what a member of a group does with a gateway's request.
//!
//! Holds:
//!   FENCE  a request of an older generation than the log knows is refused, reads included;
//!   VIEW   a request under an older view is refused; one under a newer view, or of a newer
//!          generation, waits until this sheep has applied the log that far;
//!   R1     by its own state, a member that is not in sync serves nothing, and one that does not
//!          join either stores nothing;
//!   JOIN-GATE  a member that joins fetches only from one that is in sync and has followed the log
//!          to where the joiner takes every change;
//!   R2     nor does a life that the log has ended, or has not begun yet.
//! Not here: stamps and bytes (store), who must acknowledge (gateway).

use sheepdog_proto::peer::{PeerError, Request, RequestBody};
use sheepdog_proto::{NodeId, Oid, Partition, PgId};

use crate::gateway::Me;
use crate::state::ClusterState;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Give it to the store.
    Execute,
    /// Look again after the next log entry.
    Hold,
    /// Answer this.
    Refuse(PeerError),
}

const NOT_IN_SYNC: Admission = Admission::Refuse(PeerError::NotInSync);

/// Decides about one request, from nothing but the request and the state of the log.
#[must_use]
pub fn admit(me: Me, state: &ClusterState, request: &Request) -> Admission {
    match state.members.get(me.node) {
        Some(member) if member.incarnation > me.incarnation => return NOT_IN_SYNC, // R2
        Some(member) if member.incarnation == me.incarnation && !member.up => return NOT_IN_SYNC,
        Some(member) if member.incarnation == me.incarnation => {}
        _ => return Admission::Hold,
    }
    match &request.body {
        RequestBody::List { index, policy, partitions, .. } => {
            let pg = |partition: &Partition| PgId { policy: *policy, partition: *partition };
            return admit_pull(me, state, *index, partitions.iter().map(pg));
        }
        RequestBody::Pull { index, oid, .. } => {
            let pg = state.group_of(*oid).map(|(pg, _)| pg);
            return admit_pull(me, state, *index, pg.into_iter());
        }
        RequestBody::Look { .. } => return Admission::Execute, // no owner's
        _ => {}
    }
    let Some(vdi) = state.catalogue.get_used(request.vid) else {
        // The VDI was made by an entry that has not come yet.
        return Admission::Hold;
    };
    if request.generation < vdi.generation {
        return Admission::Refuse(PeerError::StaleGeneration); // FENCE
    }
    if request.generation > vdi.generation {
        return Admission::Hold;
    }
    match &request.body {
        RequestBody::Barrier { index } if state.index.0 < *index => Admission::Hold,
        RequestBody::Barrier { .. }
        | RequestBody::Settle { .. }
        | RequestBody::Watermark
        | RequestBody::Ping
        | RequestBody::Heal { .. }
        | RequestBody::Look { .. }
        | RequestBody::List { .. }
        | RequestBody::Pull { .. } => Admission::Execute,
        RequestBody::Write { oid, .. }
        | RequestBody::Hole { oid, .. }
        | RequestBody::Reset { oid, .. }
        | RequestBody::Read { oid, .. } => {
            let is_read = matches!(request.body, RequestBody::Read { .. });
            let Some((_, group)) = state.group_of(*oid) else {
                return Admission::Refuse(PeerError::StaleGeneration);
            };
            if request.view < group.view {
                Admission::Refuse(PeerError::StaleView(group.view)) // VIEW
            } else if request.view > group.view {
                Admission::Hold
            } else if group.in_sync.contains(&me.node) || !is_read && group.takes(me.node) {
                Admission::Execute
            } else {
                NOT_IN_SYNC // R1
            }
        }
    }
}

/// Whether a member's list of what may not be everywhere says something about an object: it must
/// take the changes of the object's group when it is asked. What it holds of other groups is of
/// earlier times, and is taken back before they are joined.
#[must_use]
pub fn lists(me: NodeId, state: &ClusterState, oid: Oid) -> bool {
    state.group_of(oid).is_some_and(|(_, group)| group.takes(me))
}

/// Whether a change is to be refused with `Missing` if the object does not exist here. What an
/// in-sync member does not have does not exist (INSYNC-COMPLETE); one that joins may not have it
/// yet.
#[must_use]
pub fn must_exist(me: NodeId, state: &ClusterState, body: &RequestBody) -> bool {
    match body {
        RequestBody::Write { oid, must_exist: true, .. }
        | RequestBody::Hole { oid, must_exist: true, .. } => {
            state.group_of(*oid).is_some_and(|(_, group)| group.in_sync.contains(&me))
        }
        _ => false,
    }
}

/// JOIN-GATE.
fn admit_pull(
    me: Me,
    state: &ClusterState,
    index: u64,
    mut groups: impl Iterator<Item = PgId>,
) -> Admission {
    if state.index.0 < index {
        return Admission::Hold;
    }
    let is_in_sync = |pg| state.group(pg).is_some_and(|group| group.in_sync.contains(&me.node));
    if groups.all(is_in_sync) { Admission::Execute } else { NOT_IN_SYNC }
}

#[cfg(test)]
#[path = "replica/tests.rs"]
mod tests;
