//! The barrier: every shard of every living member must have applied the grant, and list what it
//! holds of older generations, before the attachment serves anything.
//!
//! Way: asked at the grant, and again from each life that joins later (a member that was away
//!      without an `Act` may hold an operation that nobody else knows), and from each member that
//!      has come in sync: it may have fetched what was unstable and is settled meanwhile.
//! Holds:
//!   FENCE  a member that has answered refuses older generations from then on;
//!   B1     only the answer of the life that was asked counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use sheepdog_proto::peer::{Reply, ReplyBody, RequestBody};
use sheepdog_proto::{Incarnation, NodeId, View};

use super::attachment::Attachment;
use super::{Context, Place, Purpose, request};
use crate::state::Group;

/// How far one shard of one member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Asked by this request, not answered.
    Asked(u64),
    /// Refused: to be asked again.
    Refused,
    /// Its operations are known.
    Listed,
}

/// One shard of one member, in one life.
#[derive(Debug)]
pub(super) struct Peer {
    life: Incarnation,
    progress: Progress,
}

impl Attachment {
    /// Forgets lives that ended and asks those that are new.
    pub(super) fn refresh_peers(&mut self, context: &mut Context) {
        let state = context.state.clone();
        let mut ended = Vec::new();
        self.peers.retain(|place, peer| {
            let lives =
                state.members.get(place.node).is_some_and(|m| m.up && m.incarnation == peer.life);
            if !lives {
                ended.push((*place, peer.progress));
            }
            lives
        });
        for (place, progress) in ended {
            if let Progress::Asked(id) = progress {
                context.outstanding.remove(&id); // B1
            }
            self.unlisted -= usize::from(progress != Progress::Listed);
            self.forget_told(place);
        }
        for member in state.members.up() {
            for shard in 0..member.shards {
                let place = Place { node: member.node, shard };
                if !self.peers.contains_key(&place) {
                    let progress = Progress::Asked(self.ask(context, place));
                    self.peers.insert(place, Peer { life: member.incarnation, progress });
                    self.unlisted += 1;
                }
            }
        }
    }

    /// Asks members that have come in sync since the last state.
    pub(super) fn list_joined(&mut self, context: &mut Context) {
        let state = context.state.clone();
        let Some(vdi) = state.catalogue.get(self.vid) else { return };
        let Some(policy) = state.policies.get(usize::from(vdi.policy.0)) else { return };
        let before = std::mem::replace(&mut self.groups, policy.groups.clone());
        if Arc::ptr_eq(&before, &self.groups) {
            return;
        }
        let came = |(then, now): (&Group, &Group)| {
            let then = then.in_sync.clone();
            now.in_sync.clone().into_iter().filter(move |node| !then.contains(node))
        };
        let joined: BTreeSet<NodeId> =
            before.iter().zip(self.groups.iter()).flat_map(came).collect();
        let is_due = |(place, peer): &(&Place, &Peer)| {
            joined.contains(&place.node) && peer.progress == Progress::Listed
        };
        let places: Vec<Place> = self.peers.iter().filter(is_due).map(|(p, _)| *p).collect();
        for place in places {
            let progress = Progress::Asked(self.ask(context, place));
            if let Some(peer) = self.peers.get_mut(&place) {
                peer.progress = progress;
                self.unlisted += 1;
            }
        }
    }

    /// Asks again a place whose answer may be lost.
    pub(super) fn resend_barrier(&mut self, context: &mut Context, place: Place) {
        let Some(Progress::Asked(id)) = self.peers.get(&place).map(|peer| peer.progress) else {
            return;
        };
        context.outstanding.remove(&id);
        let progress = Progress::Asked(self.ask(context, place));
        if let Some(peer) = self.peers.get_mut(&place) {
            peer.progress = progress;
        }
    }

    /// Asks again whoever refused.
    pub(super) fn retry_barriers(&mut self, context: &mut Context) {
        let refused = |(_, peer): &(&Place, &Peer)| peer.progress == Progress::Refused;
        let places: Vec<Place> = self.peers.iter().filter(refused).map(|(p, _)| *p).collect();
        for place in places {
            let progress = Progress::Asked(self.ask(context, place));
            if let Some(peer) = self.peers.get_mut(&place) {
                peer.progress = progress;
            }
        }
    }

    fn ask(&self, context: &mut Context, place: Place) -> u64 {
        let body = RequestBody::Barrier { index: self.index.0 };
        let stable = self.sequencer.stable();
        let message = request(self.vid, self.generation, View(0), stable, body);
        context.send(place, Purpose::Barrier, message)
    }

    pub(super) fn handle_barrier_reply(
        &mut self,
        context: &mut Context,
        place: Place,
        reply: Reply,
    ) {
        let Some(peer) = self.peers.get_mut(&place) else { return };
        if peer.progress != Progress::Asked(reply.id) {
            return; // B1
        }
        match reply.result {
            Ok(ReplyBody::Unstable(list)) => {
                peer.progress = Progress::Listed;
                self.unlisted -= 1;
                self.note_unstable(context, place, list);
            }
            // Any other answer is a mistake of the peer or of its state: waiting is safe.
            _ => peer.progress = Progress::Refused,
        }
    }

    /// The life that goes on at this place has listed what it holds.
    pub(super) fn is_listed(&self, place: Place) -> bool {
        self.peers.get(&place).is_some_and(|peer| peer.progress == Progress::Listed)
    }

    /// Every shard of every living member has listed what it holds.
    pub(super) const fn all_listed(&self) -> bool {
        self.unlisted == 0
    }
}
