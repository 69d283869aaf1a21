//! Connection: the server's side of one member's socket.
//!
//! Way: `server` spawns it for every socket it accepts; it turns frames into [`Input`]s, in
//!      order, and tells the member how far the log is durable.
//! Holds:
//!   C1 `Gone` is said after the last append that arrived, so a will comes behind them (L3);
//!   C2 bytes that are no frame, or a frame out of turn, end this connection and nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::frame::{Frame, FrameReader, REQUEST_BYTES_MAX, Refusal};
use super::record::Token;
use super::trail::Position;
use crate::LogError;

/// How long a new connection may take to say who it is.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// What a connection tells the server.
#[derive(Debug)]
pub(super) enum Input {
    /// A member introduces itself.
    Hello {
        connection: u64,
        session: u128,
        /// Dropped by the server when another connection takes this one's place.
        alive: oneshot::Sender<()>,
        reply: oneshot::Sender<Result<Welcome, Refusal>>,
    },
    /// A member wants an entry appended.
    Append { connection: u64, session: u128, token: Token, payload: Arc<[u8]> },
    /// A member lives. Answered if its session goes on.
    Alive { connection: u64, session: u128, heard: oneshot::Sender<()> },
    /// The member's side of the connection has ended.
    Gone { connection: u64, session: u128 },
}

/// What a member is told first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Welcome {
    pub durable: Position,
    pub last: Token,
}

/// A connection that has been accepted.
#[derive(Debug)]
pub(super) struct Connection {
    pub number: u64,
    pub server: mpsc::Sender<Input>,
    pub durable: watch::Receiver<Position>,
}

impl Connection {
    /// Serves the member until its side ends, or the server or a newer connection ends it.
    pub(super) async fn run(mut self, stream: UnixStream) {
        let (read, write) = stream.into_split();
        let mut frames = FrameReader::new(read, REQUEST_BYTES_MAX);
        let hello = tokio::time::timeout(HELLO_WAIT, frames.next()).await;
        let session = match hello {
            Ok(Ok(Some(Frame::Hello { session }))) => session,
            Ok(Err(LogError::Version { .. })) => return refuse(write, Refusal::Version).await,
            _ => return, // C2
        };
        let (alive, superseded) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let input = Input::Hello { connection: self.number, session, alive, reply };
        if self.server.send(input).await.is_err() {
            return;
        }
        let first = match answer.await {
            Ok(Ok(Welcome { durable, last })) => Frame::Welcome { durable, last },
            Ok(Err(refusal)) => return refuse(write, refusal).await,
            Err(_) => return,
        };
        tokio::select! {
            () = self.converse(session, first, &mut frames, write) => {}
            _ = superseded => return,
        }
        // The server may be gone itself; then nobody needs to know.
        let _ = self.server.send(Input::Gone { connection: self.number, session }).await;
    }

    async fn converse(
        &mut self,
        session: u128,
        first: Frame,
        frames: &mut FrameReader<OwnedReadHalf>,
        mut write: OwnedWriteHalf,
    ) {
        let mut tells = write.write_all(&first.encode()).await.is_ok();
        loop {
            tokio::select! {
                frame = frames.next() => match frame {
                    Ok(Some(Frame::Append { token, payload })) => {
                        let connection = self.number;
                        let input = Input::Append { connection, session, token, payload };
                        if self.server.send(input).await.is_err() {
                            return;
                        }
                    }
                    Ok(Some(Frame::Alive { sent_ns })) => {
                        if !self.is_heard(session).await {
                            return;
                        }
                        let heard = Frame::Heard { sent_ns }.encode();
                        tells = tells && write.write_all(&heard).await.is_ok();
                    }
                    _ => return, // C2
                },
                changed = self.durable.changed(), if tells => {
                    if changed.is_err() {
                        return;
                    }
                    let durable = *self.durable.borrow_and_update();
                    // A member that cannot be told any more may still have sent appends, which
                    // must be read before its death is looked into (C1).
                    tells = write.write_all(&Frame::Durable { durable }.encode()).await.is_ok();
                }
            }
        }
    }

    /// The answer comes from the server itself, after it has noted the sign of life: a session
    /// that it ends meanwhile is told nothing.
    async fn is_heard(&self, session: u128) -> bool {
        let (heard, answer) = oneshot::channel();
        let input = Input::Alive { connection: self.number, session, heard };
        self.server.send(input).await.is_ok() && answer.await.is_ok()
    }
}

async fn refuse(mut write: OwnedWriteHalf, refusal: Refusal) {
    // The member learns it or finds the connection closed: either will do.
    let _ = write.write_all(&Frame::Refused(refusal).encode()).await;
}
