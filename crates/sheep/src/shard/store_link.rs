//! The store of a shard on one disk: it lives on the shard's thread and goes on whenever
//! something is new.
//!
//! Way: `push` queues a request; when the shard has nothing else to do, or the disk has ended
//!      something, `drive_store` lets the store take a turn and delivers its replies. What one
//!      turn of the shard brings becomes one commit, and one system call takes it to the disk.
//! Holds:
//!   SL1 the store is never borrowed while a reply is delivered: that may push again;
//!   SL2 after `fail` nothing is answered with success any more, whatever the disk still does.
//! Not here: which disk a request is for (`stores`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sheepdog_engine::state::ClusterState;
use sheepdog_proto::Oid;
use sheepdog_store::{Reply, Request, Statistics, Store, StoreError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

use super::Shard;
use super::patience::Patience;
use super::replica::ReplyTo;
use super::stores::Part;
use crate::shared::DiskEvent;

/// How often it is looked whether a checkpoint has ended.
const CHECK: Duration = Duration::from_millis(10);

pub(crate) type StoreResult = Result<Reply, StoreError>;

/// What happens with the answer.
pub(crate) enum Then {
    /// It goes to a gateway; `changed` names the object, if it is about a change.
    Reply { reply_to: ReplyTo, id: u64, bytes: u64, started: Instant, changed: Option<Oid> },
    /// It goes to a gateway, as far as this sheep took the changes of a group when it was asked.
    ReplyList { reply_to: ReplyTo, id: u64, state: Arc<ClusterState> },
    /// The joiner of this shard asked.
    Join(u64),
    /// Somebody of this sheep asked.
    Tell(oneshot::Sender<StoreResult>),
    /// It is one of several that make one answer.
    Part(Part),
    /// Somebody else answers; the move of this number must know whether it went well.
    Doubled { id: u64 },
    /// Nobody waits.
    Nothing,
}

/// A shard's end of one store.
pub(crate) struct StoreLink {
    /// Slot of its disk.
    pub(crate) slot: u8,
    /// `None` once it has failed or was closed.
    store: RefCell<Option<Store>>,
    failure: RefCell<Option<StoreError>>,
    waiting: RefCell<BTreeMap<u64, Then>>,
    /// What came, or was waiting, when the store had failed.
    refused: RefCell<Vec<Then>>,
    is_closed: Cell<bool>,
    last_token: Cell<u64>,
    patience: RefCell<Patience>,
    ready: Notify,
}

impl StoreLink {
    pub(super) fn new(slot: u8, store: Store) -> Self {
        Self {
            slot,
            store: RefCell::new(Some(store)),
            failure: RefCell::default(),
            waiting: RefCell::default(),
            refused: RefCell::default(),
            is_closed: Cell::default(),
            last_token: Cell::default(),
            patience: RefCell::default(),
            ready: Notify::new(),
        }
    }

    /// Queues a request behind all earlier ones.
    pub(crate) fn push(&self, request: Request, then: Then) {
        match &mut *self.store.borrow_mut() {
            Some(store) => {
                let token = self.last_token.get() + 1;
                self.last_token.set(token);
                self.waiting.borrow_mut().insert(token, then);
                store.submit(token, request);
            }
            // Whoever asks a disk that was taken out meanwhile must not wait for ever.
            None if self.is_closed.get() => drop(then),
            None => self.refused.borrow_mut().push(then),
        }
        self.ready.notify_one();
    }

    /// Queues a request and waits for its answer.
    pub(crate) async fn ask(&self, request: Request) -> Option<StoreResult> {
        let (sender, receiver) = oneshot::channel();
        self.push(request, Then::Tell(sender));
        receiver.await.ok()
    }

    /// Asks that everything be put in place; the number of checkpoints so far. `None` without a
    /// store.
    fn want_checkpoint(&self) -> Option<u64> {
        let mut store = self.store.borrow_mut();
        let store = store.as_mut()?;
        store.want_checkpoint();
        self.ready.notify_one();
        Some(store.statistics().checkpoints)
    }

    /// Once per tick. The disk is so slow that it holds up everybody.
    fn look(&self) -> bool {
        let oldest = self.waiting.borrow().first_key_value().map(|(token, _)| *token);
        let mut patience = self.patience.borrow_mut();
        patience.look(oldest, self.last_token.get());
        patience.is_over() && !self.has_failed()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Everything that waits, and all that comes, is answered with the failure (SL2).
    pub(super) fn fail(&self, why: StoreError) {
        if self.has_failed() {
            return;
        }
        *self.failure.borrow_mut() = Some(why);
        self.refused
            .borrow_mut()
            .extend(std::mem::take(&mut *self.waiting.borrow_mut()).into_values());
        self.drop_store();
        self.ready.notify_one();
    }

    /// Ends when everything is answered that was queued before the call.
    pub(super) async fn wait_older(&self) {
        let last = self.last_token.get();
        while self.waiting.borrow().first_key_value().is_some_and(|(first, _)| *first <= last) {
            tokio::time::sleep(CHECK).await;
        }
    }

    /// Lets go of the files, and ends when that is done. Nothing may be queued any more.
    pub(super) async fn close(&self) {
        self.wait_older().await;
        self.is_closed.set(true);
        self.ready.notify_one();
        let store = self.store.borrow_mut().take();
        let _ = tokio::task::spawn_blocking(move || drop(store)).await;
    }

    /// Lets go of the files. A disk that does not answer must not keep the shard waiting.
    pub(super) fn drop_store(&self) {
        let store = self.store.borrow_mut().take();
        let _ = std::thread::Builder::new().spawn(move || drop(store));
    }

    /// Puts everything in place, so that the next start has nothing to replay. Waits for the
    /// disk: only for the end of a sheep.
    pub(super) fn checkpoint(&self) {
        let Some(store) = &mut *self.store.borrow_mut() else { return };
        if let Err(error) = store.checkpoint() {
            tracing::warn!(%error, "no last checkpoint; the next start will replay the log");
        }
    }

    /// What the store did; nothing once it has failed.
    pub(super) fn statistics(&self) -> Statistics {
        self.store.borrow().as_ref().map(|store| store.statistics().clone()).unwrap_or_default()
    }

    fn turn(&self) -> Vec<(Then, StoreResult)> {
        let mut replies = Vec::new();
        if let Some(store) = &mut *self.store.borrow_mut() {
            store.turn(false);
            replies = store.take_replies();
        }
        let mut waiting = self.waiting.borrow_mut();
        let pair = |(token, reply)| Some((waiting.remove(&token)?, reply));
        let mut ended: Vec<_> = replies.into_iter().filter_map(pair).collect();
        if let Some(failure) = &*self.failure.borrow() {
            let refused = std::mem::take(&mut *self.refused.borrow_mut());
            ended.extend(refused.into_iter().map(|then| (then, Err(failure.clone()))));
        }
        ended
    }

    /// A second handle of what becomes readable when the disk has ended something.
    #[allow(deprecated)] // Its successor is unsafe; what is owned and never lent out is sound here.
    fn wakeup(&self) -> std::io::Result<Option<AsyncFd<OwnedFd>>> {
        let store = self.store.borrow();
        let Some(store) = &*store else { return Ok(None) };
        let none = || std::io::Error::other("the disk does not say when it has ended something");
        let wakeup = store.wakeup().ok_or_else(none)?.try_clone_to_owned()?;
        AsyncFd::with_interest(wakeup, Interest::READABLE).map(Some)
    }
}

/// Why a disk is not used any more, in the words of a store.
pub(super) fn failure(why: &str) -> StoreError {
    let cause = StoreError::Io {
        operation: "use",
        path: String::new(),
        kind: std::io::ErrorKind::Other,
        message: why.to_owned(),
    };
    StoreError::Failed { cause: Arc::new(cause) }
}

impl Shard {
    /// Lets a store go on until it is closed or the sheep ends.
    pub(super) async fn drive_store(self: Rc<Self>, link: Rc<StoreLink>) {
        let wakeup = match link.wakeup() {
            Ok(wakeup) => wakeup,
            Err(error) => {
                self.note_store_failure(&link, &failure(&error.to_string()));
                None
            }
        };
        while !link.is_closed.get() {
            match &wakeup {
                Some(wakeup) if !link.has_failed() => tokio::select! {
                    () = link.ready.notified() => {}
                    guard = wakeup.readable() => match guard {
                        Ok(mut guard) => guard.clear_ready(),
                        Err(error) => {
                            self.note_store_failure(&link, &failure(&error.to_string()));
                        }
                    },
                },
                _ => link.ready.notified().await,
            }
            self.turn_store(&link);
        }
    }

    /// Ends when everything that was answered before is in place.
    pub(crate) async fn checkpoint_stores(&self) {
        for link in self.stores.all() {
            // One may be under way that began before the last answer.
            for _ in 0..2 {
                let Some(before) = link.want_checkpoint() else { break };
                while !link.has_failed() && link.statistics().checkpoints == before {
                    tokio::time::sleep(CHECK).await;
                }
            }
        }
    }

    fn turn_store(self: &Rc<Self>, link: &StoreLink) {
        let replies = link.turn();
        if replies.is_empty() {
            return;
        }
        for (then, result) in replies {
            if let Err(error) = &result
                && error.is_fatal()
            {
                self.note_store_failure(link, error);
            }
            self.take_store_reply(then, result); // SL1
        }
        self.run();
    }

    /// What found no space is tried again, and the counters are shown.
    pub(super) fn tick_stores(self: &Rc<Self>) {
        let mut statistics = Statistics::default();
        for link in self.stores.all() {
            if let Some(store) = &mut *link.store.borrow_mut() {
                store.tick();
            }
            self.turn_store(&link);
            let failure = link.store.borrow().as_ref().and_then(|store| store.failure().cloned());
            if let Some(failure) = failure {
                self.note_store_failure(&link, &failure);
            }
            if link.look() {
                self.shared.tell_disks(DiskEvent::Slow { slot: link.slot });
            }
            statistics.add(&link.statistics());
        }
        self.metrics.set_store(&statistics);
    }

    /// This shard uses the disk no more; whoever directs the disks decides what follows.
    fn note_store_failure(&self, link: &StoreLink, why: &StoreError) {
        if link.has_failed() {
            return;
        }
        tracing::error!(shard = self.index, slot = link.slot, error = %why, "disk");
        link.fail(why.clone());
        self.shared.tell_disk_failed(link.slot, why.to_string());
    }
}

#[cfg(test)]
#[path = "store_link/tests.rs"]
mod tests;
