//! Replies: read from the server, put together, and given to whoever waits.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::oneshot::{self, Receiver, Sender};

use super::handshake::{be32, be64};
use super::{NbdError, Run};

const SIMPLE: u32 = 0x6744_6698;
const CHUNK: u32 = 0x668e_33ef;
const DONE: u16 = 1;
const CHUNK_BYTES_MAX: u32 = 64 << 20;

/// What a request brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Of a read.
    pub bytes: Vec<u8>,
    /// Of a block status query.
    pub runs: Vec<Run>,
}

/// What an answer must look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expect {
    pub(super) offset: u64,
    /// Bytes to be read.
    pub(super) len: u32,
    pub(super) structured: bool,
}

struct Pending {
    expect: Expect,
    got: Answer,
    covered: u64,
    fault: Option<NbdError>,
    to: Sender<Result<Answer, NbdError>>,
}

/// Requests in flight, by cookie. `None` when the connection has ended.
pub(super) struct Waiting {
    table: Mutex<Option<HashMap<u64, Pending>>>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { table: Mutex::new(Some(HashMap::new())) }
    }
}

impl Waiting {
    pub(super) fn add(
        &self,
        cookie: u64,
        expect: Expect,
    ) -> Result<Receiver<Result<Answer, NbdError>>, NbdError> {
        let (to, from) = oneshot::channel();
        let got = Answer::default();
        let pending = Pending { expect, got, covered: 0, fault: None, to };
        self.lock().as_mut().ok_or(NbdError::Closed)?.insert(cookie, pending);
        Ok(from)
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Pending>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, cookie: u64) -> Result<Pending, NbdError> {
        let pending = self.lock().as_mut().and_then(|table| table.remove(&cookie));
        pending.ok_or(NbdError::Protocol("an answer to nothing"))
    }

    fn put(&self, cookie: u64, pending: Pending) {
        if let Some(table) = self.lock().as_mut() {
            table.insert(cookie, pending);
        }
    }
}

/// Reads until the end of the stream, then tells everyone (C2).
pub(super) async fn read_all(input: impl AsyncRead + Unpin, waiting: std::sync::Arc<Waiting>) {
    let mut input = BufReader::with_capacity(256 << 10, input);
    let end = loop {
        if let Err(error) = read_one(&mut input, &waiting).await {
            break error;
        }
    };
    let left = waiting.lock().take().unwrap_or_default();
    for pending in left.into_values() {
        // Whoever waited may have given up.
        let _ = pending.to.send(Err(told(&end)));
    }
}

/// What those who wait are told of the end of the connection.
fn told(end: &NbdError) -> NbdError {
    match end {
        NbdError::Protocol(what) => NbdError::Protocol(what),
        _ => NbdError::Closed,
    }
}

async fn read_one(input: &mut (impl AsyncRead + Unpin), waiting: &Waiting) -> Result<(), NbdError> {
    let magic = input.read_u32().await?;
    let mut pending;
    let cookie;
    let last = match magic {
        SIMPLE => {
            let errno = input.read_u32().await?;
            cookie = input.read_u64().await?;
            pending = waiting.take(cookie)?;
            let end = pending.simple(errno, input).await;
            pending = pending.unless(end)?;
            true
        }
        CHUNK => {
            let flags = input.read_u16().await?;
            let kind = input.read_u16().await?;
            cookie = input.read_u64().await?;
            let len = input.read_u32().await?;
            if len > CHUNK_BYTES_MAX {
                return Err(NbdError::Protocol("a chunk is too long")); // C1
            }
            let mut payload = vec![0; len as usize];
            input.read_exact(&mut payload).await?;
            pending = waiting.take(cookie)?;
            let end = pending.chunk(kind, &payload);
            pending = pending.unless(end)?;
            flags & DONE != 0
        }
        _ => return Err(NbdError::Protocol("wrong magic before an answer")),
    };
    if last {
        pending.finish()
    } else {
        waiting.put(cookie, pending)
    }
    Ok(())
}

impl Pending {
    /// Itself, unless its answer is broken: then that is told, and the connection ends.
    fn unless(self, end: Result<(), NbdError>) -> Result<Self, NbdError> {
        match end {
            Ok(()) => Ok(self),
            Err(error) => {
                // Whoever waited may have given up.
                let _ = self.to.send(Err(told(&error)));
                Err(error)
            }
        }
    }

    async fn simple(
        &mut self,
        errno: u32,
        input: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), NbdError> {
        if errno != 0 {
            self.fault = Some(NbdError::Failed { errno, text: String::new() });
        } else if self.expect.len > 0 {
            if self.expect.structured {
                return Err(NbdError::Protocol("a simple reply to a read"));
            }
            self.got.bytes = vec![0; self.expect.len as usize];
            input.read_exact(&mut self.got.bytes).await?;
            self.covered = u64::from(self.expect.len);
        }
        Ok(())
    }

    fn chunk(&mut self, kind: u16, payload: &[u8]) -> Result<(), NbdError> {
        if !self.expect.structured {
            return Err(NbdError::Protocol("a structured reply that was not agreed on"));
        }
        match kind {
            0 if payload.is_empty() => Ok(()),
            1 => {
                let data = payload.get(8..).unwrap_or_default();
                let place = self.place(be64(payload, 0)?, data.len())?;
                self.got.bytes[place].copy_from_slice(data);
                Ok(())
            }
            2 => self.place(be64(payload, 0)?, be32(payload, 8)? as usize).map(|_| ()),
            5 => {
                let runs = payload.get(4..).unwrap_or_default().chunks_exact(8);
                for run in runs {
                    let (len, state) = (be32(run, 0)?, be32(run, 4)?);
                    self.got.runs.push(Run { len, hole: state & 1 != 0, zero: state & 2 != 0 });
                }
                Ok(())
            }
            kind if kind & 1 << 15 != 0 => {
                let errno = be32(payload, 0)?;
                let text = String::from_utf8_lossy(payload.get(6..).unwrap_or_default());
                self.fault = Some(NbdError::Failed { errno, text: text.into_owned() });
                Ok(())
            }
            _ => Err(NbdError::Protocol("a chunk of unknown kind")),
        }
    }

    /// Where `len` bytes of the export from `offset` belong in the answer.
    fn place(&mut self, offset: u64, len: usize) -> Result<std::ops::Range<usize>, NbdError> {
        let outside = NbdError::Protocol("data outside the request");
        if self.got.bytes.is_empty() {
            self.got.bytes = vec![0; self.expect.len as usize];
        }
        let Some(start) = offset.checked_sub(self.expect.offset) else { return Err(outside) };
        if len == 0 || start + len as u64 > u64::from(self.expect.len) {
            return Err(outside);
        }
        self.covered += len as u64;
        Ok(start as usize..start as usize + len)
    }

    fn finish(self) {
        let Self { expect, got, covered, fault, to } = self;
        let result = match fault {
            Some(fault) => Err(fault),
            None if covered != u64::from(expect.len) => {
                Err(NbdError::Protocol("an answer does not cover its request"))
            }
            None => Ok(got),
        };
        // Whoever waited may have given up.
        let _ = to.send(result);
    }
}
