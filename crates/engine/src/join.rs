//! Joining: a member that should hold copies and lacks some fetches them, while clients go on.
//!
//! Way: `gate`: a group whose copy is not in sync is cleaned of what nobody else may have, then
//!      the log is asked for `Joining`; from the view of that entry on every change comes here too.
//!      `pass`: the objects of many groups are listed by one in-sync member and sifted: what cannot
//!      have changed is accepted unread, what is gone there goes here. `object`: of the rest stamps
//!      are compared and what differs is fetched. Then the log is asked for `InSync`.
//! Holds:
//!   RESYNC-DIRECTION  data flow from in-sync members to joiners only: what a copy holds that may
//!                     not be everywhere is taken back before it joins (J1), so that from then on
//!                     the newest stamp of a block is the right one, whoever brings it;
//!   JOIN-GATE         only a member is asked that has applied the view with which this one joined;
//!   J2                what was reset since this member joined does not come back by an answer
//!                     that was read before;
//!   J3                an object counts as complete, by its modified view, only when all of it
//!                     is here.
//! Not here: time, sockets, the store (sheep); which changes a joiner takes (replica).

mod gate;
mod object;
mod pass;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sheepdog_proto::command::Command;
use sheepdog_proto::peer::{PeerError, Reply, ReplyBody, Request, RequestBody, Unstable};
use sheepdog_proto::{Generation, Oid, Payload, PgId, Stamp, Vid, View};

use crate::gateway::{Me, Place};
use crate::state::ClusterState;
use gate::Gate;
use pass::Pass;

/// Ids of a joiner's requests have this bit, those of gateways never.
pub const JOINER_ID: u64 = 1 << 63;
/// Ticks after which something that failed, or a proposal that had no effect, is tried again.
const PATIENCE: u32 = 20;

/// What the joiner wants done.
#[derive(Debug)]
pub enum Action {
    /// Send to an in-sync member; sent again after [`Joiner::handle_reconnect`].
    Send(Place, Request),
    /// Ask this shard's own store; the number comes back with [`Joiner::handle_local`].
    Local(u64, Local),
    /// Append to the log; retry until it is in.
    Propose(Command),
}

/// What is asked of the own store.
#[derive(Clone, Debug)]
pub enum Local {
    /// Everything unstable. Answered with `ReplyBody::Unstable`.
    Unstable,
    /// Takes unstable changes back.
    Undo(Vec<Unstable>),
    /// A part of all objects, above this one. Answered with `ReplyBody::Listing`.
    List(Option<Oid>),
    /// Objects go, unless they were changed under a view that is not older.
    Drop(Vec<Oid>, View),
    /// Stamps of blocks. Answered with `ReplyBody::Pulled`, without data.
    Stamps {
        /// The object.
        oid: Oid,
        /// First block.
        first_block: u32,
        /// How many.
        count: u32,
    },
    /// The object counts as changed under this view.
    Raise(Oid, View),
    /// A change as another member has it, with its stamp.
    Change {
        /// What it is: a write, a hole or a reset.
        body: RequestBody,
        /// It is known to be everywhere.
        is_settled: bool,
    },
}

/// How far joining has come, since the start of this life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Groups whose copies are not in sync here.
    pub groups_left: usize,
    /// Groups that became in sync.
    pub groups_done: u64,
    /// Objects accepted unread.
    pub accepted: u64,
    /// Objects of which stamps were compared or data fetched.
    pub compared: u64,
    /// Objects that were dropped because they are gone elsewhere.
    pub dropped: u64,
    /// Blocks fetched, 4 KiB each.
    pub blocks: u64,
}

/// Who asked the own store, and for what.
#[derive(Clone, Debug)]
enum Asked {
    Gate,
    List,
    /// A step of the pass that nobody else waits for.
    Step(Local),
    Stamps(Oid),
    Change(Oid, Local),
}

#[derive(Debug)]
struct Sent {
    place: Place,
    request: Request,
    purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    List,
    Compare(Oid),
    Fetch(Oid),
}

/// The copies of one shard that are on their way to be in sync.
#[derive(Debug)]
pub struct Joiner {
    me: Me,
    shard: u16,
    state: Arc<ClusterState>,
    gates: BTreeMap<PgId, Gate>,
    opening: Option<gate::Opening>,
    pass: Option<Pass>,
    /// Newest reset of objects since their group was joined (J2).
    floors: BTreeMap<Oid, Stamp>,
    sent: BTreeMap<u64, Sent>,
    asked: BTreeMap<u64, Asked>,
    /// Asked of the own store and refused for the moment.
    refused: Vec<Asked>,
    last: u64,
    /// Blocks that may be fetched now.
    credit: u64,
    /// Groups that wait before they are tried again.
    resting: BTreeMap<PgId, u32>,
    attempt: usize,
    /// Groups that were left for an object that cannot be read, and under which view.
    left_for_rot: BTreeMap<PgId, View>,
    /// Objects here that are of no use: they go before their group is joined.
    rotten: BTreeSet<Oid>,
    actions: Vec<Action>,
    progress: Progress,
}

impl Joiner {
    /// Nothing is looked at before the first [`Joiner::handle_state`].
    #[must_use]
    pub fn new(me: Me, shard: u16) -> Self {
        Self {
            me,
            shard,
            state: Arc::default(),
            gates: BTreeMap::new(),
            opening: None,
            pass: None,
            floors: BTreeMap::new(),
            sent: BTreeMap::new(),
            asked: BTreeMap::new(),
            refused: Vec::new(),
            last: 0,
            credit: 0,
            resting: BTreeMap::new(),
            attempt: 0,
            left_for_rot: BTreeMap::new(),
            rotten: BTreeSet::new(),
            actions: Vec::new(),
            progress: Progress::default(),
        }
    }

    /// What shall happen now, in order.
    #[must_use]
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { groups_left: self.gates.len(), ..self.progress }
    }

    /// The log has grown.
    pub fn handle_state(&mut self, state: Arc<ClusterState>) {
        let before = std::mem::replace(&mut self.state, state);
        let moved = !Arc::ptr_eq(&before.members, &self.state.members)
            || !Arc::ptr_eq(&before.policies, &self.state.policies);
        if moved {
            self.refresh_gates();
            self.refresh_pass();
            self.pump();
        }
    }

    /// About ten times a second: so many blocks more may be fetched; what failed is tried again.
    pub fn tick(&mut self, blocks: u64) {
        self.credit = blocks;
        self.resting.retain(|_, ticks| {
            *ticks -= 1;
            *ticks > 0
        });
        for asked in std::mem::take(&mut self.refused) {
            self.ask_again(asked);
        }
        self.tick_gates();
        self.pump();
    }

    /// A change of a group that is being joined is admitted, and goes to the own store behind
    /// everything that was asked of it before.
    pub fn note_change(&mut self, body: &RequestBody) {
        if let RequestBody::Reset { oid, stamp } = body
            && let Some((pg, _)) = self.state.group_of(*oid)
            && self.gates.contains_key(&pg)
        {
            let floor = self.floors.entry(*oid).or_default();
            *floor = (*floor).max(*stamp); // J2
        }
    }

    /// The own store cannot read an object, or what it knows of it: no change of it can be taken.
    /// The group is left, if others have it, and joined anew without the object.
    pub fn note_rot(&mut self, oid: Oid) {
        let Some((pg, group)) = self.state.group_of(oid) else { return };
        let (node, incarnation) = (self.me.node, self.me.incarnation);
        self.rotten.insert(oid);
        let is_new = self.left_for_rot.insert(pg, group.view) != Some(group.view);
        if is_new && group.can_demote(node) {
            self.actions.push(Action::Propose(Command::Demote {
                node,
                incarnation,
                groups: vec![pg],
            }));
        }
    }

    /// A member has answered.
    pub fn handle_reply(&mut self, place: Place, reply: Reply) {
        let Some(sent) = self.sent.get(&reply.id) else { return };
        if sent.place != place {
            return;
        }
        let purpose = sent.purpose;
        self.sent.remove(&reply.id);
        match (purpose, reply.result) {
            (Purpose::List, Ok(ReplyBody::Listing(listing))) => self.take_listing(listing),
            (Purpose::Compare(oid), Ok(ReplyBody::Pulled(pulled))) => {
                self.take_compared(oid, pulled);
            }
            (Purpose::Fetch(oid), Ok(ReplyBody::Pulled(pulled))) => {
                self.take_fetched(oid, reply.id, pulled);
            }
            (Purpose::Compare(oid) | Purpose::Fetch(oid), Err(PeerError::Corrupt)) => {
                self.fail_object(oid);
            }
            _ => self.abort_pass(),
        }
        self.pump();
    }

    /// The connection to a place was made anew: what was not answered may be lost.
    pub fn handle_reconnect(&mut self, place: Place) {
        for sent in self.sent.values().filter(|sent| sent.place == place) {
            self.actions.push(Action::Send(place, sent.request.clone()));
        }
    }

    /// The own store has answered.
    pub fn handle_local(&mut self, token: u64, result: Result<ReplyBody, PeerError>) {
        let Some(asked) = self.asked.remove(&token) else { return };
        match (asked, result) {
            (Asked::Gate, result) => self.take_gate(result),
            (asked, Err(PeerError::Full)) => self.refused.push(asked),
            (Asked::List, Ok(ReplyBody::Listing(listing))) => self.take_local_list(listing),
            (Asked::Step(_), Ok(_)) => self.end_step(),
            (Asked::Stamps(oid), Ok(ReplyBody::Pulled(pulled))) => self.take_stamps(oid, pulled),
            (Asked::Change(oid, _), Ok(_)) => self.end_change(oid),
            (Asked::Stamps(oid) | Asked::Change(oid, _), Err(PeerError::Corrupt)) => {
                self.leave_rotten(oid);
            }
            _ => self.abort_pass(),
        }
        self.pump();
    }

    /// Everything that can go on does.
    fn pump(&mut self) {
        self.open_gates();
        self.start_pass();
        self.pump_pass();
    }

    fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last | JOINER_ID
    }

    fn ask(&mut self, asked: Asked, local: Local) {
        let token = self.fresh();
        self.asked.insert(token, asked);
        self.actions.push(Action::Local(token, local));
    }

    fn ask_again(&mut self, asked: Asked) {
        match &asked {
            // A reset came while it waited (J2), or its group is joined no more (P4).
            Asked::Change(oid, local)
                if self.is_below_floor(*oid, local) || self.joined_group(*oid).is_none() =>
            {
                self.end_change(*oid);
            }
            Asked::Step(Local::Change { body, .. })
                if body.oid().is_none_or(|oid| self.joined_group(oid).is_none()) =>
            {
                self.end_step();
            }
            Asked::Step(local) | Asked::Change(_, local) => {
                let local = local.clone();
                self.ask(asked, local);
            }
            // Questions are never refused for want of room.
            Asked::Gate | Asked::List | Asked::Stamps(_) => self.abort_pass(),
        }
    }

    fn is_below_floor(&self, oid: Oid, local: &Local) -> bool {
        let Local::Change { body, .. } = local else { return false };
        let stamp = match body {
            RequestBody::Write { stamp, .. }
            | RequestBody::Hole { stamp, .. }
            | RequestBody::Reset { stamp, .. } => *stamp,
            _ => return false,
        };
        self.floors.get(&oid).is_some_and(|floor| stamp < *floor)
    }

    fn send(&mut self, place: Place, purpose: Purpose, body: RequestBody) -> u64 {
        let id = self.fresh();
        let vid = body.oid().map_or_else(first_vid, Oid::vid);
        let (generation, view, stable) = (Generation(0), View(0), Stamp::NONE);
        let request = Request { id, vid, generation, view, stable, body };
        self.actions.push(Action::Send(place, request.clone()));
        self.sent.insert(id, Sent { place, request, purpose });
        id
    }

    /// The object's group, if the VDI is there and this member joins the group.
    fn joined_group(&self, oid: Oid) -> Option<PgId> {
        let (pg, _) = self.state.group_of(oid)?;
        self.gates.contains_key(&pg).then_some(pg)
    }
}

/// What stands in the field of a request that is about no VDI.
fn first_vid() -> Vid {
    Vid::hash_of_name(&[])
}

/// Blocks as data of a write: a part of what was fetched.
fn part(data: &Payload, at: usize, blocks: usize) -> Payload {
    use sheepdog_proto::BLOCK_BYTES;
    data.slice(at * BLOCK_BYTES..(at + blocks) * BLOCK_BYTES)
}

#[cfg(test)]
mod tests;
