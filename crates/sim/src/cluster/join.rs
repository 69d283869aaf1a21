//! What a shard does for its joiner, and for joiners of other sheep (as the daemon's
//! `shard::join`).
//!
//! Holds:
//!   J1 what the joiner asks of its own store enters the queue in the same call;
//!   J2 a joiner of another sheep is answered with blocks first and what is unstable after.

use std::collections::BTreeSet;
use std::sync::Arc;

use sheepdog_engine::gateway::Place;
use sheepdog_engine::join::{Action, Local};
use sheepdog_engine::replica::lists;
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::peer::{Listing, PeerError, Reply, ReplyBody, Request, RequestBody};
use sheepdog_proto::{Generation, Oid, Partition, PgId, PolicyId, View};
use sheepdog_store as store;
use sheepdog_store::serve::{peer_result, pull_request, pulled, store_request, undo_request};

use super::control::Proposed;
use super::shard::ReplyTo;
use super::show;
use super::store::{StoreResult, Then};
use super::world::World;

/// Few, so that lists come in parts.
const LIST_LIMIT: usize = 3;
/// Blocks fetched per tick.
const BLOCKS: u64 = 512;

/// A list that is being made for another sheep.
#[derive(Debug)]
pub(super) struct ListJob {
    reply_to: ReplyTo,
    id: u64,
    state: Arc<ClusterState>,
    policy: PolicyId,
    partitions: BTreeSet<Partition>,
    found: Listing,
    has_unstable: bool,
}

/// What one store has said so far to a `Pull`.
#[derive(Debug)]
pub(super) struct PullJob {
    reply_to: ReplyTo,
    id: u64,
    oid: Oid,
    blocks: Option<StoreResult>,
}

impl ListJob {
    fn has(&self, oid: Oid) -> bool {
        let Some((PgId { policy, partition }, _)) = self.state.group_of(oid) else { return false };
        policy == self.policy && self.partitions.contains(&partition)
    }
}

impl World {
    pub(super) fn perform_joining(&mut self, place: Place, action: Action) {
        match action {
            Action::Send(to, request) => {
                self.say(|| {
                    let (from, to) = (show::place(place), show::place(to));
                    format!("{from} => {to} {}", show::request(&request))
                });
                self.note_sent(place, &request);
                self.push_link(place, to, request);
            }
            Action::Propose(command) => {
                let sheep = usize::from(place.node.0);
                if let Some(life) = self.sheep[sheep].life.as_ref().map(|life| life.serial) {
                    self.propose(sheep, life, command, Proposed::Engine);
                }
            }
            Action::Local(token, local) => {
                self.say(|| format!("{} asks itself {local:?}", show::place(place)));
                self.count_local(&local);
                let is_refused = matches!(local, Local::Unstable) && self.has_failures(place);
                if is_refused {
                    // With a disk that is of no use nothing begins to be joined.
                    if let Some(shard) = self.shard(place) {
                        shard.joiner.handle_local(token, Err(PeerError::NotInSync));
                    }
                    return;
                }
                self.push_store(place, local_request(local), Then::Join(token)); // J1
            }
        }
    }

    fn has_failures(&mut self, place: Place) -> bool {
        self.shard(place).is_some_and(|shard| shard.stores.has_failures())
    }

    fn count_local(&mut self, local: &Local) {
        let name = match local {
            Local::Undo(_) => "joining: changes taken back",
            Local::Drop(oids, _) if !oids.is_empty() => "joining: objects dropped",
            Local::Change { is_settled: true, .. } => "joining: settled change fetched",
            Local::Change { is_settled: false, .. } => "joining: unstable change fetched",
            Local::Raise(..) => "joining: object complete",
            _ => return,
        };
        self.trace.count(name);
    }

    pub(super) fn tick_joiner(&mut self, place: Place) {
        if let Some(shard) = self.shard(place) {
            shard.joiner.tick(BLOCKS);
        }
        self.run(place);
    }

    /// The own store has answered the joiner.
    pub(super) fn note_joining(&mut self, place: Place, token: u64, result: StoreResult) {
        if let Some(shard) = self.shard(place) {
            shard.joiner.handle_local(token, peer_result(result));
        }
        self.run(place);
    }

    /// A joiner of another sheep asks.
    pub(super) fn serve_joiner(&mut self, place: Place, reply_to: ReplyTo, request: Request) {
        let (id, body) = (request.id, request.body);
        match body {
            RequestBody::List { policy, after, partitions, .. } => {
                let Some(state) = self.state_of(place) else { return };
                let found = Listing { next: after, ..Listing::default() };
                let partitions = partitions.into_iter().collect();
                let has_unstable = after.is_some();
                let job = ListJob { reply_to, id, state, policy, partitions, found, has_unstable };
                self.list_on(place, Box::new(job));
            }
            RequestBody::Pull { oid, first_block, count, with_data, .. } => {
                let job = PullJob { reply_to, id, oid, blocks: None };
                let request = pull_request(oid, first_block, count, with_data);
                self.push_store(place, request, Then::PullBlocks(Box::new(job)));
            }
            _ => {}
        }
    }

    /// J2.
    pub(super) fn take_pull_blocks(&mut self, place: Place, mut job: PullJob, result: StoreResult) {
        job.blocks = Some(result);
        let request = store::Request::UnstableOf { oid: job.oid };
        self.push_store(place, request, Then::PullUnstable(Box::new(job)));
    }

    pub(super) fn take_pull_unstable(&mut self, place: Place, job: PullJob, result: StoreResult) {
        let PullJob { reply_to, id, blocks: Some(blocks), .. } = job else { return };
        self.reply(place, reply_to, Reply { id, result: pulled(blocks, result) });
    }

    /// Refused from the moment in which a disk has failed: the others do not have all.
    fn list_on(&mut self, place: Place, job: Box<ListJob>) {
        if self.has_failures(place) {
            let result = Err(PeerError::NotInSync);
            return self.reply(place, job.reply_to, Reply { id: job.id, result });
        }
        let request = if job.has_unstable {
            store::Request::List { after: job.found.next, limit: LIST_LIMIT }
        } else {
            store::Request::UnstableAll
        };
        self.push_store(place, request, Then::List(job));
    }

    pub(super) fn take_list(&mut self, place: Place, mut job: Box<ListJob>, result: StoreResult) {
        let is_end = match peer_result(result) {
            Ok(ReplyBody::Unstable(mut list)) => {
                list.retain(|change| job.has(change.oid));
                (job.found.unstable, job.has_unstable) = (list, true);
                false
            }
            Ok(ReplyBody::Listing(part)) => {
                let ours: Vec<_> =
                    part.objects.iter().filter(|o| job.has(o.oid)).copied().collect();
                job.found.objects.extend(ours);
                job.found.next = part.next;
                part.next.is_none() || job.found.objects.len() >= LIST_LIMIT
            }
            _ => {
                let result = Err(PeerError::NotInSync);
                return self.reply(place, job.reply_to, Reply { id: job.id, result });
            }
        };
        if is_end {
            let result = Ok(ReplyBody::Listing(job.found));
            self.reply(place, job.reply_to, Reply { id: job.id, result });
        } else {
            self.list_on(place, job);
        }
    }

    /// What this member says of what may not be everywhere, as of the state in which it was asked.
    pub(super) fn reply_list(
        &mut self,
        place: Place,
        (reply_to, id): (ReplyTo, u64),
        state: &ClusterState,
        result: StoreResult,
    ) {
        let mut result = peer_result(result);
        if let Ok(ReplyBody::Unstable(list)) = &mut result {
            list.retain(|change| lists(place.node, state, change.oid));
        }
        self.reply(place, reply_to, Reply { id, result });
    }

    /// Groups that have not settled: in sync are exactly those who shall be.
    pub(super) fn groups_left(&self) -> usize {
        self.log.newest().groups().filter(|(_, group)| !group.is_settled()).count()
    }
}

fn local_request(local: Local) -> store::Request {
    match local {
        Local::Unstable => store::Request::UnstableAll,
        Local::Undo(changes) => undo_request(&changes),
        Local::List(after) => store::Request::List { after, limit: LIST_LIMIT },
        Local::Drop(oids, before) => store::Request::Drop { oids, before },
        Local::Stamps { oid, first_block, count } => {
            store::Request::Stamps { oid, first_block, count }
        }
        Local::Raise(oid, view) => store::Request::Raise { oid, view },
        Local::Change { body, is_settled } => {
            let vid = body.oid().map_or_else(|| unreachable!("a change has an object"), Oid::vid);
            let request = store_request(vid, Generation(0), View(0), body);
            let Some(request) = request else { unreachable!("a change is for the store") };
            if is_settled { store::Request::Settled(Box::new(request)) } else { request }
        }
    }
}
