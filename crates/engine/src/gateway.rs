//! The gateway: everything a shard does for the VDIs it has attached.
//!
//! Way: a face's operation enters by [`Gateway::submit`], is cut into pieces of one object each
//!      (`piece`), takes its block range (`lock`), and becomes one flight to the whole write set
//!      (`flight`) or one read from an in-sync member (`read`). `barrier` and `reconcile` make
//!      groups `ready` before the first operation. What must happen outside leaves as [`Action`]s.
//! Holds:
//!   ALL-ACK          an operation is answered when every member of the write set of the current
//!                    view has it durably; answers given under an earlier view do not count;
//!   READ-INSYNC      reads go to living in-sync members of groups that are ready;
//!   READ-AFTER-ACK   a range with an unanswered write is not read;
//!   RECONCILE-FIRST  no group is served before older generations' operations in it are settled;
//!   MAP-WITH-DATA    a first write is answered when data and map entry are both durable;
//!   LEASE            what was read is told only while nobody else can own the VDI.
//! Not here: time, sockets, the log (sheep); what a member does with a request (replica).

mod anew;
mod attachment;
mod barrier;
mod cut;
mod flight;
mod heal;
mod lease;
mod lock;
mod map;
mod piece;
pub(crate) mod read;
mod ready;
mod reconcile;
mod sequence;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sheepdog_proto::command::Command;
use sheepdog_proto::peer::{Reply, Request, RequestBody};
use sheepdog_proto::{Generation, Incarnation, NodeId, ObjectKind, Oid, PgId, Stamp, Vid, View};

use crate::state::{Attachment as Owner, ClusterState, Group, Member};
use crate::volume::{Answer, Operation, Refusal};
use attachment::Attachment;
use lease::Lease;

/// One shard of one sheep: where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The sheep.
    pub node: NodeId,
    /// Its shard.
    pub shard: u16,
}

impl Place {
    /// Where a member keeps its copy of a group.
    #[must_use]
    pub const fn of(member: &Member, pg: PgId) -> Self {
        Self { node: member.node, shard: member.shard_of(pg) }
    }
}

/// What the gateway wants done.
#[derive(Debug)]
pub enum Action {
    /// Send to a member (this sheep included). Lost messages are sent again after
    /// [`Gateway::handle_reconnect`].
    Send(Place, Request),
    /// Append to the log; retry until it is in.
    Propose(Command),
    /// An operation has ended; the number is the one given to `submit`.
    Answer(u64, Result<Answer, Refusal>),
    /// The attachment serves operations.
    Live(Vid),
    /// Everything submitted has ended; the attachment may be given up.
    Drained(Vid, Generation),
    /// The log no longer gives the VDI to this sheep, a drained one included: the attachment
    /// has ended, what was left of its operations was answered `Fenced`.
    Lost(Vid),
}

/// How often an operation had to wait, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// For an overlapping operation.
    pub overlap: u64,
    /// For barrier and reconcile.
    pub attach: u64,
    /// For the log to say that a lost member is out (`Act`).
    pub activate: u64,
    /// For more copies: fewer in sync than the minimum.
    pub copies_min: u64,
    /// For any in-sync member to come back.
    pub no_member: u64,
    /// For room on a replica's disk.
    pub no_space: u64,
    /// For the log to be reached again, so that nobody else can own the VDI.
    pub lease: u64,
}

/// Identity of this sheep's current life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Me {
    /// Number.
    pub node: NodeId,
    /// Life.
    pub incarnation: Incarnation,
}

/// What an outstanding request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Flight(u64),
    Read(u64),
    Barrier,
    Compare(sheepdog_proto::Oid),
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    vid: Vid,
    place: Place,
    purpose: Purpose,
}

/// Why a group takes no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    CopiesMin,
    Activate,
}

/// What all attachments share.
#[derive(Debug)]
struct Context {
    me: Me,
    state: Arc<ClusterState>,
    actions: Vec<Action>,
    next_id: u64,
    outstanding: BTreeMap<u64, Outstanding>,
    acts_wanted: BTreeMap<PgId, View>,
    acts_proposed: BTreeMap<PgId, View>,
    waits: Waits,
    healed: u64,
    lease: Lease,
}

/// The attachments of one shard.
#[derive(Debug)]
pub struct Gateway {
    context: Context,
    attachments: BTreeMap<Vid, Attachment>,
}

impl Gateway {
    /// Nothing attached yet.
    #[must_use]
    pub const fn new(me: Me, state: Arc<ClusterState>) -> Self {
        let context = Context {
            me,
            state,
            actions: Vec::new(),
            next_id: 0,
            outstanding: BTreeMap::new(),
            acts_wanted: BTreeMap::new(),
            acts_proposed: BTreeMap::new(),
            waits: Waits {
                overlap: 0,
                attach: 0,
                activate: 0,
                copies_min: 0,
                no_member: 0,
                no_space: 0,
                lease: 0,
            },
            healed: 0,
            lease: Lease::new(),
        };
        Self { context, attachments: BTreeMap::new() }
    }

    /// What shall happen now, in order.
    #[must_use]
    pub fn take_actions(&mut self) -> Vec<Action> {
        self.context.propose_acts();
        std::mem::take(&mut self.context.actions)
    }

    /// How often operations waited, since the start.
    #[must_use]
    pub const fn waits(&self) -> Waits {
        self.context.waits
    }

    /// Blocks written anew because a copy could not read them, since the start.
    #[must_use]
    pub const fn healed(&self) -> u64 {
        self.context.healed
    }

    /// Whether the session on the log lasts at this moment, by the own clock and with the margin
    /// for clocks that run differently. To be told before every other call: an answer of this
    /// call is given only if it lasts (LEASE).
    pub fn set_lease(&mut self, lasts: bool) {
        if self.context.set_lease(lasts) {
            self.drain_on();
        }
    }

    /// VDIs attached here, with the number of operations not yet answered.
    pub fn attached(&self) -> impl Iterator<Item = (Vid, usize)> {
        self.attachments.iter().map(|(vid, attachment)| (*vid, attachment.pending()))
    }

    /// True once operations on `vid` are served.
    #[must_use]
    pub fn is_live(&self, vid: Vid) -> bool {
        self.attachments.get(&vid).is_some_and(Attachment::is_live)
    }

    /// The log has granted `vid` to this sheep; [`Action::Live`] or [`Action::Lost`] follows. What
    /// an earlier grant of it left unanswered is answered `Fenced`. May be called before
    /// or after [`Gateway::handle_state`] with the state that has the grant.
    pub fn handle_granted(&mut self, vid: Vid, owner: &Owner) {
        let attachment = Attachment::new(vid, owner);
        let known = self.attachments.get(&vid).is_some_and(|a| a.generation() >= owner.generation);
        if known {
            return;
        }
        if !attachment.is_granted(&self.context) {
            self.context.actions.push(Action::Lost(vid)); // taken away before it was told
            return;
        }
        if let Some(mut old) = self.attachments.insert(vid, attachment) {
            old.abandon(&mut self.context);
        }
        self.with(vid, Attachment::refresh_peers);
    }

    /// Starts an operation; `token` names it in the answer.
    pub fn submit(&mut self, vid: Vid, operation: Operation, token: u64) {
        if !self.attachments.contains_key(&vid) {
            self.context.answer(token, Err(Refusal::Fenced));
            return;
        }
        self.with(vid, |attachment, context| attachment.submit(context, operation, token));
    }

    /// No more operations will come; ends with [`Action::Drained`] or [`Action::Lost`]. What was
    /// submitted is done first; if nothing was, it ends at once, live or not.
    pub fn drain(&mut self, vid: Vid) {
        self.with(vid, |attachment, _| attachment.drain());
    }

    /// Writes blocks of a VDI anew, if it is attached and live here: a copy of them is bad.
    pub fn heal(&mut self, oid: Oid, blocks: Range<u32>) {
        if self.is_live(oid.vid()) && oid.kind() == ObjectKind::Data {
            self.with(oid.vid(), |attachment, context| {
                attachment.heal_range(context, oid.index(), blocks);
            });
        }
    }

    /// Forgets a drained attachment, once the log has it detached.
    pub fn forget(&mut self, vid: Vid, generation: Generation) {
        if self.attachments.get(&vid).is_some_and(|a| a.generation() == generation)
            && let Some(mut attachment) = self.attachments.remove(&vid)
        {
            attachment.abandon(&mut self.context);
        }
    }

    /// The log has grown.
    pub fn handle_state(&mut self, state: Arc<ClusterState>) {
        let before = std::mem::replace(&mut self.context.state, state);
        let now = &self.context.state;
        // Most entries are about the catalogue alone: views and members are as they were.
        let moved = !Arc::ptr_eq(&before.members, &now.members)
            || !Arc::ptr_eq(&before.policies, &now.policies);
        let vids: Vec<Vid> = self.attachments.keys().copied().collect();
        for vid in vids {
            let Some(attachment) = self.attachments.get(&vid) else { continue };
            if attachment.is_granted(&self.context) {
                if moved || attachment.is_waiting() {
                    self.with(vid, Attachment::handle_state);
                }
            } else if let Some(mut attachment) = self.attachments.remove(&vid) {
                attachment.abandon(&mut self.context);
                self.context.actions.push(Action::Lost(vid));
            }
        }
    }

    /// A member has answered.
    pub fn handle_reply(&mut self, place: Place, reply: Reply) {
        // Unknown: answered twice, or sent under a view that has passed.
        let Some(known) = self.context.outstanding.get(&reply.id).copied() else { return };
        if known.place != place {
            return;
        }
        self.context.outstanding.remove(&reply.id);
        self.with(known.vid, |attachment, context| match known.purpose {
            Purpose::Flight(id) => attachment.handle_flight_reply(context, id, place, &reply),
            Purpose::Read(id) => attachment.handle_read_reply(context, id, place, reply),
            Purpose::Barrier => attachment.handle_barrier_reply(context, place, reply),
            Purpose::Compare(oid) => attachment.handle_compare_reply(context, oid, place, reply),
        });
    }

    /// The connection to a place was made anew: what was not answered may be lost.
    pub fn handle_reconnect(&mut self, place: Place) {
        let vids: Vec<Vid> = self.attachments.keys().copied().collect();
        for vid in vids {
            self.with(vid, |attachment, context| attachment.resend_to(context, place));
        }
    }

    /// Called about ten times a second: tells idle watermarks, retries what a full disk refused.
    pub fn tick(&mut self) {
        let vids: Vec<Vid> = self.attachments.keys().copied().collect();
        for vid in vids {
            self.with(vid, |attachment, context| attachment.tick(context));
        }
    }

    /// A drain may have waited for an answer that was kept back.
    fn drain_on(&mut self) {
        for attachment in self.attachments.values_mut() {
            attachment.finish_drain(&mut self.context);
        }
    }

    /// Runs one step of an attachment, then everything that the step made possible.
    fn with(&mut self, vid: Vid, step: impl FnOnce(&mut Attachment, &mut Context)) {
        if let Some(attachment) = self.attachments.get_mut(&vid) {
            step(attachment, &mut self.context);
            attachment.pump(&mut self.context);
        }
    }
}

impl Context {
    fn answer(&mut self, token: u64, result: Result<Answer, Refusal>) {
        self.actions.push(Action::Answer(token, result));
    }

    /// Sends a request and remembers what it was for.
    fn send(&mut self, place: Place, purpose: Purpose, mut request: Request) -> u64 {
        self.next_id += 1;
        request.id = self.next_id;
        let outstanding = Outstanding { vid: request.vid, place, purpose };
        self.outstanding.insert(request.id, outstanding);
        self.actions.push(Action::Send(place, request));
        self.next_id
    }

    /// Sends a request whose answer, if there is one, means nothing.
    fn send_and_forget(&mut self, place: Place, mut request: Request) {
        self.next_id += 1;
        request.id = self.next_id;
        self.actions.push(Action::Send(place, request));
    }

    /// Whether writes of the group may go on; asks the log to take lost members out.
    fn check_fit(&mut self, pg: PgId, group: &Group) -> Result<(), Unfit> {
        if group.live_count(&self.state.members) < group.copies_min() {
            return Err(Unfit::CopiesMin);
        }
        if group.has_lost(&self.state.members) {
            self.want_act(pg, group.view); // ACTIVATE: the log must say first who is out
            return Err(Unfit::Activate);
        }
        Ok(())
    }

    /// An operation begins to wait.
    const fn count(&mut self, why: Unfit) {
        match why {
            Unfit::CopiesMin => self.waits.copies_min += 1,
            Unfit::Activate => self.waits.activate += 1,
        }
    }

    fn want_act(&mut self, pg: PgId, view: View) {
        if self.acts_proposed.get(&pg) != Some(&view) {
            self.acts_wanted.insert(pg, view);
        }
    }

    fn propose_acts(&mut self) {
        let wanted = std::mem::take(&mut self.acts_wanted);
        if wanted.is_empty() {
            return;
        }
        self.acts_proposed.extend(&wanted);
        let groups = wanted.into_iter().collect();
        self.actions.push(Action::Propose(Command::Act { groups }));
    }

    /// Live in-sync members of a group: who may be asked.
    fn readers(&self, pg: PgId, group: &Group) -> Vec<Place> {
        self.state.live(group).map(|member| Place::of(member, pg)).collect()
    }

    /// The write set of a group's view: live in-sync members, and joiners.
    fn write_set(&self, pg: PgId, group: &Group) -> Vec<Place> {
        [self.readers(pg, group), self.joiners(pg, group)].concat()
    }

    fn joiners(&self, pg: PgId, group: &Group) -> Vec<Place> {
        self.state.joiners(group).map(|member| Place::of(member, pg)).collect()
    }
}

/// A request of an attachment, its id still to be given by [`Context::send`].
const fn request(
    vid: Vid,
    generation: Generation,
    view: View,
    stable: Stamp,
    body: RequestBody,
) -> Request {
    Request { id: 0, vid, generation, view, stable, body }
}

#[cfg(test)]
mod tests;
