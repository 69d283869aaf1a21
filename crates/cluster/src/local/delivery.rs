//! Delivery: entries and changes of state, to the owner, at the owner's pace.
//!
//! Why: an owner that is busy must hold up neither the log nor the answers to its own appends,
//!      and what it has not taken yet must not pile up in memory. So its events are read from
//!      the file a second time, when it wants them.
//! Way: `driver` says how far it has verified the log; the owner takes [`crate::Events`].

use sheepdog_proto::LogIndex;
use tokio::sync::{mpsc, watch};

use super::reader::LogReader;
use super::trail::Position;
use crate::{Event, LogError};

/// Events that wait for the owner in memory.
pub(super) const EVENTS_MAX: usize = 256;

/// Entries that are read without giving other tasks a turn.
pub(super) const TURN_ENTRIES: u32 = 256;

/// Whether the log can be reached.
#[derive(Clone, Debug)]
pub(super) enum Status {
    Starting,
    Connected(LogIndex),
    Disconnected,
    Failed(LogError),
}

/// The owner's reader.
#[derive(Debug)]
pub(super) struct Delivery {
    pub reader: LogReader,
    /// First entry that the owner wants.
    pub from: LogIndex,
    pub verified: watch::Receiver<Position>,
    pub status: watch::Receiver<Status>,
    pub events: mpsc::Sender<Event>,
}

/// The owner takes no more, or no more can come.
#[derive(Debug)]
struct Over;

impl Delivery {
    /// Runs until the driver or the owner is gone, or the log failed.
    pub(super) async fn run(mut self) {
        while self.turn().await.is_ok() {}
    }

    async fn turn(&mut self) -> Result<(), Over> {
        self.deliver_entries().await?;
        tokio::select! {
            changed = self.verified.changed() => changed.map_err(|_| Over),
            changed = self.status.changed() => {
                changed.map_err(|_| Over)?;
                let status = self.status.borrow_and_update().clone();
                self.deliver_status(status).await
            }
        }
    }

    async fn deliver_entries(&mut self) -> Result<(), Over> {
        let end = *self.verified.borrow_and_update();
        let mut turn = 0;
        loop {
            match self.reader.next(end) {
                Ok(Some(record)) if record.header.index >= self.from.0 => {
                    self.send(Event::Entry(record.entry())).await?;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.send(Event::Failed(error)).await?;
                    return Err(Over);
                }
            }
            turn += 1;
            if turn % TURN_ENTRIES == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn deliver_status(&mut self, status: Status) -> Result<(), Over> {
        // The driver verifies first and then says so: the owner, too, gets the entries first.
        self.deliver_entries().await?;
        match status {
            Status::Starting => Ok(()),
            Status::Connected(last) => self.send(Event::Connected { last }).await,
            Status::Disconnected => self.send(Event::Disconnected).await,
            Status::Failed(error) => {
                self.send(Event::Failed(error)).await?;
                Err(Over)
            }
        }
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        self.events.send(event).await.map_err(|_| Over)
    }
}
