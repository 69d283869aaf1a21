//! What every driver of the coordination log offers, and nothing more.
//!
//! Why: etcd and others come later; a driver is three calls and one stream.
//! Way: appends are ordered as they are called, on any thread; answers are futures that own
//!      what they need, so an owner may await them, spawn them or drop them.

use std::pin::Pin;
use std::sync::Arc;

use sheepdog_proto::LogIndex;
use tokio::sync::mpsc;

use crate::{Lease, LogError};

/// The future answer of a call. The call takes effect even if the answer is dropped.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send>>;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position; the first entry has index 1, each next one more.
    pub index: LogIndex,
    /// The session that appended it, or whose will it is.
    pub session: u128,
    /// The bytes that were appended.
    pub payload: Arc<[u8]>,
}

/// What the log tells its owner.
#[derive(Clone, Debug)]
pub enum Event {
    /// The next entry. Entries come in order, each once, without gaps (L1).
    Entry(Entry),
    /// The log can be reached (again). Every entry that was in it then has come before this
    /// event, so the owner is up to date.
    Connected {
        /// Index of the last of them; 0 in an empty log.
        last: LogIndex,
    },
    /// The log is not reachable at the moment; appends wait. Changes that follow each other
    /// faster than the owner takes events may be told as the last of them only.
    Disconnected,
    /// The log cannot be used any more. No event follows; every call is answered with this.
    Failed(LogError),
}

/// A session on the coordination log.
///
/// Dropping it without [`close`](Self::close) ends the session as the death of the process
/// does: its will is appended.
pub trait CoordinationLog: Send + Sync {
    /// Appends one entry. On `Ok` it is durable, ordered and in the log exactly once, even if
    /// the log's server died in between; the entry also comes as an event to every member,
    /// this one included, perhaps after this answer. Waits while the log is unreachable.
    /// Appends of one session stand in the log in the order of the calls.
    ///
    /// # Errors
    /// `TooLarge` and `Busy`: nothing was appended. `Closed`, and what `Failed` says: the entry
    /// may be in the log or not.
    fn append(&self, payload: Vec<u8>) -> Answer<LogIndex>;

    /// Sets what is appended when this session ends without `close`; replaces an earlier will.
    /// On `Ok` the will is durable: power loss does not lose it. Waits until the log has been
    /// reached once.
    ///
    /// # Errors
    /// `TooLarge` and `Io`: the earlier will stands. Otherwise as [`append`](Self::append).
    fn set_will(&self, payload: Vec<u8>) -> Answer<()>;

    /// Until when this session lasts (L5).
    fn lease(&self) -> Lease;

    /// Ends the session in order: no will is appended. Await the answers of appends before:
    /// those still without one are answered `Closed`. On return nothing of the session is left
    /// in this process.
    ///
    /// # Errors
    /// `Io` if the will could not be taken back: it may be appended.
    fn close(self: Box<Self>) -> Answer<()>;
}

/// The ordered stream of a session's events.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
}

impl Events {
    pub(crate) fn new(receiver: mpsc::Receiver<Event>) -> Self {
        Self { receiver }
    }

    /// The next event; `None` after `Failed` or when the session has ended. An owner that
    /// takes none holds up nobody but itself. May be cancelled without losing an event.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}
