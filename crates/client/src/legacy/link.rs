//! Link: one connection that carries many requests, and is made again when it breaks.
//!
//! Way: [`Link::submit`] hands a request to the link's task; the task writes it, keeps it until its
//!      reply came, and writes it again after a reconnect (Y1). A reader task per connection turns
//!      bytes into replies.
//! Holds:
//!   R1 nothing is allocated by a length that the server merely claims.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sheepdog_proto::Payload;
use sheepdog_proto::legacy::header::ID;
use sheepdog_proto::legacy::{HEADER_BYTES, RequestHeader, ResponseHeader};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::LegacyError;
use crate::endpoint::Endpoint;

/// Pause between attempts to connect again; QEMU's.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Longest reply: an inode with its reference counts, or the largest object.
const REPLY_BYTES_MAX: u32 = 64 << 20;

type Input = Box<dyn AsyncRead + Send + Unpin>;
type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// One reply: its header and payload.
pub(super) type Reply = (ResponseHeader, Vec<u8>);

/// A request and who waits for its reply.
#[derive(Debug)]
struct Pending {
    header: RequestHeader,
    payload: Payload,
    to: oneshot::Sender<Result<Reply, LegacyError>>,
}

/// The link. Dropping it closes the connection and forgets what is on the way.
#[derive(Debug)]
pub(super) struct Link {
    requests: mpsc::UnboundedSender<Pending>,
    reconnects: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Connects. The connection stays silent until the first request.
    pub(super) async fn open(endpoint: Endpoint) -> io::Result<Self> {
        let connection = Connection::open(&endpoint).await?;
        let (requests, incoming) = mpsc::unbounded_channel();
        let reconnects = Arc::new(AtomicU64::new(0));
        let driver = Driver {
            endpoint,
            connection,
            incoming,
            pending: BTreeMap::new(),
            next_id: 0,
            reconnects: reconnects.clone(),
        };
        Ok(Self { requests, reconnects, task: tokio::spawn(driver.run()) })
    }

    /// Sends a request as soon as possible; its id is chosen here.
    pub(super) fn submit(&self, header: RequestHeader, payload: Payload) -> Waiting {
        let (to, from) = oneshot::channel();
        // If the task has ended, `to` is dropped with the request and the waiter is told.
        let _ = self.requests.send(Pending { header, payload, to });
        Waiting { from }
    }

    /// How often the connection was made again.
    pub(super) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
}

/// A reply to come.
#[derive(Debug)]
pub(super) struct Waiting {
    from: oneshot::Receiver<Result<Reply, LegacyError>>,
}

impl Waiting {
    pub(super) async fn reply(self) -> Result<Reply, LegacyError> {
        self.from.await.unwrap_or(Err(LegacyError::Closed))
    }
}

/// Sends one request on a connection of its own, as clients do with everything but data.
pub(super) async fn exchange(
    endpoint: &Endpoint,
    header: RequestHeader,
    payload: &[u8],
) -> Result<Reply, LegacyError> {
    let (mut input, mut output) = dial(endpoint).await?;
    output.write_all(&header.0).await?;
    output.write_all(payload).await?;
    output.flush().await?;
    read_reply(&mut input).await
}

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

async fn read_reply(input: &mut (impl AsyncRead + Unpin)) -> Result<Reply, LegacyError> {
    let mut bytes = [0; HEADER_BYTES];
    input.read_exact(&mut bytes).await?;
    let header = ResponseHeader(bytes);
    let length = header.data_length();
    if length > REPLY_BYTES_MAX {
        return Err(LegacyError::Protocol("a reply is too long")); // R1
    }
    let mut payload = Vec::new();
    input.take(length.into()).read_to_end(&mut payload).await?;
    if payload.len() as u64 != u64::from(length) {
        return Err(LegacyError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok((header, payload))
}

/// One life of the connection.
struct Connection {
    output: Output,
    replies: mpsc::UnboundedReceiver<Result<Reply, LegacyError>>,
    reader: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Connection {
    async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let (mut input, output) = dial(endpoint).await?;
        let (to, replies) = mpsc::unbounded_channel();
        let reader = tokio::spawn(async move {
            loop {
                let reply = read_reply(&mut input).await;
                let over = reply.is_err();
                if to.send(reply).is_err() || over {
                    return;
                }
            }
        });
        Ok(Self { output, replies, reader })
    }

    async fn send(&mut self, header: &RequestHeader, payload: &[u8]) -> io::Result<()> {
        self.output.write_all(&header.0).await?;
        self.output.write_all(payload).await?;
        self.output.flush().await
    }
}

/// The link's task.
struct Driver {
    endpoint: Endpoint,
    connection: Connection,
    incoming: mpsc::UnboundedReceiver<Pending>,
    /// On the way, by id.
    pending: BTreeMap<u32, Pending>,
    next_id: u32,
    reconnects: Arc<AtomicU64>,
}

impl Driver {
    async fn run(mut self) {
        loop {
            let healthy = tokio::select! {
                request = self.incoming.recv() => match request {
                    Some(request) => self.start(request).await,
                    None => return,
                },
                reply = self.connection.replies.recv() => match reply {
                    Some(Ok(reply)) => self.settle(reply),
                    Some(Err(LegacyError::Protocol(what))) => return self.give_up(what),
                    Some(Err(_)) | None => false,
                },
            };
            if !healthy {
                self.reconnect().await;
            }
        }
    }

    async fn start(&mut self, mut request: Pending) -> bool {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        request.header = request.header.with(ID, id.into());
        let (header, payload) = (request.header, request.payload.clone());
        self.pending.insert(id, request);
        self.connection.send(&header, &payload).await.is_ok()
    }

    /// False: the reply belongs to nothing, so the stream cannot be trusted; QEMU reconnects too.
    fn settle(&mut self, reply: Reply) -> bool {
        let id = reply.0.get(ID) as u32;
        let Some(request) = self.pending.remove(&id) else { return false };
        // Whoever waited may have given up.
        let _ = request.to.send(Ok(reply));
        true
    }

    fn give_up(&mut self, what: &'static str) {
        for request in std::mem::take(&mut self.pending).into_values() {
            let _ = request.to.send(Err(LegacyError::Protocol(what)));
        }
    }

    async fn reconnect(&mut self) {
        loop {
            tokio::time::sleep(RECONNECT_PAUSE).await;
            let Ok(connection) = Connection::open(&self.endpoint).await else { continue };
            self.connection = connection;
            self.reconnects.fetch_add(1, Ordering::Relaxed);
            if self.send_again().await {
                return;
            }
        }
    }

    /// Sends every unanswered request again, in the order of the ids (Y1).
    async fn send_again(&mut self) -> bool {
        for request in self.pending.values() {
            if self.connection.send(&request.header, &request.payload).await.is_err() {
                return false;
            }
        }
        true
    }
}
