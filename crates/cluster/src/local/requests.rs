//! Requests: a member's own appends, from the call until they are seen in the log.
//!
//! Why: the server may die at any moment; only the log itself says what it took.
//! Way: `driver` pushes calls, begins with every welcome, sends what is still here, and notes
//!      every record that it reads.
//! Holds:
//!   Q1 an append is answered when it is read in the log, and only then is it forgotten;
//!   Q2 after a lost connection everything not seen is sent again, in the same order, with the
//!      same tokens; the server drops what it has (T2);
//!   Q3 the will of the life before goes ahead of everything of this life.

use std::collections::VecDeque;
use std::sync::Arc;

use sheepdog_proto::LogIndex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::frame::Frame;
use super::record::{Header, Token};
use super::session::Will;
use crate::LogError;

/// Where the answer to a call goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// An append that was asked for.
#[derive(Debug)]
pub(super) struct Request {
    pub payload: Arc<[u8]>,
    pub reply: Reply<LogIndex>,
    /// Its share of the memory that waiting appends may take.
    pub permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Submitted {
    token: Token,
    payload: Arc<[u8]>,
    /// Nobody asked for the will of the life before.
    asked: Option<(Reply<LogIndex>, OwnedSemaphorePermit)>,
}

impl Submitted {
    fn frame(&self) -> Frame {
        Frame::Append { token: self.token, payload: self.payload.clone() }
    }
}

/// All appends of this process that are not in the log yet, as far as it knows.
#[derive(Debug)]
pub(super) struct Requests {
    session: u128,
    /// Number of this life; known from the first welcome on.
    life: Option<u64>,
    sequence: u64,
    /// The will of the life before, until it is seen in the log.
    previous: Option<Will>,
    /// Calls made before this life had a number.
    unnumbered: VecDeque<Request>,
    submitted: VecDeque<Submitted>,
}

impl Requests {
    pub(super) const fn new(session: u128, previous: Option<Will>) -> Self {
        Self {
            session,
            life: None,
            sequence: 0,
            previous,
            unnumbered: VecDeque::new(),
            submitted: VecDeque::new(),
        }
    }

    /// This life's number, once the life before is in order: then a will may be set.
    pub(super) fn settled_life(&self) -> Option<u64> {
        self.life.filter(|_| self.previous.is_none())
    }

    /// Whether the session file still holds a will that the log lacks.
    pub(super) const fn owes_will(&self) -> bool {
        self.previous.is_some()
    }

    /// Takes a call. Gives the frame to send if there is a connection.
    pub(super) fn push(&mut self, request: Request) -> Option<Frame> {
        let Some(life) = self.life else {
            self.unnumbered.push_back(request);
            return None;
        };
        self.sequence += 1;
        let token = Token { life, sequence: self.sequence };
        let Request { payload, reply, permit } = request;
        let submitted = Submitted { token, payload, asked: Some((reply, permit)) };
        let frame = submitted.frame();
        self.submitted.push_back(submitted);
        Some(frame)
    }

    /// A server has welcomed this member, and every record that was durable then was noted.
    /// `last` is the last token of the session that the server has, durable or on its way.
    ///
    /// # Errors
    /// `SessionEnded` if a later life, or this one's will, was seen.
    pub(super) fn begin(&mut self, last: Token) -> Result<(), LogError> {
        if let Some(life) = self.life {
            return self.check_alive(last, life);
        }
        let mut life = last.life;
        if let Some(will) = &self.previous {
            let (token, payload) = (Token::will(will.life), will.payload.clone());
            self.submitted.push_back(Submitted { token, payload, asked: None }); // Q3
            life = life.max(will.life);
        }
        self.life = Some(life + 1);
        for request in std::mem::take(&mut self.unnumbered) {
            self.push(request);
        }
        Ok(())
    }

    /// Everything to send on a new connection, in order (Q2).
    pub(super) fn frames(&self) -> impl Iterator<Item = Frame> {
        self.submitted.iter().map(Submitted::frame)
    }

    /// Answers what this record of the log fulfils (Q1).
    ///
    /// # Errors
    /// `SessionEnded` as in `begin`; the words of a broken rule.
    pub(super) fn note(&mut self, header: &Header) -> Result<(), Flaw> {
        if header.session != self.session {
            return Ok(());
        }
        if self.previous.as_ref().is_some_and(|will| Token::will(will.life) == header.token) {
            self.previous = None;
        }
        if let Some(life) = self.life {
            self.check_alive(header.token, life).map_err(Flaw::Ended)?;
        }
        match self.submitted.front() {
            Some(front) if front.token == header.token => {
                let done = self.submitted.pop_front();
                if let Some((reply, _)) = done.and_then(|submitted| submitted.asked) {
                    // An owner that dropped the answer does not want to know.
                    let _ = reply.send(Ok(LogIndex(header.index)));
                }
                Ok(())
            }
            Some(front) if front.token < header.token => {
                Err(Flaw::Corrupt("an append of this session was left out"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Answers everything with an error.
    pub(super) fn fail(&mut self, error: &LogError) {
        let unnumbered = self.unnumbered.drain(..).map(|request| request.reply);
        let submitted = self.submitted.drain(..).filter_map(|submitted| submitted.asked);
        for reply in unnumbered.chain(submitted.map(|(reply, _)| reply)) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    fn check_alive(&self, token: Token, life: u64) -> Result<(), LogError> {
        if token < Token::will(life) {
            return Ok(());
        }
        Err(LogError::SessionEnded { session: self.session })
    }
}

/// What is wrong with a record of this session.
#[derive(Debug)]
pub(super) enum Flaw {
    Ended(LogError),
    Corrupt(&'static str),
}

#[cfg(test)]
#[path = "requests/tests.rs"]
mod tests;
