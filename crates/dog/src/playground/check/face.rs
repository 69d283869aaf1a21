//! Face: one VDI, opened through one of a sheep's protocols, behind one set of calls.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use sheepdog_client::admin::types::ErrorCode;
use sheepdog_client::admin::{AdminClient, AdminError, Data};
use sheepdog_client::endpoint::Endpoint;
use sheepdog_client::legacy::{self, LegacyError};
use sheepdog_client::nbd::{self, NbdError};
use sheepdog_proto::legacy::ResultCode;

use super::super::herd::Sheep;

/// A VDI that was just closed elsewhere may be busy for so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(40);
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// A protocol and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// The first Sheepdog's client protocol, by TCP.
    Legacy,
    /// NBD by a unix socket.
    NbdUnix,
    /// NBD by TCP.
    NbdTcp,
    /// HTTP.
    Admin,
}

impl Face {
    /// For names of VDIs.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::NbdUnix => "nbd-unix",
            Self::NbdTcp => "nbd-tcp",
            Self::Admin => "admin",
        }
    }

    /// For block tags.
    pub(super) const fn number(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Legacy => "sheepdog",
            Self::NbdUnix => "NBD unix",
            Self::NbdTcp => "NBD TCP",
            Self::Admin => "admin HTTP",
        })
    }
}

/// Where one sheep's faces are.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    legacy: Endpoint,
    nbd_tcp: Endpoint,
    nbd_unix: PathBuf,
    admin: AdminClient,
}

impl Gate {
    pub(super) fn of(sheep: &Sheep) -> Self {
        Self {
            legacy: Endpoint::loopback(sheep.ports.legacy),
            nbd_tcp: Endpoint::loopback(sheep.ports.nbd),
            nbd_unix: sheep.directory.join("nbd.sock"),
            admin: sheep.admin(),
        }
    }
}

/// An open VDI.
pub(super) enum Disk {
    Legacy(Box<legacy::Disk>),
    Nbd(nbd::Connection),
    Admin { client: AdminClient, name: String },
}

/// Why an open failed, and whether it may work a moment later.
struct NotOpen {
    busy: bool,
    why: String,
}

impl Disk {
    /// Opens a VDI; waits for a while if somebody has it.
    pub(super) async fn open(face: Face, gate: &Gate, name: &str) -> Result<Self, String> {
        let start = Instant::now();
        loop {
            match Self::try_open(face, gate, name).await {
                Ok(disk) => return Ok(disk),
                Err(error) if error.busy && start.elapsed() < BUSY_TIMEOUT => {}
                Err(error) => return Err(format!("cannot open the VDI: {}", error.why)),
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    async fn try_open(face: Face, gate: &Gate, name: &str) -> Result<Self, NotOpen> {
        let nbd = |endpoint: Endpoint| async move {
            let opened = nbd::Connection::open(&endpoint, name, nbd::Options::default()).await;
            opened.map(Self::Nbd).map_err(|error| NotOpen {
                busy: matches!(error, NbdError::Refused { .. }),
                why: error.to_string(),
            })
        };
        match face {
            Face::Legacy => {
                let opened = legacy::Disk::open(gate.legacy.clone(), name).await;
                opened.map(|disk| Self::Legacy(Box::new(disk))).map_err(|error: LegacyError| {
                    NotOpen {
                        busy: error.code() == Some(ResultCode::VdiLocked),
                        why: error.to_string(),
                    }
                })
            }
            Face::NbdTcp => nbd(gate.nbd_tcp.clone()).await,
            Face::NbdUnix => nbd(Endpoint::unix(&gate.nbd_unix)).await,
            Face::Admin => {
                // The first data request is what opens a VDI here.
                let opened = gate.admin.read(name, 0, 1).await;
                opened.map_err(|error: AdminError| NotOpen {
                    busy: error.failure().is_some_and(|f| f.code == ErrorCode::Locked),
                    why: error.to_string(),
                })?;
                Ok(Self::Admin { client: gate.admin.clone(), name: name.to_owned() })
            }
        }
    }

    pub(super) async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        match self {
            Self::Legacy(disk) => disk.read(offset, length).await.map_err(|e| e.to_string()),
            Self::Nbd(disk) => disk.read(offset, length as u32).await.map_err(|e| e.to_string()),
            Self::Admin { client, name } => match client.read(name, offset, length as u64).await {
                Ok(Data::Bytes(bytes)) => Ok(bytes.to_vec()),
                Ok(Data::Hole) => Ok(vec![0; length]),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// Writes; the bytes are durable on return.
    pub(super) async fn write(&self, offset: u64, data: Vec<u8>) -> Result<(), String> {
        match self {
            Self::Legacy(disk) => disk.write(offset, &data).await.map_err(|e| e.to_string()),
            Self::Nbd(disk) => disk.write(offset, &data, true).await.map_err(|e| e.to_string()),
            Self::Admin { client, name } => {
                let written = client.write(name, offset, Bytes::from(data)).await;
                written.map_err(|error| error.to_string())
            }
        }
    }

    /// Lets go of the VDI.
    pub(super) async fn close(self) -> Result<(), String> {
        match self {
            Self::Legacy(disk) => disk.release().await.map_err(|e| e.to_string()),
            Self::Nbd(disk) => disk.disconnect().await.map_err(|e| e.to_string()),
            Self::Admin { client, name } => client.release(&name).await.map_err(|e| e.to_string()),
        }
    }
}
