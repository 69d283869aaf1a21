//! Driver: one member's thread, which finds the server or becomes it.
//!
//! Why: a thread of its own, so that a busy owner never stalls the log for the others.
//! Way: [`run_thread`] takes the session and runs [`Driver::run`]:
//!
//! ```text
//!   attempt -- lock free -> take over, serve --+
//!      ^  +---- connect to the server <-------+
//!      |              | Hello / Welcome
//!   pause <-- lost -- converse -- Close, or the owner is gone -> end
//!                     +-- the log is damaged, or we are held for dead -> fail, then end
//! ```
//!
//! Also the server's own member goes through the socket: there is one way, for all.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sheepdog_proto::LogIndex;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior};

use super::connection::Welcome;
use super::delivery::{Delivery, Status, TURN_ENTRIES};
use super::directory::{Directory, ServerLock};
use super::fence::Serving;
use super::frame::{Frame, FrameReader, NOTICE_BYTES_MAX, PROTOCOL, Refusal, VERSION};
use super::reader::LogReader;
use super::recovery::take_over;
use super::requests::{Flaw, Reply, Request, Requests};
use super::server::{SESSION_PATIENCE, Server};
use super::session::SessionFile;
use super::trail::{Position, Trail};
use crate::lease::now_ns;
use crate::{Event, Lease, LogError};

const RETRY_PAUSE_MIN: Duration = Duration::from_millis(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(50);
/// How often a member says that it lives.
const BEAT: Duration = Duration::from_millis(500);
/// Longest silence of the server that is borne.
const SERVER_PATIENCE: Duration = Duration::from_secs(4);
/// Pause before serving again after the disk refused: full, or failing.
const TROUBLE_PAUSE: Duration = Duration::from_millis(500);

/// What an owner asks for.
#[derive(Debug)]
pub(super) enum Command {
    Append(Request),
    SetWill { payload: Arc<[u8]>, reply: Reply<()> },
    Close(Reply<()>),
}

/// What a driver thread is started with.
#[derive(Debug)]
pub(super) struct Opening {
    pub directory: PathBuf,
    pub session: u128,
    pub from: LogIndex,
    pub commands: mpsc::UnboundedReceiver<Command>,
    pub events: mpsc::Sender<Event>,
    pub opened: oneshot::Sender<Result<(), LogError>>,
    pub lease: Lease,
}

/// How the driver ends: closed, or left by its owner.
#[derive(Debug)]
enum Ending {
    Closed(Reply<()>),
    Left,
}

/// The whole life of a driver's thread.
pub(super) fn run_thread(opening: Opening) {
    let Opening { directory, session, from, commands, events, opened, lease } = opening;
    let prepared = prepare(&directory, session, from, (commands, events), lease);
    let (runtime, driver, delivery) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            // An owner that gave up opening does not want to know.
            let _ = opened.send(Err(error));
            return;
        }
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    let closed = runtime.block_on(async {
        tokio::spawn(delivery.run());
        driver.run().await
    });
    // Ends the server, if it was here, and waits for its last write: then the lock is free.
    drop(runtime);
    if let Some((reply, result)) = closed {
        let _ = reply.send(result);
    }
}

fn prepare(
    path: &Path,
    session: u128,
    from: LogIndex,
    (commands, events): (mpsc::UnboundedReceiver<Command>, mpsc::Sender<Event>),
    lease: Lease,
) -> Result<(Runtime, Driver, Delivery), LogError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| LogError::io(path, error))?;
    let directory = Directory::open(path)?;
    let (session_file, previous) = SessionFile::acquire(&directory, session)?;
    let log = Arc::new(directory.open_log()?);
    let reader = || LogReader::new(log.clone(), &directory.log_path(), Trail::default());
    let verified = watch::Sender::new(Position::default());
    let status = watch::Sender::new(Status::Starting);
    let delivery = Delivery {
        reader: reader(),
        from,
        verified: verified.subscribe(),
        status: status.subscribe(),
        events,
    };
    let driver = Driver {
        reader: reader(),
        directory,
        session,
        from,
        session_file: Some(session_file),
        commands,
        requests: Requests::new(session, previous),
        wills: VecDeque::new(),
        outgoing: None,
        verified,
        status,
        server: None,
        serve_after: Instant::now(),
        lease,
    };
    Ok((runtime, driver, delivery))
}

/// One member.
#[derive(Debug)]
struct Driver {
    directory: Directory,
    session: u128,
    from: LogIndex,
    /// Lent away while a will is being written.
    session_file: Option<SessionFile>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Has read what the server said was durable.
    reader: LogReader,
    requests: Requests,
    wills: VecDeque<(Arc<[u8]>, Reply<()>)>,
    /// To the connection's writing task, after the welcome.
    outgoing: Option<mpsc::UnboundedSender<Frame>>,
    verified: watch::Sender<Position>,
    status: watch::Sender<Status>,
    /// The server, while this member is it.
    server: Option<JoinHandle<LogError>>,
    serve_after: Instant,
    lease: Lease,
}

impl Driver {
    async fn run(mut self) -> Option<(Reply<()>, Result<(), LogError>)> {
        let ending = match self.follow().await {
            Ok(ending) => ending,
            Err(error) => self.fail(error).await,
        };
        self.lease.end();
        self.requests.fail(&LogError::Closed);
        match ending {
            // The file still holds the will of the life before: that one was not closed.
            Ending::Closed(reply) if self.requests.owes_will() => Some((reply, Ok(()))),
            Ending::Closed(reply) => {
                let removed = self.session_file.as_ref().map_or(Ok(()), SessionFile::remove);
                Some((reply, removed))
            }
            Ending::Left => None,
        }
    }

    async fn follow(&mut self) -> Result<Ending, LogError> {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            if let Some(stream) = self.attempt().await? {
                let lost = self.converse(stream).await;
                if self.outgoing.take().is_some() {
                    pause = RETRY_PAUSE_MIN;
                    self.status.send_replace(Status::Disconnected);
                }
                if let Some(ending) = lost? {
                    return Ok(ending);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_PAUSE_MAX),
                command = self.commands.recv() => {
                    if let Some(ending) = self.take_command(command) {
                        return Ok(ending);
                    }
                }
            }
            self.write_wills().await;
        }
    }

    /// Becomes the server if there is none, and connects to whoever it is.
    async fn attempt(&mut self) -> Result<Option<UnixStream>, LogError> {
        if let Some(server) = self.server.take_if(|server| server.is_finished()) {
            let error = finished(server.await);
            tracing::error!(%error, "serving the coordination log has failed");
            self.serve_after = Instant::now() + TROUBLE_PAUSE;
        }
        if self.server.is_none() && Instant::now() >= self.serve_after {
            match self.try_serve().await {
                Err(error @ LogError::Io { .. }) => {
                    tracing::error!(%error, "the coordination log cannot be served");
                    self.serve_after = Instant::now() + TROUBLE_PAUSE;
                }
                outcome => outcome?,
            }
        }
        // Refused, missing, full: there will be another attempt.
        Ok(UnixStream::connect(self.directory.socket_path()).await.ok())
    }

    async fn try_serve(&mut self) -> Result<(), LogError> {
        let Some(lock) = ServerLock::try_take(&self.directory)? else {
            return Ok(());
        };
        let directory = self.directory.clone();
        let known = self.reader.trail().clone();
        let taken = tokio::task::spawn_blocking(move || take_over(&directory, lock, known));
        let (writer, trail) = finished(taken.await)?;
        let server = Server::start(&self.directory, writer, trail)?;
        tracing::info!(session = %format_args!("{:032x}", self.session),
            "serving the coordination log");
        self.server = Some(tokio::spawn(server.run()));
        Ok(())
    }

    /// Speaks with the server until the connection is lost (`None`) or the owner ends it.
    async fn converse(&mut self, stream: UnixStream) -> Result<Option<Ending>, LogError> {
        let serving = Serving::of(&stream);
        let (read, write) = stream.into_split();
        let mut frames = FrameReader::new(read, NOTICE_BYTES_MAX);
        let (outgoing, to_write) = mpsc::unbounded_channel();
        tokio::spawn(write_frames(write, to_write));
        let _ = outgoing.send(Frame::Hello { session: self.session });
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = Duration::ZERO;
        loop {
            tokio::select! {
                frame = frames.next() => {
                    silent = Duration::ZERO;
                    let Some(frame) = frame? else { return Ok(None) };
                    if !self.take_frame(frame, &outgoing).await? {
                        return Ok(None);
                    }
                }
                _ = beat.tick() => {
                    // Time in which this process stood still is one beat.
                    silent += BEAT;
                    if silent > SERVER_PATIENCE {
                        serving.end();
                        return Ok(None);
                    }
                    if let Some(outgoing) = &self.outgoing {
                        let _ = outgoing.send(Frame::Alive { sent_ns: now_ns() });
                    }
                }
                command = self.commands.recv() => {
                    if let Some(ending) = self.take_command(command) {
                        return Ok(Some(ending));
                    }
                }
            }
            self.write_wills().await;
        }
    }

    /// What the server says; false if it makes no sense now.
    async fn take_frame(
        &mut self,
        frame: Frame,
        outgoing: &mpsc::UnboundedSender<Frame>,
    ) -> Result<bool, LogError> {
        match frame {
            Frame::Welcome { durable, last } if self.outgoing.is_none() => {
                self.begin(Welcome { durable, last }, outgoing.clone()).await?;
            }
            Frame::Durable { durable } if self.outgoing.is_some() => {
                self.catch_up(durable).await?;
            }
            Frame::Heard { sent_ns } if self.outgoing.is_some() => {
                self.lease.extend(sent_ns, SESSION_PATIENCE);
            }
            Frame::Refused(refusal) => return Err(self.refused(refusal)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn begin(
        &mut self,
        welcome: Welcome,
        outgoing: mpsc::UnboundedSender<Frame>,
    ) -> Result<(), LogError> {
        let last = welcome.durable.index;
        if self.from.0 > last + 1 {
            let want = LogIndex(self.from.0 - 1);
            return Err(LogError::Truncated { have: LogIndex(last), want }); // L4
        }
        self.catch_up(welcome.durable).await?;
        self.requests.begin(welcome.last)?;
        for frame in self.requests.frames() {
            let _ = outgoing.send(frame); // A lost connection is seen by its reader.
        }
        let _ = outgoing.send(Frame::Alive { sent_ns: now_ns() });
        self.outgoing = Some(outgoing);
        self.status.send_replace(Status::Connected(LogIndex(last)));
        Ok(())
    }

    /// Reads and checks what has become durable, and answers this owner's appends in it.
    async fn catch_up(&mut self, durable: Position) -> Result<(), LogError> {
        let mut turn = 0;
        while let Some(record) = self.reader.next(durable)? {
            match self.requests.note(&record.header) {
                Ok(()) => {}
                Err(Flaw::Ended(error)) => return Err(error),
                Err(Flaw::Corrupt(reason)) => return Err(self.reader.corrupt(reason)),
            }
            turn += 1;
            if turn % TURN_ENTRIES == 0 {
                self.verified.send_replace(self.reader.trail().position);
                tokio::task::yield_now().await;
            }
        }
        self.verified.send_replace(durable);
        Ok(())
    }

    fn take_command(&mut self, command: Option<Command>) -> Option<Ending> {
        match command {
            Some(Command::Append(request)) => {
                let frame = self.requests.push(request);
                if let (Some(frame), Some(outgoing)) = (frame, &self.outgoing) {
                    let _ = outgoing.send(frame); // Sent again after a lost connection (Q2).
                }
                None
            }
            Some(Command::SetWill { payload, reply }) => {
                self.wills.push_back((payload, reply));
                None
            }
            Some(Command::Close(reply)) => Some(Ending::Closed(reply)),
            None => Some(Ending::Left),
        }
    }

    /// Writes wills that were asked for, once the life before is in order.
    async fn write_wills(&mut self) {
        let Some(life) = self.requests.settled_life() else {
            return;
        };
        while let Some((payload, reply)) = self.wills.pop_front() {
            let Some(mut file) = self.session_file.take() else {
                return;
            };
            let written = tokio::task::spawn_blocking(move || {
                let outcome = file.set_will(life, payload);
                (file, outcome)
            });
            let (file, outcome) = finished(written.await);
            self.session_file = Some(file);
            let _ = reply.send(outcome);
        }
    }

    /// The log is lost for this process: everything is answered so until the owner ends it.
    async fn fail(&mut self, error: LogError) -> Ending {
        tracing::error!(%error, "the coordination log has failed for good");
        if let Some(server) = self.server.take() {
            server.abort();
        }
        self.status.send_replace(Status::Failed(error.clone()));
        self.requests.fail(&error);
        for (_, reply) in self.wills.drain(..) {
            let _ = reply.send(Err(error.clone()));
        }
        loop {
            match self.commands.recv().await {
                Some(Command::Append(request)) => {
                    let _ = request.reply.send(Err(error.clone()));
                }
                Some(Command::SetWill { reply, .. }) => {
                    let _ = reply.send(Err(error.clone()));
                }
                Some(Command::Close(reply)) => return Ending::Closed(reply),
                None => return Ending::Left,
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> LogError {
        match refusal {
            Refusal::NoSession => LogError::SessionEnded { session: self.session },
            Refusal::Version => {
                LogError::Version { what: PROTOCOL.to_owned(), version: u16::from(VERSION) }
            }
        }
    }
}

/// Writes frames in order, until the connection or the driver is done with them.
async fn write_frames(mut write: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        if write.write_all(&frame.encode()).await.is_err() {
            return;
        }
    }
}

/// The result of a task; its panic goes on here.
fn finished<T>(outcome: Result<T, JoinError>) -> T {
    match outcome {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
