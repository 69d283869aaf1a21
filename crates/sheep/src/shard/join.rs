//! Joining: carries out what the joiner wants, and answers joiners of other sheep.
//!
//! Holds:
//!   JS1 what the joiner asks of the own store enters its queue in the same call, in order with the
//!       changes of gateways;
//!   JS2 with a disk that cannot be used, or a bucket on its way to another, nothing begins to be
//!       joined: what must be taken back could not be, or would come back; nor while a disk rests
//!       because it was slow;
//!   JS3 a joiner of another sheep is answered with blocks first and what is unstable after, never
//!       the other way round;
//!   JS4 a list for it is refused from the moment in which a disk has failed: the others go on
//!       alone, and what they list is not all.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use sheepdog_engine::join::{Action, Joiner, Local};
use sheepdog_engine::replica::lists;
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::peer::{self, PeerError, Reply, ReplyBody, Request, RequestBody};
use sheepdog_proto::{Generation, Oid, Partition, PgId, PolicyId, View};
use sheepdog_store as store;
use sheepdog_store::serve;

use super::Shard;
use super::replica::ReplyTo;
use super::store_link::{StoreResult, Then};

/// Objects of the own list that are looked at at once.
const LIST_LIMIT: usize = 1000;
/// Objects in one part of a list for another sheep.
const PART_LIMIT: usize = 4000;
/// Blocks fetched per tick beside clients, and without any.
const BLOCKS_BUSY: u64 = (4 << 20) >> 12;
const BLOCKS_IDLE: u64 = (32 << 20) >> 12;

/// The groups and the place in the list that a joiner asks for.
struct Wanted {
    policy: PolicyId,
    after: Option<Oid>,
    partitions: BTreeSet<Partition>,
}

impl Wanted {
    fn has(&self, state: &ClusterState, oid: Oid) -> bool {
        let Some((PgId { policy, partition }, _)) = state.group_of(oid) else { return false };
        policy == self.policy && self.partitions.contains(&partition)
    }
}

impl Shard {
    /// Lets the joiner take a step and carries out whatever follows.
    pub(crate) fn step_joiner(self: &Rc<Self>, step: impl FnOnce(&mut Joiner)) {
        step(&mut self.joiner.borrow_mut());
        self.run();
    }

    /// Recovery yields to clients.
    pub(super) fn tick_joiner(self: &Rc<Self>) {
        let is_busy = std::mem::take(&mut *self.is_busy.borrow_mut());
        let blocks = if is_busy { BLOCKS_BUSY } else { BLOCKS_IDLE };
        self.step_joiner(|joiner| joiner.tick(blocks));
        self.metrics.set_joining(self.joiner.borrow().progress());
    }

    pub(super) fn perform_joining(self: &Rc<Self>, action: Action) {
        match action {
            Action::Send(place, request) => self.send(place, request),
            Action::Propose(command) => {
                tracing::info!(?command, "joining");
                tokio::task::spawn_local(super::propose(self.shared.clone(), command));
            }
            Action::Local(token, local) => self.ask_locally(token, local),
        }
    }

    /// JS2.
    fn may_not_join(&self) -> bool {
        let rests = self.shared.a_disk_rests.load(Relaxed);
        rests || self.stores.has_failures() || self.stores.is_moving()
    }

    fn ask_locally(self: &Rc<Self>, token: u64, local: Local) {
        let request = match local {
            Local::Unstable if self.may_not_join() => {
                let refused = Err(PeerError::NotInSync); // JS2
                self.local_answers.borrow_mut().push_back((token, refused));
                return;
            }
            Local::Unstable => store::Request::UnstableAll,
            Local::Undo(changes) => serve::undo_request(&changes),
            Local::List(after) => store::Request::List { after, limit: LIST_LIMIT },
            Local::Drop(oids, before) => store::Request::Drop { oids, before },
            Local::Stamps { oid, first_block, count } => {
                store::Request::Stamps { oid, first_block, count }
            }
            Local::Raise(oid, view) => store::Request::Raise { oid, view },
            Local::Change { body, is_settled } => {
                let vid =
                    body.oid().map_or_else(|| unreachable!("a change has an object"), Oid::vid);
                // The object counts as changed when all of it is here.
                let request = serve::store_request(vid, Generation(0), View(0), body);
                let Some(request) = request else { unreachable!("a change is for the store") };
                if is_settled { store::Request::Settled(Box::new(request)) } else { request }
            }
        };
        self.push_store(request, Then::Join(token)); // JS1
    }

    /// The own store has answered the joiner.
    pub(super) fn note_joining(&self, token: u64, result: StoreResult) {
        self.local_answers.borrow_mut().push_back((token, serve::peer_result(result)));
    }

    /// A joiner of another sheep asks.
    pub(super) fn serve_joiner(self: &Rc<Self>, reply_to: ReplyTo, request: Request) {
        let shard = self.clone();
        let state = self.state();
        tokio::task::spawn_local(async move {
            let result = match request.body {
                RequestBody::List { policy, after, partitions, .. } => {
                    let partitions = partitions.into_iter().collect();
                    shard.list_for(&state, Wanted { policy, after, partitions }).await
                }
                RequestBody::Pull { oid, first_block, count, with_data, .. } => {
                    let request = serve::pull_request(oid, first_block, count, with_data);
                    shard.pull(oid, request).await
                }
                _ => Err(PeerError::Invalid),
            };
            shard.reply(&reply_to, Reply { id: request.id, result });
        });
    }

    /// JS3.
    pub(super) async fn pull(
        self: &Rc<Self>,
        oid: Oid,
        request: store::Request,
    ) -> Result<ReplyBody, PeerError> {
        let blocks = self.ask_store(request).await.ok_or(PeerError::NotInSync)?;
        let unstable = self.ask_store(store::Request::UnstableOf { oid }).await;
        serve::pulled(blocks, unstable.ok_or(PeerError::NotInSync)?)
    }

    /// A part of the objects of some groups, with the first part all that is unstable of them.
    async fn list_for(
        self: &Rc<Self>,
        state: &ClusterState,
        wanted: Wanted,
    ) -> Result<ReplyBody, PeerError> {
        let mut found = peer::Listing { next: wanted.after, ..peer::Listing::default() };
        if wanted.after.is_none()
            && let ReplyBody::Unstable(mut list) = self.ask_all(store::Request::UnstableAll).await?
        {
            list.retain(|change| wanted.has(state, change.oid));
            found.unstable = list;
        }
        loop {
            let list = store::Request::List { after: found.next, limit: LIST_LIMIT };
            let ReplyBody::Listing(part) = self.ask_all(list).await? else {
                return Err(PeerError::Invalid);
            };
            let ours = part.objects.into_iter().filter(|object| wanted.has(state, object.oid));
            found.objects.extend(ours);
            found.next = part.next;
            if found.next.is_none() || found.objects.len() >= PART_LIMIT {
                return Ok(ReplyBody::Listing(found));
            }
        }
    }

    /// JS4. Nothing comes between the look and the question.
    async fn ask_all(self: &Rc<Self>, request: store::Request) -> Result<ReplyBody, PeerError> {
        if self.stores.has_failures() {
            return Err(PeerError::NotInSync);
        }
        self.ask_store(request).await.map_or(Err(PeerError::NotInSync), serve::peer_result)
    }

    /// What this member says of what may not be everywhere, as of the state in which it was asked.
    pub(super) fn reply_list(
        &self,
        (reply_to, id): (&ReplyTo, u64),
        state: &ClusterState,
        result: StoreResult,
    ) {
        let mut result = serve::peer_result(result);
        if let Ok(ReplyBody::Unstable(list)) = &mut result {
            list.retain(|change| lists(self.shared.me.node, state, change.oid));
        }
        self.reply(reply_to, Reply { id, result });
    }
}
