//! Driver `local`: all sheep of one machine share a directory; nothing to install.
//!
//! Why: development, tests and single machines need the same log as a big cluster, without a
//!      service to run. One member at a time, the server, holds a lock and writes the log file;
//!      the others send it their appends over a unix socket and read the file themselves. When
//!      the server dies, the kernel frees its lock and closes its sockets at once, and the next
//!      member takes over.
//! Way: [`open`] -> a thread with `driver` (finds or becomes the server) -> `server` and its
//!      `connection`s -> `writer`; `reader` and `delivery` bring the entries back.
//! Holds: L1-L4 of the crate, by rules named in each file: R record, T trail, D reader,
//!      V recovery, A writer, S session, Q requests, C connection, E server.
//! Silence: a session that has not been heard of for ten seconds is ended although its process
//!      lives. A server that stands still with the lock (SIGSTOP, a debugger) is killed by the
//!      first member that has heard nothing for four seconds (`fence`).
//! Limits: the directory must be on a local file system: locks and sockets do not reach other
//!      machines. The log is never shortened.

mod connection;
mod delivery;
mod directory;
mod driver;
mod fence;
#[cfg(test)]
mod fixture;
mod frame;
mod reader;
mod record;
mod recovery;
mod requests;
mod server;
mod session;
mod trail;
mod writer;

use std::path::Path;
use std::sync::Arc;

use sheepdog_proto::LogIndex;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{Answer, CoordinationLog, Events, Lease, LogError};
use driver::{Command, Opening};
use requests::Request;

/// Most bytes of one entry or will.
pub const ENTRY_BYTES_MAX: usize = record::ENTRY_BYTES_MAX;

/// Memory that appends without an answer may take, each counted with its overhead.
const WAITING_BYTES_MAX: usize = 64 << 20;
const REQUEST_OVERHEAD_BYTES: usize = 1024;

/// A session on the log in a directory.
#[derive(Debug)]
pub struct LocalLog {
    lease: Lease,
    commands: mpsc::UnboundedSender<Command>,
    room: Arc<Semaphore>,
}

/// Opens a session on the log in `directory`, which is made (mode 0700) if it is missing; its
/// parent must exist. Every entry from `from` on comes as an event (0 and 1: all of them).
/// `session` names this node for ever; a new life of it may be opened as soon as the old
/// process is dead, and the old one's will is then in the log before anything of the new one.
///
/// Returns when the session is this process's own; the log itself may not be reachable yet.
/// Takes about a second to find that another process has the session.
///
/// # Errors
/// `SessionInUse`, `NotPrivate`, `Io`; `Corrupt` or `Version` if the will that the life before
/// left cannot be read. Damage of the log comes as [`crate::Event::Failed`].
pub async fn open(
    directory: &Path,
    session: u128,
    from: LogIndex,
) -> Result<(LocalLog, Events), LogError> {
    let lease = Lease::default();
    let (commands, command_receiver) = mpsc::unbounded_channel();
    let (event_sender, events) = mpsc::channel(delivery::EVENTS_MAX);
    let (opened, answer) = oneshot::channel();
    let opening = Opening {
        directory: directory.to_owned(),
        session,
        from,
        commands: command_receiver,
        events: event_sender,
        opened,
        lease: lease.clone(),
    };
    std::thread::Builder::new()
        .name("sheepdog-log".to_owned())
        .spawn(move || driver::run_thread(opening))
        .map_err(|error| LogError::io(directory, error))?;
    answer.await.map_err(|_| LogError::Closed)??;
    let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
    Ok((LocalLog { lease, commands, room }, Events::new(events)))
}

impl LocalLog {
    fn submit_append(&self, payload: Vec<u8>) -> Result<oneshot::Receiver<Outcome>, LogError> {
        check_size(&payload)?;
        let share = (payload.len() + REQUEST_OVERHEAD_BYTES) as u32;
        let permit = self.room.clone().try_acquire_many_owned(share).map_err(|_| LogError::Busy)?;
        let (reply, answer) = oneshot::channel();
        let request = Request { payload: Arc::from(payload), reply, permit };
        self.commands.send(Command::Append(request)).map_err(|_| LogError::Closed)?;
        Ok(answer)
    }

    fn submit_will(&self, payload: Vec<u8>) -> Result<oneshot::Receiver<Done>, LogError> {
        check_size(&payload)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::SetWill { payload: Arc::from(payload), reply };
        self.commands.send(command).map_err(|_| LogError::Closed)?;
        Ok(answer)
    }
}

type Outcome = Result<LogIndex, LogError>;
type Done = Result<(), LogError>;

impl CoordinationLog for LocalLog {
    fn append(&self, payload: Vec<u8>) -> Answer<LogIndex> {
        answer(self.submit_append(payload))
    }

    fn set_will(&self, payload: Vec<u8>) -> Answer<()> {
        answer(self.submit_will(payload))
    }

    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    fn close(self: Box<Self>) -> Answer<()> {
        let (reply, closed) = oneshot::channel();
        let sent = self.commands.send(Command::Close(reply));
        answer(sent.map(|()| closed).map_err(|_| LogError::Closed))
    }
}

fn answer<T: Send + 'static>(
    submitted: Result<oneshot::Receiver<Result<T, LogError>>, LogError>,
) -> Answer<T> {
    Box::pin(async move { submitted?.await.map_err(|_| LogError::Closed)? })
}

fn check_size(payload: &[u8]) -> Result<(), LogError> {
    let bytes = payload.len();
    if bytes > ENTRY_BYTES_MAX {
        return Err(LogError::TooLarge { bytes, bytes_max: ENTRY_BYTES_MAX });
    }
    Ok(())
}

#[cfg(test)]
#[path = "local/tests.rs"]
mod tests;
