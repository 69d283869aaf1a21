//! The replica side of a shard: requests of gateways, here and elsewhere, to the store.
//!
//! Holds:
//!   D1 a request is executed under the state by which it was admitted: it enters the store's
//!      queue in the same call, and the queue keeps its order (so a barrier's list comes after
//!      every operation that was admitted before it);
//!   D2 as long as this sheep is in sync, by its own state, with a group whose disk is of no use,
//!      it answers no barrier of that class: it cannot list everything.

use std::rc::Rc;
use std::time::Instant;

use sheepdog_engine::replica::{Admission, admit, must_exist};
use sheepdog_proto::Stamp;
use sheepdog_proto::peer::{PeerError, Reply, ReplyBody, Request, RequestBody};
use sheepdog_store as store;
use sheepdog_store::serve;

use super::Shard;
use super::mail::Mail;
use super::store_link::Then;
use crate::peer::incoming::Outbox;

/// Where an answer goes.
#[derive(Clone)]
pub(crate) enum ReplyTo {
    /// The gateway of this shard.
    Gateway,
    /// The gateway of another shard of this sheep.
    Shard(u16),
    /// A gateway of another sheep.
    Peer(Rc<Outbox>),
}

/// A request that waits until this shard has followed the log.
pub(super) struct Held {
    reply_to: ReplyTo,
    request: Request,
}

impl Shard {
    /// Takes a request of a gateway.
    pub(crate) fn take_request(self: &Rc<Self>, reply_to: ReplyTo, request: Request) {
        let admission = admit(self.shared.me, &self.state.borrow(), &request);
        match admission {
            Admission::Execute => self.execute(reply_to, request),
            Admission::Hold => {
                self.metrics.held.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                self.held.borrow_mut().push(Held { reply_to, request });
            }
            Admission::Refuse(error) => {
                tracing::debug!(request = request.id, vid = %request.vid, ?error, "refused");
                self.reply(&reply_to, Reply { id: request.id, result: Err(error) });
            }
        }
    }

    /// Looks again at everything that was held.
    pub(super) fn admit_held(self: &Rc<Self>) {
        let held = std::mem::take(&mut *self.held.borrow_mut());
        for Held { reply_to, request } in held {
            self.take_request(reply_to, request);
        }
        self.run();
    }

    fn execute(self: &Rc<Self>, reply_to: ReplyTo, request: Request) {
        if matches!(request.body, RequestBody::List { .. } | RequestBody::Pull { .. }) {
            return self.serve_joiner(reply_to, request);
        }
        if let RequestBody::Heal { oid, first_block, count } = request.body {
            self.reply(&reply_to, Reply { id: request.id, result: Ok(ReplyBody::Done) });
            return self.step(|gateway| gateway.heal(oid, first_block..first_block + count));
        }
        if let RequestBody::Look { oid } = request.body {
            self.reply(&reply_to, Reply { id: request.id, result: Ok(ReplyBody::Done) });
            return self.look_at(oid);
        }
        *self.is_busy.borrow_mut() = true;
        let Request { id, vid, generation, view, stable, body } = request;
        if stable > Stamp::NONE {
            self.push_store(store::Request::Watermark { vid, stable }, Then::Nothing);
        }
        let started = Instant::now();
        if matches!(body, RequestBody::Barrier { .. }) && self.cannot_list(vid) {
            self.reply(&reply_to, Reply { id, result: Err(PeerError::NotInSync) }); // D2
            return;
        }
        self.joiner.borrow_mut().note_change(&body);
        let bytes = serve::payload_bytes(&body);
        let changed = body.oid().filter(|_| !matches!(body, RequestBody::Read { .. }));
        let is_list = matches!(body, RequestBody::Barrier { .. });
        let must_exist = must_exist(self.shared.me.node, &self.state.borrow(), &body);
        let Some(request) = serve::store_request(vid, generation, view, body) else { return };
        let request =
            if must_exist { store::Request::Existing(Box::new(request)) } else { request };
        let then = if is_list {
            Then::ReplyList { reply_to, id, state: self.state() }
        } else {
            Then::Reply { reply_to, id, bytes, started, changed }
        };
        self.push_store(request, then);
    }

    /// Sends an answer on its way.
    pub(super) fn reply(&self, reply_to: &ReplyTo, reply: Reply) {
        match reply_to {
            ReplyTo::Gateway => self.local_replies.borrow_mut().push_back(reply),
            ReplyTo::Shard(to) => {
                self.shared.mail(usize::from(*to), Mail::Reply { from: self.index, reply });
            }
            ReplyTo::Peer(outbox) => outbox.push(reply),
        }
    }
}
