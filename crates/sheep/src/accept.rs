//! Listeners: clients and other sheep come in here and are passed to a shard.
//!
//! Way: sockets are bound before anything else, so that a taken port is said at once; when the
//!      sheep is ready, `serve` accepts and deals connections out to the shards.
//! Holds: A1 a connection of another sheep is passed on only after its hello fits this cluster.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sheepdog_attach::door::{Face, Socket};
use sheepdog_attach::opener::Origin;
use sheepdog_proto::peer::{HELLO_BYTES, Hello};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;

use crate::config::Config;
use crate::control::Watch;
use crate::inherited::Inherited;
use crate::peer::frame::invalid;
use crate::shard::mail::Mail;
use crate::shared::Shared;

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (no free descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Every socket that this sheep listens on.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) legacy: (TcpListener, UnixListener),
    pub(crate) nbd: (TcpListener, UnixListener),
    pub(crate) admin: (TcpListener, UnixListener),
    pub(crate) peer: TcpListener,
}

impl Listeners {
    /// Binds everything or nothing.
    pub(crate) async fn bind(config: &Config) -> Result<Self> {
        let mut given = Inherited::take();
        let directory = &config.directory;
        let legacy = tcp(&mut given, config.legacy, "client", "--port").await?;
        let nbd = tcp(&mut given, config.nbd, "NBD", "--nbd-port").await?;
        let admin = tcp(&mut given, config.admin, "admin", "--admin-port").await?;
        let peer = tcp(&mut given, config.peer, "peer", "--peer-port").await?;
        let mut unix = |name| unix(&mut given, directory, name);
        let (for_legacy, for_nbd) = (unix("sock")?, unix("nbd.sock")?);
        let for_admin = unix("admin.sock")?;
        given.warn_of_rest();
        Ok(Self {
            legacy: (legacy, for_legacy),
            nbd: (nbd, for_nbd),
            admin: (admin, for_admin),
            peer,
        })
    }
}

async fn tcp(
    given: &mut Inherited,
    address: SocketAddr,
    face: &str,
    option: &str,
) -> Result<TcpListener> {
    if let Some(socket) = given.tcp(address) {
        socket.set_nonblocking(true)?;
        return Ok(TcpListener::from_std(socket)?);
    }
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} for the {face} face; choose another port with {option}")
    })
}

/// The directory is locked, so a socket file that is there was left by an earlier life.
fn unix(given: &mut Inherited, directory: &Path, name: &str) -> Result<UnixListener> {
    let path: PathBuf = directory.join(name);
    if let Some(socket) = given.unix(&path) {
        socket.set_nonblocking(true)?;
        return Ok(UnixListener::from_std(socket)?);
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Accepts clients of one face, by TCP.
pub(crate) async fn serve_tcp(shared: Arc<Shared>, face: Face, listener: TcpListener) {
    let mut turn = 0;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let _ = stream.set_nodelay(true);
                let socket = stream.into_std().map(Socket::Tcp);
                deal(&shared, &mut turn, face, socket, Origin::Host(from.ip()));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Accepts clients of one face, by unix socket.
pub(crate) async fn serve_unix(shared: Arc<Shared>, face: Face, listener: UnixListener) {
    let mut turn = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let pid = stream.peer_cred().ok().and_then(|cred| cred.pid()).unwrap_or(0);
                let socket = stream.into_std().map(Socket::Unix);
                deal(&shared, &mut turn, face, socket, Origin::Process(pid.cast_unsigned()));
            }
            Err(error) => pause(&error).await,
        }
    }
}

fn deal(shared: &Shared, turn: &mut usize, face: Face, socket: io::Result<Socket>, origin: Origin) {
    let Ok(socket) = socket else { return };
    *turn = (*turn + 1) % shared.shards.len();
    let mail = match face {
        // A silent connection of the first protocol counts from the moment it is made.
        Face::Legacy => Mail::Legacy(socket, shared.openers.connect(face, origin)),
        Face::Nbd => Mail::Nbd(socket),
        Face::Admin => return,
    };
    shared.mail(*turn, mail);
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Accepts other sheep.
pub(crate) async fn serve_peers(shared: Arc<Shared>, watch: Watch, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let (shared, watch) = (shared.clone(), watch.clone());
                tokio::spawn(async move {
                    let started = Instant::now();
                    let greeted = timeout(HELLO_TIMEOUT, greet(&shared, &watch, stream)).await;
                    // One that only looked whether it reaches this sheep says nothing.
                    let is_look = |e: &io::Error| e.kind() == io::ErrorKind::UnexpectedEof;
                    if let Ok(Err(error)) = greeted
                        && !is_look(&error)
                    {
                        tracing::warn!(%from, %error, took = ?started.elapsed(), "peer refused");
                    }
                });
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn greet(shared: &Shared, watch: &Watch, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes).await?;
    let hello = Hello::parse(&bytes).map_err(invalid)?;
    let state = watch.state();
    let cluster = state.format.as_ref().map_or(0, |format| format.cluster);
    if cluster == 0 || hello.cluster != cluster {
        return Err(io::Error::other("a sheep of another cluster")); // A1
    }
    if usize::from(hello.target_shard) >= shared.shards.len() {
        return Err(io::Error::other("no such shard"));
    }
    let ours = crate::peer::hello(shared, cluster, hello.target_shard, hello.source_shard);
    stream.write_all(&ours.emit()).await?;
    let mail = Mail::Incoming(stream.into_std()?, hello);
    shared.mail(usize::from(hello.target_shard), mail);
    Ok(())
}
