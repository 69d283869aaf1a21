//! What a shard does around the engine (as the daemon's `shard` and `shard::replica`).
//!
//! Way: `step` lets the gateway go on, `run` carries out what it wants; a request of a gateway is
//!      admitted under the state that this shard has applied, and goes to the store.
//! Holds:
//!   D1 a request is executed under the state by which it was admitted: it enters the store's
//!      queue in the same call.

use std::sync::Arc;

use sheepdog_engine::gateway::{Action, Gateway, Place};
use sheepdog_engine::replica::{Admission, admit, must_exist};
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::Stamp;
use sheepdog_proto::peer::{PeerError, Reply, ReplyBody, Request, RequestBody};
use sheepdog_store as store;
use sheepdog_store::serve::store_request;

use super::control::Proposed;
use super::event::{Event, Inside, Message};
use super::show;
use super::store::Then;
use super::world::World;

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReplyTo {
    Gateway,
    Shard(u16),
    /// By this connection.
    Peer(u64),
}

/// A request that waits until this shard has followed the log.
#[derive(Debug)]
pub(super) struct Held {
    reply_to: ReplyTo,
    request: Request,
}

impl World {
    pub(super) fn state_of(&mut self, place: Place) -> Option<Arc<ClusterState>> {
        let applied = self.shard(place)?.applied;
        Some(self.log.state(applied).clone())
    }

    /// Lets the gateway take a step and carries out whatever follows.
    pub(super) fn step(&mut self, place: Place, step: impl FnOnce(&mut Gateway)) {
        self.tell_lease(place);
        if let Some(shard) = self.shard(place) {
            step(&mut shard.gateway);
        }
        self.run(place);
    }

    /// Another component of a shard hands out its actions here, too.
    pub(super) fn run(&mut self, place: Place) {
        loop {
            let Some(shard) = self.shard(place) else { return };
            let actions = shard.gateway.take_actions();
            let joining = shard.joiner.take_actions();
            let reply = shard.local_replies.pop_front();
            if actions.is_empty() && joining.is_empty() && reply.is_none() {
                return;
            }
            for action in joining {
                if self.burns_down(place, &action) {
                    return;
                }
                self.perform_joining(place, action);
            }
            for action in actions {
                if self.burns_down(place, &action) {
                    return;
                }
                self.perform(place, action);
            }
            self.tell_lease(place);
            if let Some(reply) = reply
                && let Some(shard) = self.shard(place)
            {
                shard.gateway.handle_reply(place, reply);
            }
        }
    }

    fn perform(&mut self, place: Place, action: Action) {
        match action {
            Action::Send(to, request) => {
                self.say(|| {
                    let (from, to) = (show::place(place), show::place(to));
                    format!("{from} -> {to} {}", show::request(&request))
                });
                self.note_sent(place, &request);
                self.send_request(place, to, request);
            }
            Action::Propose(command) => {
                let sheep = usize::from(place.node.0);
                if let Some(life) = self.sheep[sheep].life.as_ref().map(|life| life.serial) {
                    self.propose(sheep, life, command, Proposed::Engine);
                }
            }
            Action::Answer(token, result) => self.answer(place, token, result),
            Action::Live(vid) => self.note_live(place, vid),
            Action::Drained(vid, generation) => self.let_go(place, vid, generation),
            Action::Lost(vid) => self.note_lost(place, vid),
        }
    }

    fn send_request(&mut self, from: Place, to: Place, request: Request) {
        if to == from {
            self.take_request(to, ReplyTo::Gateway, request);
        } else if to.node == from.node {
            self.mail(from, Inside::MailRequest { from: from.shard, to: to.shard, request });
        } else {
            self.push_link(from, to, request);
        }
    }

    /// From one shard to another of the same sheep, in order.
    fn mail(&mut self, place: Place, letter: Inside) {
        let sheep = usize::from(place.node.0);
        let at = self.now + self.random.between(100, 20_000);
        let Some(life) = self.sheep[sheep].life.as_mut() else { return };
        let at = at.max(life.last_mail + 1);
        life.last_mail = at;
        let life = life.serial;
        self.queue.push(at, Event::Life { sheep, life, what: letter });
    }

    /// Takes a request of a gateway.
    pub(super) fn take_request(&mut self, place: Place, reply_to: ReplyTo, request: Request) {
        let sheep = usize::from(place.node.0);
        let Some(me) = self.sheep[sheep].life.as_ref().map(|life| life.me) else { return };
        let Some(state) = self.state_of(place) else { return };
        match admit(me, &state, &request) {
            Admission::Execute => self.execute(place, reply_to, request),
            Admission::Hold => {
                self.say(|| format!("{} holds #{}", show::place(place), request.id));
                self.trace.count("request held until the log is followed");
                if let Some(shard) = self.shard(place) {
                    shard.held.push(Held { reply_to, request });
                }
            }
            Admission::Refuse(error) => {
                self.say(|| format!("{} refuses #{}: {error:?}", show::place(place), request.id));
                self.trace.count("request refused");
                self.reply(place, reply_to, Reply { id: request.id, result: Err(error) });
            }
        }
    }

    fn execute(&mut self, place: Place, reply_to: ReplyTo, request: Request) {
        if matches!(request.body, RequestBody::List { .. } | RequestBody::Pull { .. }) {
            return self.serve_joiner(place, reply_to, request);
        }
        if let RequestBody::Heal { oid, first_block, count } = request.body {
            self.reply(place, reply_to, Reply { id: request.id, result: Ok(ReplyBody::Done) });
            return self.step(place, |g| g.heal(oid, first_block..first_block + count));
        }
        if let Err(what) = self.fence.note(place, &request) {
            self.blame(what);
        }
        let Request { id, vid, generation, view, stable, body } = request;
        if stable > Stamp::NONE {
            self.push_store(place, store::Request::Watermark { vid, stable }, Then::Nothing);
        }
        let is_list = matches!(body, RequestBody::Barrier { .. });
        if is_list && self.cannot_list(place, vid) {
            self.trace.count("barrier refused for a failed disk");
            let result = Err(PeerError::NotInSync); // D2
            return self.reply(place, reply_to, Reply { id, result });
        }
        if let Some(shard) = self.shard(place) {
            shard.joiner.note_change(&body);
        }
        let is_strict =
            self.state_of(place).is_some_and(|state| must_exist(place.node, &state, &body));
        let Some(mut request) = store_request(vid, generation, view, body) else { return };
        if is_strict {
            request = store::Request::Existing(Box::new(request));
        }
        let then = match self.state_of(place) {
            Some(state) if is_list => Then::ReplyList { reply_to, id, state },
            _ => Then::Reply { reply_to, id },
        };
        self.push_store(place, request, then);
    }

    pub(super) fn reply(&mut self, place: Place, reply_to: ReplyTo, reply: Reply) {
        match reply_to {
            ReplyTo::Gateway => {
                if let Some(shard) = self.shard(place) {
                    shard.local_replies.push_back(reply);
                }
            }
            ReplyTo::Shard(to) => {
                self.mail(place, Inside::MailReply { from: place.shard, to, reply });
            }
            ReplyTo::Peer(connection) => self.send(connection, Message::Reply(reply)),
        }
    }

    /// The shard applies an entry of the log.
    pub(super) fn apply(&mut self, place: Place, index: usize) {
        let state = self.log.state(index).clone();
        let Some(shard) = self.shard(place) else { return };
        assert_eq!(shard.applied + 1, index, "LOG-ORDER");
        shard.applied = index;
        shard.joiner.handle_state(state.clone());
        self.step(place, |gateway| gateway.handle_state(state));
        self.admit_held(place);
        self.wake_door(place);
        self.sweep_new(place);
    }

    /// Looks again at everything that was held.
    fn admit_held(&mut self, place: Place) {
        let Some(shard) = self.shard(place) else { return };
        for Held { reply_to, request } in std::mem::take(&mut shard.held) {
            self.take_request(place, reply_to, request);
        }
        self.run(place);
    }
}
