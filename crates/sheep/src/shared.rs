//! What all threads of one sheep know of each other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sheepdog_attach::door::CommandError;
use sheepdog_attach::opener::Openers;
use sheepdog_client::admin::types::Failure;
use sheepdog_cluster::Lease;
use sheepdog_engine::gateway::{Me, Place};
use sheepdog_engine::state::Outcome;
use sheepdog_proto::command::Command;
use sheepdog_proto::{LogIndex, Vid};
use tokio::sync::{mpsc, oneshot};

use crate::disks::Plugged;
use crate::metrics::ShardMetrics;
use crate::pace::Forecast;
use crate::shard::mail::Mail;

/// A command's end: what it did, and the entry that did it.
pub(crate) type CommandResult = Result<(Outcome, LogIndex), CommandError>;

/// A command on its way to the log.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) command: Command,
    pub(crate) reply: oneshot::Sender<CommandResult>,
}

/// Something that whoever directs the disks must know or do.
#[derive(Debug)]
pub(crate) enum DiskEvent {
    /// A disk is of no use any more.
    Failed { slot: u8, why: String },
    /// A disk holds up everybody; said in every tick as long as it does.
    Slow { slot: u8 },
    /// A shard has copied its part of a bucket.
    Copied { id: u64, shard: u16 },
    /// A shard cannot copy its part of a bucket, because of the disk of that slot.
    Hindered { id: u64, slot: u8, why: String },
    /// The operator puts in a disk.
    Plug { path: PathBuf, reply: DiskReply },
    /// It was made ready, or not.
    Plugged(Box<Plugged>),
    /// The operator takes out a disk.
    Unplug { path: PathBuf, reply: DiskReply },
    /// No shard uses the disk any more.
    Closed { slot: u8 },
    /// The disk belongs to nobody any more.
    Released { slot: u8 },
}

/// Where the operator's answer goes.
pub(crate) type DiskReply = oneshot::Sender<Result<(), Failure>>;

/// A link of this sheep to another one hears nothing, or hears something again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    pub(crate) from_shard: u16,
    pub(crate) to: Place,
    pub(crate) is_silent: bool,
}

/// What the control thread is asked by others.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) silences: mpsc::UnboundedReceiver<Silence>,
    pub(crate) proposals: mpsc::UnboundedReceiver<Proposal>,
    pub(crate) disks: mpsc::UnboundedReceiver<DiskEvent>,
}

/// One per process.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) me: Me,
    pub(crate) uuid: u128,
    /// Bytes a second that this sheep reads of its own accord to verify them; zero for none.
    pub(crate) scrub_rate: u64,
    /// How long it rests between two times.
    pub(crate) scrub_rest: Duration,
    /// Until when nobody else can own what this sheep owns.
    pub(crate) lease: Lease,
    pub(crate) silences: mpsc::UnboundedSender<Silence>,
    pub(crate) openers: Openers,
    /// When this sheep will hold all the copies that it should.
    pub(crate) forecast: Forecast,
    /// A disk of this sheep rests because it was slow: nothing begins to be joined.
    pub(crate) a_disk_rests: AtomicBool,
    pub(crate) shards: Vec<mpsc::UnboundedSender<Mail>>,
    pub(crate) metrics: Vec<Arc<ShardMetrics>>,
    pub(crate) proposals: mpsc::UnboundedSender<Proposal>,
    pub(crate) disks: mpsc::UnboundedSender<DiskEvent>,
}

impl Shared {
    /// A disk is of no use any more.
    pub(crate) fn tell_disk_failed(&self, slot: u8, why: String) {
        self.tell_disks(DiskEvent::Failed { slot, why });
    }

    /// Something for whoever directs the disks; one who has ended needs nothing any more.
    pub(crate) fn tell_disks(&self, event: DiskEvent) {
        let _ = self.disks.send(event);
    }

    /// For whoever says it in the log; one who has ended needs nothing any more.
    pub(crate) fn tell_silence(&self, silence: Silence) {
        let _ = self.silences.send(silence);
    }

    /// The shard that serves a VDI's attachment.
    pub(crate) fn shard_of(&self, vid: Vid) -> usize {
        vid.get() as usize % self.shards.len()
    }

    /// Sends to a shard; one that has ended needs nothing any more.
    pub(crate) fn mail(&self, shard: usize, mail: Mail) {
        if let Some(sender) = self.shards.get(shard) {
            let _ = sender.send(mail);
        }
    }

    /// Appends a command and waits until this sheep has applied it.
    pub(crate) async fn command(&self, command: Command) -> CommandResult {
        let (reply, answer) = oneshot::channel();
        self.proposals.send(Proposal { command, reply }).map_err(|_| CommandError::Unavailable)?;
        answer.await.map_err(|_| CommandError::Unavailable)?
    }
}
