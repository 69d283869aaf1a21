//! Endpoint: where a face of a sheep is reached.

use std::fmt;
use std::path::{Path, PathBuf};

/// A TCP address or a unix socket. Written as `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// Unix stream socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The socket at `path`.
    #[must_use]
    pub fn unix(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }

    /// `port` on the loopback address.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self::Tcp { host: "127.0.0.1".to_owned(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("unix: needs the path of a socket behind it"),
                path => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or("an address is HOST:PORT or unix:PATH")?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match bare {
            Some(bare) => bare,
            None if host.contains(':') => return Err("an IPv6 address is written [ADDRESS]:PORT"),
            None => host,
        };
        if host.is_empty() {
            return Err("the host in front of the port is missing");
        }
        let port = port.parse().map_err(|_| "a port is a number from 1 to 65535")?;
        if port == 0 {
            return Err("a port is a number from 1 to 65535");
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

#[cfg(test)]
#[path = "endpoint/tests.rs"]
mod tests;
