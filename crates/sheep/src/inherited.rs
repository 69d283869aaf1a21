//! Inherited sockets: those that the service manager listens on, for this life and the next one.
//!
//! Why: a client that finds nobody listening waits a second before it tries again (QEMU's NBD). If
//!      the socket stays while the sheep is started anew, its first try waits for the sheep.
//! Way: systemd's protocol (`sd_listen_fds(3)`): `LISTEN_PID`, `LISTEN_FDS`, descriptors from 3 on.
//!      A socket is taken for the face whose address it has.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use listenfd::ListenFd;

/// Whether this process was given some, taken since or not.
pub(crate) fn is_given() -> bool {
    GIVEN.load(Ordering::Relaxed)
}

/// A sheep has seven sockets.
const GIVEN_MAX: u32 = 16;

static GIVEN: AtomicBool = AtomicBool::new(false);

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    tcp: Vec<TcpListener>,
    unix: Vec<UnixListener>,
}

impl Inherited {
    /// All that this process was given. Later calls give none.
    pub(crate) fn take() -> Self {
        let mut all = Self::default();
        // Meant for another process: its numbers are our own descriptors.
        let pid = std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok());
        let count = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse::<u32>().ok());
        if pid != Some(std::process::id()) || count.is_none_or(|count| count > GIVEN_MAX) {
            return all;
        }
        let mut given = ListenFd::from_env();
        GIVEN.fetch_or(given.len() > 0, Ordering::Relaxed);
        for number in 0..given.len() {
            if let Ok(Some(socket)) = given.take_tcp_listener(number) {
                all.tcp.push(socket);
            } else if let Ok(Some(socket)) = given.take_unix_listener(number) {
                all.unix.push(socket);
            } else {
                tracing::warn!(number, "an inherited descriptor is no socket to listen on");
            }
        }
        all
    }

    /// The one for an address: of this port, and of this host or of all.
    pub(crate) fn tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let fits = |socket: &TcpListener| {
            socket.local_addr().is_ok_and(|own| {
                let host = own.ip() == address.ip() || own.ip().is_unspecified();
                own.port() == address.port() && host
            })
        };
        let at = self.tcp.iter().position(fits)?;
        Some(self.tcp.swap_remove(at))
    }

    /// The one of a path.
    pub(crate) fn unix(&mut self, path: &Path) -> Option<UnixListener> {
        let fits = |socket: &UnixListener| {
            socket.local_addr().is_ok_and(|own| own.as_pathname() == Some(path))
        };
        let at = self.unix.iter().position(fits)?;
        Some(self.unix.swap_remove(at))
    }

    /// What no face has taken is of no use.
    pub(crate) fn warn_of_rest(&self) {
        for socket in &self.tcp {
            let address = socket.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string());
            tracing::warn!(address, "an inherited socket belongs to no face: see the ports");
        }
        for socket in &self.unix {
            let address = socket.local_addr();
            tracing::warn!(?address, "an inherited socket belongs to no face");
        }
    }
}

#[cfg(test)]
#[path = "inherited/tests.rs"]
mod tests;
