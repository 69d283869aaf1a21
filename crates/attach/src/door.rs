//! The door: all that a face knows of the sheep behind it.
//!
//! Why: faces are tested without a cluster, and the cluster without faces.
//! Way: `sheep` implements [`Door`] once per shard; tests implement it over memory.

use std::future::Future;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use sheepdog_engine::state::{ClusterState, Outcome, Refused};
use sheepdog_engine::volume::{Answer, Operation, Refusal};
use sheepdog_proto::Vid;
use sheepdog_proto::command::Command;

use crate::opener::Openers;

/// Called exactly once with the end of an operation, on the shard that submitted it.
pub type Done = Box<dyn FnOnce(Result<Answer, Refusal>)>;

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Face {
    /// The first Sheepdog's client protocol.
    Legacy,
    /// Network block device.
    Nbd,
    /// The admin API's read and write.
    Admin,
}

/// Kind of an operation, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Bytes out.
    Read,
    /// Bytes in.
    Write,
    /// Discard and zeroes.
    Zero,
    /// Flush.
    Flush,
    /// Everything else.
    Other,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Every sheep refused it in the same way.
    Refused(Refused),
    /// The log cannot be reached, or this sheep is stopping.
    Unavailable,
}

/// A socket of either family, between two shards.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

/// A connection on its way to the shard of its VDI. Nothing of it may be in flight.
#[derive(Debug)]
pub struct Parcel {
    /// The socket, non-blocking.
    pub socket: Socket,
    /// Bytes received and not yet understood.
    pub unread: Vec<u8>,
    /// Its number in [`Openers`].
    pub connection: u64,
    /// What the face must know to go on.
    pub stage: Stage,
}

/// How far a handed-over connection has come.
#[derive(Debug)]
pub enum Stage {
    /// Legacy: before its first request (which is in `unread`).
    Legacy,
    /// NBD: before the option that opens a VDI of this shard (which is in `unread`).
    Nbd {
        /// The client wants no padding after `EXPORT_NAME`.
        no_zeroes: bool,
        /// The client asked for structured replies.
        structured: bool,
        /// The export for which the client selected `base:allocation`.
        context: Option<String>,
    },
}

/// One shard's door. Cheap to clone. Lives on one thread.
pub trait Door: Clone + 'static {
    /// The newest cluster state that this shard has applied.
    fn state(&self) -> Arc<ClusterState>;

    /// The shard that this door belongs to.
    fn shard(&self) -> usize;

    /// The shard that must serve `vid`.
    fn shard_of(&self, vid: Vid) -> usize;

    /// Moves a connection to another shard, which calls [`crate::serve_parcel`].
    fn hand_over(&self, shard: usize, parcel: Parcel);

    /// Who has what open on this sheep.
    fn openers(&self) -> &Openers;

    /// Appends a command to the coordination log; ends when this shard has applied it.
    fn command(&self, command: Command) -> impl Future<Output = Result<Outcome, CommandError>>;

    /// Makes this sheep the owner of `vid`, or finds that it is. Ends when operations are served:
    /// barrier and reconcile are done. `vid` must be of this shard.
    fn attach(&self, vid: Vid) -> impl Future<Output = Result<(), Refusal>>;

    /// Waits for what was submitted and lets go of `vid`. Never fails: what is not owned is free.
    fn detach(&self, vid: Vid) -> impl Future<Output = ()>;

    /// Starts an operation on an attached VDI of this shard. `done` is called once; not before
    /// `submit` returned. Operations on overlapping blocks take effect in the order of submission.
    /// If `vid` is not attached through this sheep, `done` gets [`Refusal::Fenced`].
    fn submit(&self, vid: Vid, operation: Operation, done: Done);

    /// Counts one finished operation.
    fn observe(&self, face: Face, kind: Kind, bytes: u64, took: Duration, ok: bool);
}
