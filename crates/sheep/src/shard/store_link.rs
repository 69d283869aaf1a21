//! The store's thread: batches go to it, answers come back in the same order.
//!
//! Why: this form of the store waits for the disk; on a thread of its own it never stops a shard.
//! Way: `push` gathers what one turn of the shard brings; `flush_store` sends it as one batch;
//!      the thread takes all batches that wait and executes them as one commit.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc as blocking;
use std::time::Instant;

use sheepdog_proto::peer::Reply as PeerReply;
use sheepdog_store::{Reply, Request, Store, StoreError};
use tokio::sync::{Notify, mpsc, oneshot};

use super::Shard;
use super::replica::{ReplyTo, translate};

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
    batch: RefCell<Vec<Request>>,
    waiting: RefCell<VecDeque<Then>>,
    ready: Notify,
    thread: blocking::Sender<Vec<Request>>,
}

impl StoreLink {
    /// Starts the thread.
    pub(super) fn start(
        index: u16,
        store: Store,
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Vec<StoreResult>>)> {
        let (thread, batches) = blocking::channel();
        let (answers, receiver) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name(format!("store-{index}"))
            .spawn(move || run_thread(store, &batches, &answers))?;
        let link = Self {
            batch: RefCell::default(),
            waiting: RefCell::default(),
            ready: Notify::new(),
            thread,
        };
        Ok((link, receiver))
    }

    /// Queues a request behind all earlier ones.
    pub(crate) fn push(&self, request: Request, then: Then) {
        self.batch.borrow_mut().push(request);
        self.waiting.borrow_mut().push_back(then);
        self.ready.notify_one();
    }

    /// Queues a request and waits for its answer.
    pub(crate) async fn ask(&self, request: Request) -> Option<StoreResult> {
        let (sender, receiver) = oneshot::channel();
        self.push(request, Then::Tell(sender));
        receiver.await.ok()
    }
}

fn run_thread(
    mut store: Store,
    batches: &blocking::Receiver<Vec<Request>>,
    answers: &mpsc::UnboundedSender<Vec<StoreResult>>,
) {
    while let Ok(mut batch) = batches.recv() {
        while let Ok(more) = batches.try_recv() {
            batch.extend(more);
        }
        if answers.send(store.execute(batch)).is_err() {
            return;
        }
    }
}

impl Shard {
    pub(super) async fn flush_store(self: Rc<Self>) {
        loop {
            self.store.ready.notified().await;
            let batch = std::mem::take(&mut *self.store.batch.borrow_mut());
            if batch.is_empty() {
                continue;
            }
            self.metrics.store_batches.fetch_add(1, Relaxed);
            self.metrics.store_requests.fetch_add(batch.len() as u64, Relaxed);
            if self.store.thread.send(batch).is_err() {
                crate::stop::die("the store's thread has ended");
            }
        }
    }

    pub(super) async fn take_store_replies(
        self: Rc<Self>,
        mut replies: mpsc::UnboundedReceiver<Vec<StoreResult>>,
    ) {
        while let Some(results) = replies.recv().await {
            for result in results {
                let then = self.store.waiting.borrow_mut().pop_front();
                self.take_store_reply(then, result);
            }
            self.run();
        }
    }

    fn take_store_reply(self: &Rc<Self>, then: Option<Then>, result: StoreResult) {
        if let Err(error) = &result {
            if error.is_fatal() {
                // The log will say that this sheep is gone, and the others go on without it.
                crate::stop::die(&error.to_string());
            }
            tracing::warn!(%error, "store");
        }
        match then {
            Some(Then::Reply { reply_to, id, bytes, started }) => {
                self.note_replica(bytes, started, result.is_ok());
                self.reply(&reply_to, PeerReply { id, result: translate(result) });
            }
            Some(Then::Tell(waiting)) => {
                let _ = waiting.send(result);
            }
            Some(Then::Nothing) | None => {}
        }
    }
}
