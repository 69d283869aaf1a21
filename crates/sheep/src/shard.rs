//! A shard: one thread that owns its attachments, its share of the copies and its connections.
//!
//! Way: mail and sockets come in -> the engine decides (`run`) -> actions go out: to a store
//!      (`stores`, `store_link`), to other sheep (`crate::peer`), to faces (`deliver`). A request
//!      stays on the thread where it arrived.
//! Holds:
//!   H1 the engine is never called from inside itself: answers are delivered by a task of their
//!      own, after the call that made them has returned;
//!   H2 no borrow of the engine is held across an await.
//! Not here: decisions (engine).

mod attach;
pub(crate) mod disk;
mod door;
mod join;
pub(crate) mod mail;
mod mover;
mod patience;
mod replica;
pub(crate) mod scrub;
pub(crate) mod store_link;
pub(crate) mod stores;
pub(crate) mod sweep;

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use sheepdog_attach::door::{CommandError, Done};
use sheepdog_engine::gateway::{Action, Gateway, Place};
use sheepdog_engine::join::{JOINER_ID, Joiner};
use sheepdog_engine::state::ClusterState;
use sheepdog_engine::volume::{Answer, Refusal};
use sheepdog_proto::command::Command;
use sheepdog_proto::peer::{PeerError, Reply, ReplyBody, Request};
use sheepdog_proto::{LogIndex, PgId, Vid};
use sheepdog_store::Store;
use tokio::sync::{Notify, mpsc, watch};

use crate::metrics::ShardMetrics;
use crate::peer::incoming::Incoming;
use crate::peer::outgoing::Link;
use crate::shared::{CommandResult, Shared};
use attach::Waiters;
pub(crate) use door::ShardDoor;
use mail::Mail;
use replica::Held;
pub(crate) use replica::ReplyTo;
use stores::{Buckets, Stores};

const TICK: Duration = Duration::from_millis(100);

/// One shard. Everything in it belongs to one thread.
pub(crate) struct Shard {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: u16,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) stores: Stores,
    gateway: RefCell<Gateway>,
    state: RefCell<Arc<ClusterState>>,
    applied: watch::Sender<LogIndex>,
    held: RefCell<Vec<Held>>,
    local_replies: RefCell<VecDeque<Reply>>,
    pub(super) joiner: RefCell<Joiner>,
    /// The own store's answers to the joiner.
    scrubbing: RefCell<scrub::Scrubbing>,
    local_answers: RefCell<VecDeque<(u64, Result<ReplyBody, PeerError>)>>,
    /// A gateway asked for something since the last tick.
    is_busy: RefCell<bool>,
    links: RefCell<BTreeMap<Place, Rc<Link>>>,
    incoming: RefCell<Incoming>,
    operations: RefCell<Operations>,
    waiters: RefCell<Waiters>,
    swept: RefCell<BTreeSet<Vid>>,
    /// Groups whose copies are not needed here.
    given_up: RefCell<BTreeSet<PgId>>,
    legacy: OnceCell<Rc<sheepdog_attach::legacy::Shard<ShardDoor>>>,
    deliverable: Notify,
    stopping: Cell<bool>,
}

/// Client operations between `submit` and their `Done`.
#[derive(Default)]
struct Operations {
    last: u64,
    open: BTreeMap<u64, Done>,
    ended: VecDeque<(Done, Result<Answer, Refusal>)>,
    /// Not to be answered in this life.
    kept: Vec<Done>,
}

/// Runs a shard until its mail ends.
pub(crate) fn run(
    shared: Arc<Shared>,
    index: u16,
    state: Arc<ClusterState>,
    (stores, buckets): (BTreeMap<u8, Store>, Buckets),
    mail: mpsc::UnboundedReceiver<Mail>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let stores = Stores::new(stores, buckets);
        let shard = Rc::new(Shard::new(shared, index, state, stores));
        for link in shard.stores.all() {
            tokio::task::spawn_local(shard.clone().drive_store(link));
        }
        tokio::task::spawn_local(shard.clone().deliver());
        tokio::task::spawn_local(shard.clone().tick());
        shard.sweep_new();
        shard.step_joiner(|joiner| joiner.handle_state(shard.state()));
        shard.watch_others();
        tokio::task::spawn_local(shard.clone().clear_leftovers());
        let share = shard.shared.scrub_rate / shard.shared.shards.len().max(1) as u64;
        tokio::task::spawn_local(shard.clone().watch_copies(share));
        shard.take_mail(mail).await;
        Ok(())
    })
}

impl Shard {
    fn new(shared: Arc<Shared>, index: u16, state: Arc<ClusterState>, stores: Stores) -> Self {
        let metrics = shared.metrics[usize::from(index)].clone();
        let me = shared.me;
        Self {
            gateway: RefCell::new(Gateway::new(shared.me, state.clone())),
            applied: watch::Sender::new(state.index),
            state: RefCell::new(state),
            shared,
            index,
            metrics,
            stores,
            held: RefCell::default(),
            local_replies: RefCell::default(),
            joiner: RefCell::new(Joiner::new(me, index)),
            scrubbing: RefCell::default(),
            local_answers: RefCell::default(),
            is_busy: RefCell::default(),
            links: RefCell::default(),
            incoming: RefCell::default(),
            operations: RefCell::default(),
            waiters: RefCell::default(),
            swept: RefCell::default(),
            given_up: RefCell::default(),
            legacy: OnceCell::new(),
            deliverable: Notify::new(),
            stopping: Cell::new(false),
        }
    }

    /// The newest state that this shard has applied.
    pub(crate) fn state(&self) -> Arc<ClusterState> {
        self.state.borrow().clone()
    }

    pub(crate) fn place(&self) -> Place {
        Place { node: self.shared.me.node, shard: self.index }
    }

    /// Lets the gateway take a step and carries out whatever follows.
    pub(crate) fn step(self: &Rc<Self>, step: impl FnOnce(&mut Gateway)) {
        step(&mut self.gateway());
        self.run();
    }

    /// The gateway, for one step: what it answers in it was read before this moment (LEASE).
    fn gateway(&self) -> RefMut<'_, Gateway> {
        let mut gateway = self.gateway.borrow_mut();
        gateway.set_lease(self.shared.lease.lasts());
        gateway
    }

    fn run(self: &Rc<Self>) {
        loop {
            let actions = self.gateway.borrow_mut().take_actions();
            let joining = self.joiner.borrow_mut().take_actions();
            let reply = self.local_replies.borrow_mut().pop_front();
            let answer = self.local_answers.borrow_mut().pop_front();
            if actions.is_empty() && joining.is_empty() && reply.is_none() && answer.is_none() {
                return;
            }
            actions.into_iter().for_each(|action| self.perform(action));
            joining.into_iter().for_each(|action| self.perform_joining(action));
            if let Some(reply) = reply {
                self.gateway().handle_reply(self.place(), reply);
            }
            if let Some((token, result)) = answer {
                self.joiner.borrow_mut().handle_local(token, result);
            }
        }
    }

    fn perform(self: &Rc<Self>, action: Action) {
        match action {
            Action::Send(place, request) => self.send(place, request),
            Action::Propose(command) => {
                tokio::task::spawn_local(propose(self.shared.clone(), command));
            }
            Action::Answer(token, result) => {
                let mut operations = self.operations.borrow_mut();
                if let Some(done) = operations.open.remove(&token) {
                    operations.ended.push_back((done, result));
                    self.deliverable.notify_one();
                }
            }
            Action::Live(vid) => self.note_live(vid),
            Action::Drained(vid, generation) => self.let_go(vid, generation),
            Action::Lost(vid) => self.note_lost(vid),
        }
    }

    fn send(self: &Rc<Self>, place: Place, request: Request) {
        if place.node != self.shared.me.node {
            self.link(place).push(request);
        } else if place.shard == self.index {
            self.take_request(ReplyTo::Gateway, request);
        } else {
            let mail = Mail::Request { from: self.index, request };
            self.shared.mail(usize::from(place.shard), mail);
        }
    }

    fn link(self: &Rc<Self>, place: Place) -> Rc<Link> {
        let mut links = self.links.borrow_mut();
        let open = links.entry(place).or_insert_with(|| {
            let is_watched = self.index == 0 && place.shard == 0;
            let link = Rc::new(Link::new(self.metrics.peer(place.node.0), is_watched));
            tokio::task::spawn_local(crate::peer::outgoing::keep(
                self.clone(),
                place,
                link.clone(),
            ));
            link
        });
        open.clone()
    }

    /// One shard has a link to every other sheep, so that each hears when another one is silent.
    fn watch_others(self: &Rc<Self>) {
        let state = self.state();
        // Without a format there is no cluster whose members could greet each other.
        if self.index == 0 && state.format.is_some() {
            for member in state.members.up().filter(|m| m.node != self.shared.me.node) {
                self.link(Place { node: member.node, shard: 0 });
            }
        }
    }

    /// Another sheep has answered.
    pub(crate) fn take_replies(self: &Rc<Self>, place: Place, replies: Vec<Reply>) {
        for reply in replies {
            let mut reply = Some(reply);
            if self.take_scrub_reply(&mut reply) {
                continue;
            }
            let Some(reply) = reply else { continue };
            if reply.id & JOINER_ID == 0 {
                self.gateway().handle_reply(place, reply);
            } else {
                self.joiner.borrow_mut().handle_reply(place, reply);
            }
        }
        self.run();
    }

    /// The connection to a place was made anew.
    pub(crate) fn note_reconnect(self: &Rc<Self>, place: Place) {
        self.step(|gateway| gateway.handle_reconnect(place));
        self.step_joiner(|joiner| joiner.handle_reconnect(place));
    }

    /// Forgets the link to a sheep that is gone; its task has ended.
    pub(crate) fn drop_link(&self, place: Place) {
        self.links.borrow_mut().remove(&place);
    }

    pub(crate) fn open_operation(&self, done: Done) -> u64 {
        let mut operations = self.operations.borrow_mut();
        operations.last += 1;
        let token = operations.last;
        operations.open.insert(token, done);
        token
    }

    /// Delivers ended operations (H1). A face may submit the next one from inside `done`.
    async fn deliver(self: Rc<Self>) {
        loop {
            self.deliverable.notified().await;
            loop {
                let ended = self.operations.borrow_mut().ended.pop_front();
                let Some((done, result)) = ended else { break };
                let is_too_late = matches!(result, Err(Refusal::Fenced | Refusal::Stopping));
                if self.stopping.get() && is_too_late {
                    // An error would reach the virtual machine. The connection ends with this
                    // process; the client makes another one and sends the request again.
                    self.operations.borrow_mut().kept.push(done);
                } else {
                    done(result);
                }
            }
        }
    }

    async fn tick(self: Rc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.step(Gateway::tick);
            self.tick_joiner();
            self.metrics.set_waits(self.gateway.borrow().waits());
            self.metrics.healed.store(self.gateway.borrow().healed(), Relaxed);
            self.tick_stores();
        }
    }

    fn handle_state(self: &Rc<Self>, state: Arc<ClusterState>) {
        let index = state.index;
        *self.state.borrow_mut() = state.clone();
        self.step_joiner(|joiner| joiner.handle_state(state.clone()));
        self.step(|gateway| gateway.handle_state(state));
        self.watch_others();
        self.admit_held();
        self.applied.send_replace(index);
        self.sweep_new();
    }

    /// Ends when this shard has applied the log up to `index`.
    pub(crate) async fn wait_applied(&self, index: LogIndex) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as the shard.
        let _ = applied.wait_for(|now| *now >= index).await;
    }

    /// Ends when this shard has applied more of the log than `index`.
    pub(crate) async fn wait_newer(&self, index: LogIndex) {
        self.wait_applied(LogIndex(index.0 + 1)).await;
    }

    pub(crate) fn note_replica(&self, bytes: u64, started: Instant, ok: bool) {
        self.metrics.replica.note(bytes, started.elapsed(), ok);
    }
}

/// Appends what the engine needs: whether it still made sense is for the cluster state to say.
async fn propose(shared: Arc<Shared>, command: Command) {
    let _ = append(&shared, command).await;
}

/// Appends a command until it is in the log.
async fn append(shared: &Shared, command: Command) -> CommandResult {
    loop {
        let ended = shared.command(command.clone()).await;
        if ended != Err(CommandError::Unavailable) {
            return ended;
        }
        tokio::time::sleep(TICK).await;
    }
}
