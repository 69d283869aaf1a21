//! The store of a shard: it lives on the shard's thread and goes on whenever something is new.
//!
//! Way: `push` queues a request; when the shard has nothing else to do, or the disk has ended
//!      something, `drive_store` lets the store take a turn and delivers its replies. What one
//!      turn of the shard brings becomes one commit, and one system call takes it to the disk.
//! Holds: SL1 the store is never borrowed while a reply is delivered: that may push again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sheepdog_proto::peer::Reply as PeerReply;
use sheepdog_store::{Reply, Request, Store, StoreError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

use super::Shard;
use super::replica::{ReplyTo, translate};

/// How often it is looked whether a checkpoint has ended.
const CHECK: Duration = Duration::from_millis(10);

type StoreResult = Result<Reply, StoreError>;

/// What happens with the answer.
pub(crate) enum Then {
    /// It goes to a gateway.
    Reply { reply_to: ReplyTo, id: u64, bytes: u64, started: Instant },
    /// Somebody of this sheep asked.
    Tell(oneshot::Sender<StoreResult>),
    /// Nobody waits.
    Nothing,
}

/// A shard's end of its store.
pub(crate) struct StoreLink {
    store: RefCell<Store>,
    waiting: RefCell<BTreeMap<u64, Then>>,
    last_token: Cell<u64>,
    ready: Notify,
}

impl StoreLink {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store: RefCell::new(store),
            waiting: RefCell::default(),
            last_token: Cell::default(),
            ready: Notify::new(),
        }
    }

    /// Queues a request behind all earlier ones.
    pub(crate) fn push(&self, request: Request, then: Then) {
        let token = self.last_token.get() + 1;
        self.last_token.set(token);
        self.waiting.borrow_mut().insert(token, then);
        self.store.borrow_mut().submit(token, request);
        self.ready.notify_one();
    }

    /// Queues a request and waits for its answer.
    pub(crate) async fn ask(&self, request: Request) -> Option<StoreResult> {
        let (sender, receiver) = oneshot::channel();
        self.push(request, Then::Tell(sender));
        receiver.await.ok()
    }

    /// Asks that everything be put in place; the number of checkpoints so far.
    fn want_checkpoint(&self) -> u64 {
        let mut store = self.store.borrow_mut();
        store.want_checkpoint();
        self.ready.notify_one();
        store.statistics().checkpoints
    }

    /// Puts everything in place, so that the next start has nothing to replay. Waits for the
    /// disk: only for the end of a sheep.
    pub(super) fn checkpoint(&self) {
        if let Err(error) = self.store.borrow_mut().checkpoint() {
            tracing::warn!(%error, "no last checkpoint; the next start will replay the log");
        }
    }

    fn turn(&self) -> Vec<(Then, StoreResult)> {
        let mut store = self.store.borrow_mut();
        store.turn(false);
        let replies = store.take_replies();
        let mut waiting = self.waiting.borrow_mut();
        let pair = |(token, reply)| Some((waiting.remove(&token)?, reply));
        replies.into_iter().filter_map(pair).collect()
    }

    /// A second handle of what becomes readable when the disk has ended something.
    #[allow(deprecated)] // Its successor is unsafe; what is owned and never lent out is sound here.
    fn wakeup(&self) -> std::io::Result<AsyncFd<OwnedFd>> {
        let store = self.store.borrow();
        let wakeup = store.wakeup().map(|wakeup| wakeup.try_clone_to_owned());
        let none = || std::io::Error::other("the disk does not say when it has ended something");
        AsyncFd::with_interest(wakeup.ok_or_else(none)??, Interest::READABLE)
    }
}

impl Shard {
    /// Lets the store go on until the sheep ends.
    pub(super) async fn drive_store(self: Rc<Self>) {
        let wakeup = match self.store.wakeup() {
            Ok(wakeup) => wakeup,
            Err(error) => crate::stop::die(&format!("store: {error}")),
        };
        loop {
            tokio::select! {
                () = self.store.ready.notified() => {}
                guard = wakeup.readable() => match guard {
                    Ok(mut guard) => guard.clear_ready(),
                    Err(error) => crate::stop::die(&format!("store: {error}")),
                },
            }
            self.turn_store();
        }
    }

    /// Ends when everything that was answered before is in place.
    pub(crate) async fn checkpoint_store(&self) {
        // One may be under way that began before the last answer.
        for _ in 0..2 {
            let before = self.store.want_checkpoint();
            while self.store.store.borrow().statistics().checkpoints == before {
                tokio::time::sleep(CHECK).await;
            }
        }
    }

    fn turn_store(self: &Rc<Self>) {
        let replies = self.store.turn();
        if replies.is_empty() {
            return;
        }
        for (then, result) in replies {
            self.take_store_reply(then, result); // SL1
        }
        self.run();
    }

    /// What found no space is tried again, and the counters are shown.
    pub(super) fn tick_store(self: &Rc<Self>) {
        self.store.store.borrow_mut().tick();
        self.turn_store();
        let store = self.store.store.borrow();
        self.metrics.set_store(store.statistics());
        if let Some(failure) = store.failure() {
            crate::stop::die(&failure.to_string());
        }
    }

    fn take_store_reply(self: &Rc<Self>, then: Then, result: StoreResult) {
        if let Err(error) = &result {
            if error.is_fatal() {
                // The log will say that this sheep is gone, and the others go on without it.
                crate::stop::die(&error.to_string());
            }
            tracing::warn!(%error, "store");
        }
        match then {
            Then::Reply { reply_to, id, bytes, started } => {
                self.note_replica(bytes, started, result.is_ok());
                self.reply(&reply_to, PeerReply { id, result: translate(result) });
            }
            Then::Tell(waiting) => {
                let _ = waiting.send(result);
            }
            Then::Nothing => {}
        }
    }
}
