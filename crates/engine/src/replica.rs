//! The replica: what a member of a group does with a gateway's request.
//!
//! Holds:
//!   FENCE  a request of an older generation than the log knows is refused, reads included;
//!   VIEW   a request under an older view is refused; one under a newer view, or of a newer
//!          generation, waits until this sheep has applied the log that far;
//!   R1     a member that is not in sync, by its own state, neither serves nor stores;
//!   R2     nor does a life that the log has ended, or has not begun yet.
//! Not here: stamps and bytes (store), who must acknowledge (gateway).

use sheepdog_proto::peer::{PeerError, Request, RequestBody};

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
        RequestBody::Barrier { .. } | RequestBody::Settle { .. } | RequestBody::Watermark => {
            Admission::Execute
        }
        RequestBody::Write { oid, .. }
        | RequestBody::Hole { oid, .. }
        | RequestBody::Reset { oid, .. }
        | RequestBody::Read { oid, .. } => {
            let Some((_, group)) = state.group_of(*oid) else {
                return Admission::Refuse(PeerError::StaleGeneration);
            };
            if request.view < group.view {
                Admission::Refuse(PeerError::StaleView(group.view)) // VIEW
            } else if request.view > group.view {
                Admission::Hold
            } else if group.in_sync.contains(&me.node) {
                Admission::Execute
            } else {
                NOT_IN_SYNC // R1
            }
        }
    }
}

#[cfg(test)]
#[path = "replica/tests.rs"]
mod tests;
