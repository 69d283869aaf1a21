//! The barrier: every shard of every living member must have applied the grant, and list what it
//! holds of older generations, before the attachment serves anything.
//!
//! Way: asked at the grant, and again from each life that joins later (a member that was away
//!      without an `Act` may hold an operation that nobody else knows).
//! Holds: FENCE: a member that has answered refuses older generations from then on.

use sheepdog_proto::peer::{Reply, ReplyBody, RequestBody};
use sheepdog_proto::{Incarnation, View};

use super::attachment::Attachment;
use super::{Context, Place, Purpose, request};

/// How far one shard of one member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Asked, not answered.
    Asked,
    /// Its operations are known and being settled.
    Listed,
    /// Its operations are settled: it may serve.
    Settled,
}

/// One shard of one member, in one life.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) life: Incarnation,
    progress: Progress,
}

impl Peer {
    pub(super) fn is_settled(&self) -> bool {
        self.progress == Progress::Settled
    }

    fn is_listed(&self) -> bool {
        self.progress != Progress::Asked
    }
}

impl Attachment {
    pub(super) fn ask_barriers(&mut self, context: &mut Context) {
        self.refresh_peers(context);
    }

    /// Forgets lives that ended and asks those that are new.
    pub(super) fn refresh_peers(&mut self, context: &mut Context) {
        let state = context.state.clone();
        self.peers.retain(|place, peer| {
            state.members.get(place.node).is_some_and(|m| m.up && m.incarnation == peer.life)
        });
        for member in state.members.up() {
            for shard in 0..member.shards {
                let place = Place { node: member.node, shard };
                if !self.peers.contains_key(&place) {
                    let peer = Peer { life: member.incarnation, progress: Progress::Asked };
                    self.peers.insert(place, peer);
                    self.ask(context, place);
                }
            }
        }
    }

    pub(super) fn resend_barrier(&self, context: &mut Context, place: Place) {
        if self.peers.get(&place).is_some_and(|peer| peer.progress == Progress::Asked) {
            self.ask(context, place);
        }
    }

    fn ask(&self, context: &mut Context, place: Place) {
        let body = RequestBody::Barrier { index: self.index.0 };
        let stable = self.sequencer.stable();
        let message = request(self.vid, self.generation, View(0), stable, body);
        context.send(place, Purpose::Barrier, message);
    }

    pub(super) fn handle_barrier_reply(
        &mut self,
        context: &mut Context,
        place: Place,
        reply: Reply,
    ) {
        match reply.result {
            Ok(ReplyBody::Unstable(list)) => {
                let Some(peer) = self.peers.get_mut(&place) else { return };
                if peer.progress != Progress::Asked {
                    return;
                }
                peer.progress = Progress::Listed;
                self.note_unstable(list);
                self.gate_reads_for_reconcile(context);
            }
            // A refusal is answered again after the next state change; any other answer is a
            // mistake of the peer, and waiting is safe.
            _ => self.ask_again_later(place),
        }
    }

    fn ask_again_later(&mut self, place: Place) {
        self.peers.remove(&place);
    }

    /// Every living member has listed what it holds.
    pub(super) fn all_listed(&self, context: &Context) -> bool {
        self.all(context, Peer::is_listed)
    }

    /// Every living member's operations are settled.
    pub(super) fn all_settled(&self, context: &Context) -> bool {
        self.all(context, Peer::is_settled)
    }

    /// How many of these places have listed what they hold.
    pub(super) fn listed(&self, places: &[Place]) -> usize {
        places.iter().filter(|place| self.peers.get(place).is_some_and(Peer::is_listed)).count()
    }

    /// What was listed has been settled.
    pub(super) fn settle_listed(&mut self) {
        for peer in self.peers.values_mut().filter(|peer| peer.progress == Progress::Listed) {
            peer.progress = Progress::Settled;
        }
    }

    /// Some member is listed and not settled.
    pub(super) fn any_listed(&self) -> bool {
        self.peers.values().any(|peer| peer.progress == Progress::Listed)
    }

    fn all(&self, context: &Context, test: fn(&Peer) -> bool) -> bool {
        context.state.members.up().all(|member| {
            (0..member.shards).all(|shard| {
                let place = Place { node: member.node, shard };
                self.peers.get(&place).is_some_and(|p| p.life == member.incarnation && test(p))
            })
        })
    }
}
