//! Export: a VDI, opened for one connection.
//!
//! Why: one client writes a VDI at a time. Several connections of one process may share it over
//!      a unix socket; over TCP the kernel does not tell processes apart.
//! Holds:
//!   X1 an export is opened on the shard of its VDI only, in one step with the check that nobody
//!      else has it open;
//!   X2 whatever ends a connection, it leaves the table of openers ([`Presence`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use sheepdog_engine::volume::Refusal;
use sheepdog_proto::Vid;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::refusal::Denied;
use crate::door::Door;
use crate::opener::Sharing;

/// Smallest request, in bytes: the gateway merges partial blocks.
pub(super) const BLOCK_BYTES_MIN: u32 = 1;
/// Requests of whole blocks cost least.
pub(super) const BLOCK_BYTES_PREFERRED: u32 = 4096;
/// Most bytes that one request may carry.
pub(super) const PAYLOAD_BYTES_MAX: u32 = 32 << 20;

/// How long a VDI's last client may take to go before a new one is refused.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

mod flag {
    pub(super) const HAS_FLAGS: u16 = 1 << 0;
    pub(super) const SEND_FLUSH: u16 = 1 << 2;
    pub(super) const SEND_FUA: u16 = 1 << 3;
    pub(super) const SEND_TRIM: u16 = 1 << 5;
    pub(super) const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub(super) const SEND_DF: u16 = 1 << 7;
    pub(super) const CAN_MULTI_CONN: u16 = 1 << 8;
}

/// What both sides agreed on; fixed for the life of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) vid: Vid,
    /// Bytes. A later resize is for later connections.
    pub(super) size: u64,
    /// The client understands structured replies.
    pub(super) structured: bool,
    /// The client may ask which parts are allocated.
    pub(super) allocation: bool,
}

/// What a server can do, as announced. Every acknowledged write is durable and all connections
/// go through one gateway, so several connections see each other's writes (`CAN_MULTI_CONN`).
pub(super) fn flags(structured: bool, sharing: Sharing) -> u16 {
    let mut flags = flag::HAS_FLAGS | flag::SEND_FLUSH | flag::SEND_FUA;
    flags |= flag::SEND_TRIM | flag::SEND_WRITE_ZEROES;
    if structured {
        flags |= flag::SEND_DF;
    }
    if sharing == Sharing::SameOrigin {
        flags |= flag::CAN_MULTI_CONN;
    }
    flags
}

/// A connection in the table of openers; it leaves the table when this is dropped (X2).
pub(super) struct Presence<D: Door> {
    door: D,
    connection: Option<u64>,
}

impl<D: Door> Presence<D> {
    pub(super) fn new(door: &D, connection: u64) -> Self {
        Self { door: door.clone(), connection: Some(connection) }
    }

    /// The number goes on to another shard; nothing is left here.
    pub(super) fn pass_on(mut self) -> Option<u64> {
        self.connection.take()
    }

    /// Is told when the VDI has been taken from this connection.
    pub(super) fn expelled(&self) -> Arc<Notify> {
        self.connection.map(|number| self.door.openers().end_of(number)).unwrap_or_default()
    }

    /// Opens `vid` and waits until operations are served. Returns its size in bytes.
    ///
    /// A dead client's connection gets a second to go, a VDI owned elsewhere to become free.
    pub(super) async fn open(&self, vid: Vid, name: &str, sharing: Sharing) -> Result<u64, Denied> {
        let deadline = Instant::now() + PATIENCE;
        self.enter(vid, name, sharing, deadline).await?;
        let attached = self.attach(vid, deadline).await;
        let size = self.door.state().catalogue.get(vid).map(|vdi| vdi.size);
        match (attached, size) {
            (Ok(()), Some(size)) => Ok(size),
            (attached, _) => {
                let refusal = attached.err().unwrap_or(Refusal::NoVdi);
                if let Some(connection) = self.connection {
                    self.door.openers().close(connection, vid, Instant::now());
                }
                Err(Denied::refused(name, &refusal))
            }
        }
    }

    async fn enter(
        &self,
        vid: Vid,
        name: &str,
        sharing: Sharing,
        deadline: Instant,
    ) -> Result<(), Denied> {
        let Some(connection) = self.connection else { return Ok(()) };
        loop {
            let now = Instant::now();
            match self.door.openers().open_here(connection, vid, sharing, now) {
                Ok(()) => return Ok(()),
                Err(busy) if now >= deadline => return Err(Denied::busy(name, &busy, now)),
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn attach(&self, vid: Vid, deadline: Instant) -> Result<(), Refusal> {
        loop {
            let end = self.door.attach(vid).await;
            if !matches!(end, Err(Refusal::Locked { .. })) {
                return end;
            }
            // Asking again would cost log entries, so look at what the log says meanwhile.
            while self.is_attached(vid) {
                if Instant::now() >= deadline {
                    return end;
                }
                sleep(LOOK_EVERY).await;
            }
            if Instant::now() >= deadline {
                return end;
            }
        }
    }

    fn is_attached(&self, vid: Vid) -> bool {
        self.door.state().catalogue.get(vid).is_some_and(|vdi| vdi.attachment.is_some())
    }

    /// The client said good-bye. If it was the last connection, the VDI is free at once.
    pub(super) async fn leave(self, vid: Vid) {
        let Some(connection) = self.connection else { return };
        if self.door.openers().close(connection, vid, Instant::now()) {
            self.door.detach(vid).await;
        }
    }
}

impl<D: Door> Drop for Presence<D> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.door.openers().disconnect(connection, Instant::now());
        }
    }
}
