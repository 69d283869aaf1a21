//! Server: one sheep over memory, its shards on threads of their own.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use sheepdog_attach::door::{Parcel, Socket};
use sheepdog_attach::{nbd, serve_parcel};
use sheepdog_proto::Vid;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use crate::testing::{Cluster, MemoryDoor};

/// Runs until it is dropped.
pub(crate) struct Server {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) socket: PathBuf,
    pub(crate) port: u16,
    pub(crate) directory: TempDir,
    life: Option<Life>,
}

struct Life {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

const SHARDS: usize = 2;

impl Server {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("nbd.sock");
        let (cluster, mailboxes) = Cluster::new(SHARDS);
        let (life, port) = live(&cluster, mailboxes, &socket);
        Self { cluster, socket, port, directory, life: Some(life) }
    }

    /// Ends as if killed: every socket is closed in the middle of whatever happens.
    pub(crate) fn kill(&mut self) {
        if let Some(life) = self.life.take() {
            life.end();
        }
    }

    /// Lives again with the same disks, at the same socket.
    pub(crate) fn restart(&mut self) {
        self.kill();
        std::fs::remove_file(&self.socket).unwrap();
        let (cluster, mailboxes) = self.cluster.reborn();
        let (life, port) = live(&cluster, mailboxes, &self.socket);
        (self.cluster, self.port, self.life) = (cluster, port, Some(life));
    }

    pub(crate) fn unix_uri(&self, name: &str) -> String {
        format!("nbd+unix:///{name}?socket={}", self.socket.display())
    }

    pub(crate) fn tcp_uri(&self, name: &str) -> String {
        format!("nbd://127.0.0.1:{}/{name}", self.port)
    }

    /// Waits until no sheep owns `vid`, by less than the grace time of a dead client.
    pub(crate) fn until_free(&self, vid: Vid) {
        for _ in 0..500 {
            if !self.cluster.is_attached(vid) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the VDI is not freed");
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Life {
    fn end(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn live(
    cluster: &Arc<Cluster>,
    mailboxes: Vec<UnboundedReceiver<Parcel>>,
    socket: &PathBuf,
) -> (Life, u16) {
    let unix = UnixListener::bind(socket).unwrap();
    let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = tcp.local_addr().unwrap().port();
    let (stop, stopped) = watch::channel(false);
    let mut listeners = Some((unix, tcp));
    let threads = mailboxes.into_iter().enumerate().map(|(shard, mailbox)| {
        let (cluster, stopped, listeners) = (cluster.clone(), stopped.clone(), listeners.take());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async move {
                let door = cluster.door(shard);
                spawn_local(receive(door.clone(), mailbox));
                if let Some((unix, tcp)) = listeners {
                    spawn_local(accept(door, unix, tcp));
                }
                { stopped }.wait_for(|stopped| *stopped).await.unwrap();
            });
        })
    });
    let threads = threads.collect();
    (Life { stop, threads }, port)
}

async fn receive(door: MemoryDoor, mut mailbox: UnboundedReceiver<Parcel>) {
    while let Some(parcel) = mailbox.recv().await {
        spawn_local(serve_parcel(door.clone(), parcel));
    }
}

async fn accept(door: MemoryDoor, unix: UnixListener, tcp: std::net::TcpListener) {
    unix.set_nonblocking(true).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let unix = tokio::net::UnixListener::from_std(unix).unwrap();
    let tcp = tokio::net::TcpListener::from_std(tcp).unwrap();
    loop {
        let socket = tokio::select! {
            unix = unix.accept() => Socket::Unix(unix.unwrap().0.into_std().unwrap()),
            tcp = tcp.accept() => Socket::Tcp(tcp.unwrap().0.into_std().unwrap()),
        };
        spawn_local(nbd::serve(door.clone(), socket));
    }
}
