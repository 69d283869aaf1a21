//! The socket of either family, as the session needs it.

use std::io::{self, IoSlice};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{TcpStream, UnixStream};

use crate::door::Socket;
use crate::opener::Origin;

/// A connected socket on this shard's runtime.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Runs the same expression on either family.
macro_rules! either {
    ($stream:expr, $inner:ident => $body:expr) => {
        match $stream {
            Stream::Tcp($inner) => $body,
            Stream::Unix($inner) => $body,
        }
    };
}

impl Stream {
    pub(super) fn open(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(tcp) => {
                tcp.set_nonblocking(true)?;
                tcp.set_nodelay(true)?;
                TcpStream::from_std(tcp).map(Self::Tcp)
            }
            Socket::Unix(unix) => {
                unix.set_nonblocking(true)?;
                UnixStream::from_std(unix).map(Self::Unix)
            }
        }
    }

    pub(super) fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(tcp) => tcp.into_std().map(Socket::Tcp),
            Self::Unix(unix) => unix.into_std().map(Socket::Unix),
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        either!(self, inner => inner.readable().await)
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        either!(self, inner => inner.writable().await)
    }

    pub(super) fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        either!(self, inner => inner.try_read(bytes))
    }

    /// Appends at most the spare capacity of `bytes`.
    pub(super) fn try_read_buf(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        either!(self, inner => inner.try_read_buf(bytes))
    }

    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, inner => inner.try_write_vectored(slices))
    }

    /// The peer has closed, or the connection is broken. For a unix socket and for loopback this is
    /// exact at the moment of the call: a client that closes one connection and opens another one
    /// has closed the first before the second can be read from.
    pub(super) fn is_peer_closed(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let asked = PollFlags::RDHUP;
        let seen = either!(self, inner => {
            let mut fds = [PollFd::new(inner, asked)];
            poll(&mut fds, Some(&now)).map(|_| fds[0].revents())
        });
        let closed = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        seen.map_or(true, |seen| seen.intersects(closed))
    }

    /// Where the client is, as whoever accepted the connection told the openers.
    pub(super) fn origin(&self) -> io::Result<Origin> {
        match self {
            Self::Tcp(tcp) => Ok(Origin::Host(tcp.peer_addr()?.ip())),
            Self::Unix(unix) => {
                let pid = unix.peer_cred()?.pid().unwrap_or(0);
                Ok(Origin::Process(pid.cast_unsigned()))
            }
        }
    }

    /// The client runs on another host: its close may be on the way while newer bytes are read.
    pub(super) fn is_remote(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(tcp) => match (tcp.peer_addr(), tcp.local_addr()) {
                (Ok(peer), Ok(local)) => !peer.ip().is_loopback() && peer.ip() != local.ip(),
                _ => true,
            },
        }
    }
}
