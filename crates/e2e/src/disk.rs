//! Disk: an open VDI, through any face.

use anyhow::{Context, Result};
use sheepdog_client::admin::AdminClient;
use sheepdog_client::admin::Data;
use sheepdog_client::endpoint::Endpoint;
use sheepdog_client::{legacy, nbd};

use crate::iscsi::Initiator;
use crate::sheep::Sheep;

/// Longest read through the faces that have a limit.
const READ_BYTES_MAX: usize = 1 << 20;

/// Which face, and by which kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// NBD by TCP.
    Nbd,
    /// NBD by unix socket.
    NbdUnix,
    /// The first Sheepdog's protocol by TCP.
    Legacy,
    /// The first Sheepdog's protocol by unix socket.
    LegacyUnix,
    /// The admin API by TCP.
    Admin,
}

/// An open VDI. Requests may be made side by side.
#[allow(clippy::large_enum_variant, reason = "a test has a handful of them")]
pub enum Disk {
    /// See [`Face::Nbd`].
    Nbd(nbd::Connection),
    /// See [`Face::Legacy`].
    Legacy(legacy::Disk),
    /// See [`Face::Admin`].
    Admin(AdminClient, String),
    /// Through tgt.
    Iscsi(Initiator),
}

impl Disk {
    /// Opens a VDI through one sheep.
    ///
    /// # Errors
    /// If the sheep refuses.
    pub async fn open(sheep: &Sheep, face: Face, name: &str) -> Result<Self> {
        let context = || format!("open {name} through sheep {} by {face:?}", sheep.index);
        Ok(match face {
            Face::Nbd | Face::NbdUnix => {
                let unix = face == Face::NbdUnix;
                let endpoint = if unix { sheep.nbd_unix() } else { sheep.nbd() };
                Self::open_nbd(&endpoint, name).await.with_context(context)?
            }
            Face::Legacy | Face::LegacyUnix => {
                let unix = face == Face::LegacyUnix;
                let endpoint = if unix { sheep.legacy_unix() } else { sheep.legacy() };
                Self::Legacy(legacy::Disk::open(endpoint, name).await.with_context(context)?)
            }
            Face::Admin => Self::Admin(sheep.admin(), name.to_owned()),
        })
    }

    /// Opens a VDI by NBD at an address.
    ///
    /// # Errors
    /// If nobody is there, or the sheep refuses.
    pub async fn open_nbd(endpoint: &Endpoint, name: &str) -> Result<Self> {
        Ok(Self::Nbd(nbd::Connection::open(endpoint, name, nbd::Options::default()).await?))
    }

    /// `length` bytes from `offset`.
    ///
    /// # Errors
    /// As told by the face.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let part = (length - bytes.len()).min(READ_BYTES_MAX);
            bytes.extend(self.read_part(offset + bytes.len() as u64, part).await?);
        }
        Ok(bytes)
    }

    async fn read_part(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Nbd(disk) => disk.read(offset, length as u32).await?,
            Self::Legacy(disk) => disk.read(offset, length).await?,
            Self::Admin(admin, name) => match admin.read(name, offset, length as u64).await? {
                Data::Bytes(bytes) => bytes.to_vec(),
                Data::Hole => vec![0; length],
            },
            Self::Iscsi(disk) => disk.read(offset, length).await?,
        })
    }

    /// Replaces the bytes from `offset`; durable on return, through every face.
    ///
    /// # Errors
    /// As told by the face.
    pub async fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        match self {
            Self::Nbd(disk) => disk.write(offset, data, true).await?,
            Self::Legacy(disk) => disk.write(offset, data).await?,
            Self::Admin(admin, name) => admin.write(name, offset, data.to_vec().into()).await?,
            Self::Iscsi(disk) => disk.write(offset, data).await?,
        }
        Ok(())
    }

    /// Makes bytes read as zeros: as a hole by NBD and the admin API, by writing zeros otherwise.
    ///
    /// # Errors
    /// As told by the face.
    pub async fn zero(&self, offset: u64, length: usize) -> Result<()> {
        match self {
            Self::Nbd(disk) => disk.write_zeroes(offset, length as u32, false).await?,
            Self::Admin(admin, name) => admin.zero(name, offset, length as u64).await?,
            Self::Legacy(_) | Self::Iscsi(_) => self.write(offset, &vec![0; length]).await?,
        }
        Ok(())
    }

    /// Closes it so that it can be opened elsewhere at once. Nothing may be on the way.
    ///
    /// # Errors
    /// As told by the face.
    pub async fn close(self) -> Result<()> {
        match self {
            Self::Nbd(disk) => disk.disconnect().await?,
            Self::Legacy(disk) => disk.release().await?,
            Self::Admin(admin, name) => admin.release(&name).await?,
            Self::Iscsi(_) => {}
        }
        Ok(())
    }
}
