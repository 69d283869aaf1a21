//! Server: the one member that orders and stores everybody's entries.
//!
//! Why: appends of all members need one order and one writer; whoever holds the lock is it.
//! Way: `driver` takes over the log and runs a [`Server`]; every `connection` sends it inputs;
//!      batches go to the `writer` on a blocking thread, the next one gathers meanwhile.
//! Holds:
//!   E1 nobody is told of an entry before it is durable;
//!   E2 only a session whose file a living process holds may append;
//!   E3 a session without a connection is probed until it connects, was closed, or is dead:
//!      then its will is appended and its file removed, in this order (S3);
//!   E4 a session of a living process that has not been heard of for SESSION_PATIENCE is ended:
//!      its will is appended, and nothing of that life is taken any more. Time that the server
//!      itself stood still, or could take no inputs, counts for nobody.
//! Not here: recovery of the log, the members' side.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::connection::{Connection, Input, Welcome};
use super::directory::Directory;
use super::frame::Refusal;
use super::record::Token;
use super::session::{self, DeadSession, Probe};
use super::trail::{Authors, Position, Trail};
use super::writer::{Draft, LogWriter};
use crate::LogError;

/// Connections at one time.
const CONNECTIONS_MAX: usize = 1024;
/// Inputs of all connections that wait for the server.
const INPUTS_MAX: usize = 64;
/// A batch takes no more entries, or bytes, from members than these.
const BATCH_ENTRIES_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A process that was killed may need a moment until the kernel has let go of its locks.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(1);
const PROBE_PAUSE_MAX: Duration = Duration::from_millis(100);
/// Longest silence of a session, whose process lives, that is borne.
pub(super) const SESSION_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for silent sessions; a look that comes later than twice this shows that
/// the server stood still.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Pause after the operating system refused something that may pass.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

type Commit = JoinHandle<(LogWriter, Result<Position, LogError>)>;

#[derive(Debug)]
struct Member {
    connection: u64,
    /// When it was heard of last.
    heard: Instant,
    _alive: tokio::sync::oneshot::Sender<()>,
}

/// When to look whether a session lives.
#[derive(Clone, Copy, Debug)]
struct Watch {
    due: Instant,
    pause: Duration,
    /// When it was heard of last; `None` once it was ended (E4).
    heard: Option<Instant>,
}

impl Watch {
    fn now() -> Self {
        let now = Instant::now();
        Self { due: now, pause: PROBE_PAUSE_MIN, heard: Some(now) }
    }

    fn again(self) -> Self {
        let pause = (self.pause * 2).min(PROBE_PAUSE_MAX);
        Self { due: Instant::now() + self.pause, pause, heard: self.heard }
    }
}

/// The server's state. Dropping it ends every connection and, after a write that is under way,
/// gives up the lock.
#[derive(Debug)]
pub(super) struct Server {
    directory: Directory,
    listener: UnixListener,
    connections: JoinSet<()>,
    connection_number: u64,
    inputs: mpsc::Receiver<Input>,
    input_sender: mpsc::Sender<Input>,
    members: BTreeMap<u128, Member>,
    watched: BTreeMap<u128, Watch>,
    /// Last token of every session, with those of the batch and the queue.
    authors: Authors,
    queue: Vec<Draft>,
    queue_bytes: usize,
    burials: Vec<DeadSession>,
    durable: watch::Sender<Position>,
    /// `None` while a batch is being written.
    writer: Option<LogWriter>,
    /// When it was looked for silent sessions last.
    looked: Instant,
}

impl Server {
    /// Begins to serve a log that was taken over. The wills of members that died while nobody
    /// served are the first entries.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn start(
        directory: &Directory,
        writer: LogWriter,
        trail: Trail,
    ) -> Result<Self, LogError> {
        let path = directory.socket_path();
        let fail = |error| LogError::io(&path, error);
        // The lock is ours, so whoever bound this name is dead.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path).map_err(fail)?;
        let (input_sender, inputs) = mpsc::channel(INPUTS_MAX);
        let mut server = Self {
            directory: directory.clone(),
            listener,
            connections: JoinSet::new(),
            connection_number: 0,
            inputs,
            input_sender,
            members: BTreeMap::new(),
            watched: BTreeMap::new(),
            authors: trail.authors,
            queue: Vec::new(),
            queue_bytes: 0,
            burials: Vec::new(),
            durable: watch::Sender::new(trail.position),
            writer: Some(writer),
            looked: Instant::now(),
        };
        for session in session::list(directory)? {
            server.watched.insert(session, Watch::now());
        }
        server.probe_due();
        Ok(server)
    }

    /// Serves until a write fails.
    pub(super) async fn run(mut self) -> LogError {
        let mut commit: Option<Commit> = None;
        let mut look = tokio::time::interval(LOOK_PAUSE);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(writer) = self.next_batch_writer() {
                commit = Some(self.commit(writer));
            }
            let due = self.watched.values().map(|watch| watch.due).min();
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.accept(stream),
                    Err(error) => {
                        tracing::error!(%error, "the coordination log cannot accept a member");
                        tokio::time::sleep(PROBE_PAUSE_MAX).await;
                    }
                },
                Some(input) = self.inputs.recv(), if self.has_room() => self.take_inputs(input),
                (writer, outcome) = finished(&mut commit) => {
                    commit = None;
                    match outcome {
                        Ok(position) => self.durable.send_replace(position), // E1
                        Err(error) => return error,
                    };
                    self.writer = Some(writer);
                }
                () = until(due) => self.probe_due(),
                _ = look.tick() => self.look_for_silent(),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.queue.len() < BATCH_ENTRIES_MAX && self.queue_bytes < BATCH_BYTES_MAX
    }

    fn next_batch_writer(&mut self) -> Option<LogWriter> {
        if self.queue.is_empty() && self.burials.is_empty() { None } else { self.writer.take() }
    }

    /// Writes everything that has gathered, as one batch with one sync.
    fn commit(&mut self, mut writer: LogWriter) -> Commit {
        let batch = std::mem::take(&mut self.queue);
        let burials = std::mem::take(&mut self.burials);
        self.queue_bytes = 0;
        tokio::task::spawn_blocking(move || {
            let outcome = writer.append(batch.iter());
            if outcome.is_ok() {
                burials.into_iter().for_each(bury); // S3
            }
            (writer, outcome)
        })
    }

    fn accept(&mut self, stream: tokio::net::UnixStream) {
        while self.connections.try_join_next().is_some() {}
        if self.connections.len() >= CONNECTIONS_MAX {
            tracing::warn!(CONNECTIONS_MAX, "too many connections to the coordination log");
            return;
        }
        self.connection_number += 1;
        let connection = Connection {
            number: self.connection_number,
            server: self.input_sender.clone(),
            durable: self.durable.subscribe(),
        };
        self.connections.spawn(connection.run(stream));
    }

    /// Takes this input and those that have arrived with it, so that they share a batch.
    fn take_inputs(&mut self, first: Input) {
        self.take_input(first);
        while self.has_room() {
            match self.inputs.try_recv() {
                Ok(input) => self.take_input(input),
                Err(_) => return,
            }
        }
    }

    fn take_input(&mut self, input: Input) {
        match input {
            Input::Hello { connection, session, alive, reply } => {
                // A dropped reply closes the connection, and the member tries again.
                if let Some(answer) = self.welcome(connection, session, alive) {
                    let _ = reply.send(answer);
                }
            }
            Input::Append { connection, session, token, payload } => {
                if self.is_current(connection, session) {
                    self.enqueue(Draft { session, token, payload });
                }
            }
            Input::Alive { connection, session, heard } => {
                if let Some(member) = self.members.get_mut(&session)
                    && member.connection == connection
                {
                    member.heard = Instant::now();
                    let _ = heard.send(());
                }
            }
            Input::Gone { connection, session } => {
                if self.is_current(connection, session) {
                    self.members.remove(&session);
                    self.watched.insert(session, Watch::now()); // E3
                    self.probe_due();
                }
            }
        }
    }

    fn is_current(&self, connection: u64, session: u128) -> bool {
        self.members.get(&session).is_some_and(|member| member.connection == connection)
    }

    /// Lets a living session in; its older connection, if it has one, ends.
    fn welcome(
        &mut self,
        connection: u64,
        session: u128,
        alive: tokio::sync::oneshot::Sender<()>,
    ) -> Option<Result<Welcome, Refusal>> {
        match session::probe(&self.directory, session) {
            Ok(Probe::Live) => {}
            Ok(Probe::Dead(_) | Probe::Missing) => return Some(Err(Refusal::NoSession)), // E2
            Err(error) => {
                tracing::error!(%error, "a session of the coordination log cannot be checked");
                return None;
            }
        }
        self.watched.remove(&session);
        let heard = Instant::now();
        self.members.insert(session, Member { connection, heard, _alive: alive });
        Some(Ok(Welcome { durable: *self.durable.borrow(), last: self.authors.last(session) }))
    }

    /// Queues an entry, unless the log or the queue has it already (T2).
    fn enqueue(&mut self, draft: Draft) {
        if self.authors.note(draft.session, draft.token) {
            self.queue_bytes += draft.payload.len();
            self.queue.push(draft);
        }
    }

    /// Looks into every session whose time has come (E3).
    fn probe_due(&mut self) {
        let now = Instant::now();
        let due: Vec<(u128, Watch)> = self
            .watched
            .iter()
            .filter(|(_, watch)| watch.due <= now)
            .map(|(session, watch)| (*session, *watch))
            .collect();
        for (session, watch) in due {
            match session::probe(&self.directory, session) {
                Ok(Probe::Live) => {
                    self.watched.insert(session, watch.again());
                }
                Ok(Probe::Missing) => {
                    self.watched.remove(&session);
                }
                Ok(Probe::Dead(dead)) => {
                    self.watched.remove(&session);
                    self.execute(session, dead);
                }
                Err(error @ LogError::Io { .. }) => {
                    tracing::error!(%error, "a session of the coordination log cannot be checked");
                    let due = now + TROUBLE_PAUSE;
                    self.watched.insert(session, Watch { due, ..watch });
                }
                Err(error) => {
                    tracing::error!(%error, "the will of a dead session cannot be executed");
                    self.watched.remove(&session);
                }
            }
        }
    }

    /// E4.
    fn look_for_silent(&mut self) {
        let now = Instant::now();
        let before = std::mem::replace(&mut self.looked, now);
        if now - before > LOOK_PAUSE * 2 || !self.has_room() {
            self.members.values_mut().for_each(|member| member.heard = now);
            for watch in self.watched.values_mut() {
                watch.heard = watch.heard.map(|_| now);
            }
            return;
        }
        let is_silent = |heard: Instant| now - heard > SESSION_PATIENCE;
        let connected = self.members.iter().filter(|(_, member)| is_silent(member.heard));
        let watched = self.watched.iter().filter(|(_, watch)| watch.heard.is_some_and(is_silent));
        let connected = connected.map(|(session, _)| *session);
        let silent: Vec<u128> = connected.chain(watched.map(|(session, _)| *session)).collect();
        silent.into_iter().for_each(|session| self.end_silent(session));
    }

    /// Its process lives, for it holds the session's file.
    fn end_silent(&mut self, session: u128) {
        self.members.remove(&session);
        self.watched.insert(session, Watch { heard: None, ..Watch::now() });
        match session::read_living(&self.directory, session) {
            Ok(Some(will)) => {
                tracing::warn!(session = %format_args!("{session:032x}"), "a session is silent");
                let (token, payload) = (Token::will(will.life), will.payload);
                self.enqueue(Draft { session, token, payload });
            }
            Ok(None) => {} // It is only beginning.
            Err(error) => tracing::error!(%error, "the will of a silent session cannot be read"),
        }
    }

    fn execute(&mut self, session: u128, dead: DeadSession) {
        if let Some(will) = &dead.will {
            let (token, payload) = (Token::will(will.life), will.payload.clone());
            self.enqueue(Draft { session, token, payload });
        }
        // Even a will that was noted before may only be on its way to the disk: the burial
        // waits for the batch behind it.
        self.burials.push(dead);
    }
}

fn bury(dead: DeadSession) {
    if let Err(error) = dead.bury() {
        tracing::error!(%error, "the file of a dead session cannot be removed");
    }
}

/// The outcome of the batch being written; never, if there is none.
async fn finished(commit: &mut Option<Commit>) -> (LogWriter, Result<Position, LogError>) {
    match commit {
        Some(commit) => match commit.await.map_err(JoinError::try_into_panic) {
            Ok(outcome) => outcome,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime is shutting down, and this task with it.
            Err(Err(_)) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
