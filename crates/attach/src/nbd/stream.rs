//! Stream: one client's socket, unix or TCP, on this shard.
//!
//! Why: a client that was killed must be noticed even while nothing is read from it, for it
//!      keeps its VDI until then ([`Stream::gone`]).
//! Not here: listening and accepting (sheep).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use tokio::net::{TcpStream, UnixStream};

use crate::door::Socket;
use crate::opener::{Origin, Sharing};

/// How often a stalled client is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks for which a TCP client may have closed its sending side only.
const HALF_CLOSED_LOOKS: u32 = 10;
/// A TCP client whose host has vanished is given up after 25 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_COUNT: u32 = 3;
const UNANSWERED_MS: u32 = 25_000;

/// A connected socket, registered with this thread's runtime.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! each {
    ($stream:expr, $socket:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($socket) => $call,
            Stream::Unix($socket) => $call,
        }
    };
}

impl Stream {
    /// Takes over an accepted socket.
    pub(super) fn adopt(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
                sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_EVERY)?;
                sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_COUNT)?;
                sockopt::set_tcp_user_timeout(&socket, UNANSWERED_MS)?;
                sockopt::set_socket_keepalive(&socket, true)?;
                Ok(Self::Tcp(TcpStream::from_std(socket)?))
            }
            Socket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(UnixStream::from_std(socket)?))
            }
        }
    }

    /// Gives the socket away, non-blocking.
    pub(super) fn release(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(socket) => Ok(Socket::Tcp(socket.into_std()?)),
            Self::Unix(socket) => Ok(Socket::Unix(socket.into_std()?)),
        }
    }

    /// Who connected. Process 0 is one that the kernel does not name here (another namespace).
    pub(super) fn origin(&self) -> io::Result<Origin> {
        match self {
            Self::Tcp(socket) => Ok(Origin::Host(socket.peer_addr()?.ip())),
            Self::Unix(socket) => {
                let pid = socket.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
                Ok(Origin::Process(pid.unwrap_or(0)))
            }
        }
    }

    /// Whether further connections of the same client can be told from those of others.
    pub(super) fn sharing(&self) -> Sharing {
        match self.origin() {
            Ok(Origin::Process(pid)) if pid != 0 => Sharing::SameOrigin,
            _ => Sharing::Exclusive,
        }
    }

    /// Waits until there are bytes, then takes as many as fit. Zero is the end.
    pub(super) async fn read(&self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        loop {
            each!(self, socket => socket.readable().await)?;
            match each!(self, socket => socket.try_read_vectored(slices)) {
                Err(error) if is_passing(&error) => {}
                end => return end,
            }
        }
    }

    /// Waits until there is room, then gives as many bytes as fit.
    pub(super) async fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match each!(self, socket => socket.try_write_vectored(slices)) {
                Err(error) if is_passing(&error) => {}
                end => return end,
            }
            each!(self, socket => socket.writable().await)?;
        }
    }

    /// Gives all of `bytes`.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(&[IoSlice::new(bytes)]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// The client has closed both directions of a unix socket. Over TCP that cannot be seen; there
    /// the next connection must wait for the end of this one anyway.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Unix(socket) if look(socket).contains(PollFlags::HUP))
    }

    /// Ends when the client has closed the connection, even if it left bytes unread before.
    /// A TCP client that only stopped sending counts as gone after a second.
    pub(super) async fn gone(&self) {
        let mut half_closed = 0;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let seen = each!(self, socket => look(socket));
            if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
                return;
            }
            let tcp = matches!(self, Self::Tcp(_));
            half_closed = if tcp && seen.contains(PollFlags::RDHUP) { half_closed + 1 } else { 0 };
            if half_closed >= HALF_CLOSED_LOOKS {
                return;
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What the kernel knows of the connection's end, without waiting.
fn look(socket: &impl AsFd) -> PollFlags {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}
