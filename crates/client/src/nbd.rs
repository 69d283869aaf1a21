//! NBD client: a VDI as any NBD server offers it, without a kernel or QEMU.
//!
//! Why: checks and tests read and write disks the way a VM does.
//! Way: `handshake` ends with an open export; [`Connection`] writes requests, a reader task
//!      (`reply`) hands each answer to whoever waits for it. Any number may be in flight.
//! Holds:
//!   C1 nothing is allocated by a length that the server merely claims beyond 64 MiB;
//!   C2 when the connection ends, everyone who waits is told.
//! Not here: the server (attach); the two share no code, so that a mistake cannot cancel out.

mod handshake;
mod reply;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::endpoint::Endpoint;
use handshake::Handshake;
use reply::{Expect, Waiting};

pub use reply::Answer;

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NbdError {
    /// The socket.
    #[error("NBD connection: {0}")]
    Io(#[from] io::Error),
    /// The server refused an option. The text is the server's.
    #[error("the NBD server refused: {text} (reply {code:#x})")]
    Refused {
        /// Kind of the reply.
        code: u32,
        /// For a human.
        text: String,
    },
    /// A request failed. The text is the server's, and often empty.
    #[error("NBD request failed with error {errno} {text}")]
    Failed {
        /// One of the protocol's numbers: 5 I/O error, 22 invalid, 28 no space, ...
        errno: u32,
        /// For a human.
        text: String,
    },
    /// The server broke the protocol.
    #[error("the NBD server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The caller's payload does not fit one request.
    #[error("a request cannot carry more than 4 GiB")]
    TooLong,
    /// The connection ended.
    #[error("the NBD connection has ended")]
    Closed,
}

/// What to agree on with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Ask for structured replies.
    pub structured: bool,
    /// Select `base:allocation` (needs structured replies).
    pub allocation: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { structured: true, allocation: true }
    }
}

/// What the server says of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// Bytes.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
    /// Smallest and preferred block, and largest payload, in bytes.
    pub block_bytes: Option<[u32; 3]>,
    /// Name as the server spells it.
    pub name: Option<String>,
    /// For a human.
    pub description: Option<String>,
    /// The server agreed to structured replies.
    pub structured: bool,
    /// The server agreed to tell which parts are allocated.
    pub allocation: bool,
}

impl Export {
    /// The server says that several connections to the export see each other's writes.
    #[must_use]
    pub fn multi_conn(&self) -> bool {
        self.flags & 1 << 8 != 0
    }
}

/// Part of an export in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Bytes.
    pub len: u32,
    /// Uses no space.
    pub hole: bool,
    /// Reads as zeros.
    pub zero: bool,
}

/// One request, as raw as the protocol lets it be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Command flags.
    pub flags: u16,
    /// 0 read, 1 write, 3 flush, 4 trim, 6 write zeroes, 7 block status.
    pub command: u16,
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
    /// Sent behind the header.
    pub payload: &'a [u8],
}

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;
const BLOCK_STATUS: u16 = 7;
const FUA: u16 = 1 << 0;
const NO_HOLE: u16 = 1 << 1;
const REQ_ONE: u16 = 1 << 3;
const REQUEST_MAGIC: u32 = 0x2560_9513;

type Input = Box<dyn AsyncRead + Send + Unpin>;
type Output = Box<dyn AsyncWrite + Send + Unpin>;

async fn dial(endpoint: &Endpoint) -> io::Result<(Input, Output)> {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            let (input, output) = stream.into_split();
            Ok((Box::new(input), Box::new(output)))
        }
        Endpoint::Unix(path) => {
            let (input, output) = UnixStream::connect(path).await?.into_split();
            Ok((Box::new(input), Box::new(output)))
        }
    }
}

/// Names of all exports.
///
/// # Errors
/// [`NbdError`].
pub async fn list(endpoint: &Endpoint) -> Result<Vec<String>, NbdError> {
    let mut handshake = Handshake::start(dial(endpoint).await?).await?;
    let names = handshake.list().await?;
    handshake.abort().await?;
    Ok(names)
}

/// What the server says of an export, without opening it.
///
/// # Errors
/// [`NbdError`]; `Refused` if there is none of that name.
pub async fn info(endpoint: &Endpoint, name: &str) -> Result<Export, NbdError> {
    let mut handshake = Handshake::start(dial(endpoint).await?).await?;
    let export = handshake.inquire(name, false).await?;
    handshake.abort().await?;
    Ok(export)
}

/// An open export. Clones share the connection; it ends abruptly when the last one is dropped.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    export: Export,
    output: Mutex<Output>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.get_mut().take() {
            reader.abort();
        }
    }
}

impl Connection {
    /// Connects and opens the export `name`. Must be called inside a tokio runtime, which then
    /// runs one more task.
    ///
    /// # Errors
    /// [`NbdError`]; `Refused` tells who holds the VDI, or that there is none of that name.
    pub async fn open(endpoint: &Endpoint, name: &str, options: Options) -> Result<Self, NbdError> {
        let mut handshake = Handshake::start(dial(endpoint).await?).await?;
        let structured = options.structured && handshake.structure().await?;
        let allocation = structured && options.allocation && handshake.select(name).await?;
        let export = handshake.inquire(name, true).await?;
        let export = Export { structured, allocation, ..export };
        let (input, output) = handshake.into_parts();
        let waiting = Arc::new(Waiting::default());
        let reader = tokio::spawn(reply::read_all(input, waiting.clone()));
        let shared = Shared {
            export,
            output: Mutex::new(output),
            waiting,
            next: AtomicU64::new(1),
            reader: Mutex::new(Some(reader)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What was agreed on.
    #[must_use]
    pub fn export(&self) -> &Export {
        &self.shared.export
    }

    /// `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`NbdError`].
    pub async fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, NbdError> {
        let request = Request { command: READ, offset, len, ..Request::default() };
        Ok(self.request(request).await?.bytes)
    }

    /// Replaces the bytes from `offset`. With `fua` they are durable when this returns.
    ///
    /// # Errors
    /// [`NbdError`].
    pub async fn write(&self, offset: u64, payload: &[u8], fua: bool) -> Result<(), NbdError> {
        let len = u32::try_from(payload.len()).map_err(|_| NbdError::TooLong)?;
        let flags = if fua { FUA } else { 0 };
        self.request(Request { flags, command: WRITE, offset, len, payload }).await.map(|_| ())
    }

    /// Makes everything that was acknowledged durable.
    ///
    /// # Errors
    /// [`NbdError`].
    pub async fn flush(&self) -> Result<(), NbdError> {
        let request = Request { command: FLUSH, ..Request::default() };
        self.request(request).await.map(|_| ())
    }

    /// The bytes are not needed any more.
    ///
    /// # Errors
    /// [`NbdError`].
    pub async fn trim(&self, offset: u64, len: u32) -> Result<(), NbdError> {
        let request = Request { command: TRIM, offset, len, ..Request::default() };
        self.request(request).await.map(|_| ())
    }

    /// The bytes read as zeros afterwards. With `no_hole` they use space.
    ///
    /// # Errors
    /// [`NbdError`].
    pub async fn write_zeroes(&self, offset: u64, len: u32, no_hole: bool) -> Result<(), NbdError> {
        let flags = if no_hole { NO_HOLE } else { 0 };
        let request = Request { flags, command: WRITE_ZEROES, offset, len, ..Request::default() };
        self.request(request).await.map(|_| ())
    }

    /// Which parts of a range are allocated; with `first`, only the first run.
    ///
    /// # Errors
    /// [`NbdError`].
    pub async fn block_status(
        &self,
        offset: u64,
        len: u32,
        first: bool,
    ) -> Result<Vec<Run>, NbdError> {
        let flags = if first { REQ_ONE } else { 0 };
        let request = Request { flags, command: BLOCK_STATUS, offset, len, ..Request::default() };
        Ok(self.request(request).await?.runs)
    }

    /// Says good-bye and waits until the server closed the connection.
    ///
    /// # Errors
    /// [`NbdError`] if the good-bye could not be sent.
    pub async fn disconnect(self) -> Result<(), NbdError> {
        self.send(0, Request { command: DISCONNECT, ..Request::default() }).await?;
        let reader = self.shared.reader.lock().await.take();
        if let Some(reader) = reader {
            // It ends with the stream; that is what is waited for.
            let _ended = reader.await;
        }
        Ok(())
    }

    /// Sends any request and waits for its answer.
    ///
    /// # Errors
    /// [`NbdError`].
    pub async fn request(&self, request: Request<'_>) -> Result<Answer, NbdError> {
        let cookie = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let is_read = request.command == READ;
        let expect = Expect {
            offset: request.offset,
            len: if is_read { request.len } else { 0 },
            structured: self.shared.export.structured,
        };
        let answer = self.shared.waiting.add(cookie, expect)?;
        self.send(cookie, request).await?;
        answer.await.map_err(|_| NbdError::Closed)?
    }

    async fn send(&self, cookie: u64, request: Request<'_>) -> Result<(), NbdError> {
        let mut bytes = Vec::with_capacity(28 + request.payload.len());
        bytes.extend_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes.extend_from_slice(&request.flags.to_be_bytes());
        bytes.extend_from_slice(&request.command.to_be_bytes());
        bytes.extend_from_slice(&cookie.to_be_bytes());
        bytes.extend_from_slice(&request.offset.to_be_bytes());
        bytes.extend_from_slice(&request.len.to_be_bytes());
        bytes.extend_from_slice(request.payload);
        self.shared.output.lock().await.write_all(&bytes).await?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "nbd/tests.rs"]
mod tests;
