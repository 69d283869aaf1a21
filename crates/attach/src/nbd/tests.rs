//! The face as a client sees it, over a door in memory.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use sheepdog_client::endpoint::Endpoint;
use sheepdog_client::nbd::{Connection, NbdError, Options};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::testing::{Cluster, MemoryDoor};

#[path = "tests/command.rs"]
mod command;
#[path = "tests/handshake.rs"]
mod handshake;
#[path = "tests/life.rs"]
mod life;
#[path = "tests/wire.rs"]
mod wire;

const MIB: u64 = 1 << 20;

/// A sheep with its listeners, on the calling thread.
struct Sheep {
    cluster: Arc<Cluster>,
    doors: Vec<MemoryDoor>,
    unix: Endpoint,
    tcp: Endpoint,
    path: PathBuf,
    _directory: TempDir,
}

impl Sheep {
    /// Connections arrive at shard 0. Must run in a `LocalSet`.
    async fn start(shards: usize) -> Self {
        let (cluster, mailboxes) = Cluster::new(shards);
        let doors: Vec<MemoryDoor> = (0..shards).map(|shard| cluster.door(shard)).collect();
        for (door, mut mailbox) in doors.clone().into_iter().zip(mailboxes) {
            spawn_local(async move {
                while let Some(parcel) = mailbox.recv().await {
                    spawn_local(crate::serve_parcel(door.clone(), parcel));
                }
            });
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nbd.sock");
        let unix_listener = UnixListener::bind(&path).unwrap();
        let tcp_listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let tcp = Endpoint::loopback(tcp_listener.local_addr().unwrap().port());
        let door = doors[0].clone();
        spawn_local(async move {
            loop {
                let socket = tokio::select! {
                    unix = unix_listener.accept() => {
                        Socket::Unix(unix.unwrap().0.into_std().unwrap())
                    }
                    tcp = tcp_listener.accept() => {
                        Socket::Tcp(tcp.unwrap().0.into_std().unwrap())
                    }
                };
                spawn_local(serve(door.clone(), socket));
            }
        });
        let unix = Endpoint::unix(&path);
        Self { cluster, doors, unix, tcp, path, _directory: directory }
    }

    fn door(&self) -> &MemoryDoor {
        &self.doors[0]
    }

    async fn open(&self, name: &str) -> Connection {
        Connection::open(&self.unix, name, Options::default()).await.unwrap()
    }

    async fn raw(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// A socket in transmission, with simple replies.
    async fn raw_open(&self, name: &str) -> UnixStream {
        let mut socket = self.raw().await;
        socket.read_exact(&mut [0; 18]).await.unwrap();
        socket.write_all(&3_u32.to_be_bytes()).await.unwrap();
        socket.write_all(&option(1, name.as_bytes())).await.unwrap();
        socket.read_exact(&mut [0; 10]).await.unwrap();
        socket
    }

    /// Waits for something that the server does on its own.
    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..2000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}");
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        // A bound, so that a mistake shows as a failure and not as a test that never ends.
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    });
}

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u32).to_be_bytes();
    [b"IHAVEOPT", &number.to_be_bytes()[..], &len, data].concat()
}

fn request(command: u16, flags: u16, cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&command.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes
}

/// The next simple reply without a body: cookie and error.
async fn simple_reply(socket: &mut UnixStream) -> (u64, u32) {
    assert_eq!(socket.read_u32().await.unwrap(), 0x6744_6698);
    let errno = socket.read_u32().await.unwrap();
    (socket.read_u64().await.unwrap(), errno)
}

/// The server has closed the connection, and sent nothing before.
async fn assert_closed(socket: &mut UnixStream) {
    match socket.read(&mut [0; 64]).await {
        Ok(read) => assert_eq!(read, 0, "the server said something"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

fn failed(result: Result<impl std::fmt::Debug, NbdError>) -> u32 {
    match result {
        Err(NbdError::Failed { errno, .. }) => errno,
        other => panic!("a failed request was expected: {other:?}"),
    }
}

async fn refused(endpoint: &Endpoint, name: &str) -> (u32, String) {
    match Connection::open(endpoint, name, Options::default()).await {
        Err(NbdError::Refused { code, text }) => (code, text),
        Err(error) => panic!("a refusal was expected: {error}"),
        Ok(_) => panic!("a refusal was expected"),
    }
}
