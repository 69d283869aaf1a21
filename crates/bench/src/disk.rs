//! Disk: an open VDI or export, through the client that a face needs.

use anyhow::{Context, Result, ensure};
use sheepdog_client::endpoint::Endpoint;
use sheepdog_client::{legacy, nbd};

/// An open disk. Requests may be made side by side.
pub enum Disk {
    /// Over NBD.
    Nbd {
        /// The connection.
        connection: nbd::Connection,
        /// Writes ask for being durable before they are acknowledged (FUA).
        durable: bool,
    },
    /// Over the first Sheepdog's protocol, where every write is durable.
    Legacy(Box<legacy::Disk>),
}

impl Disk {
    /// Opens an NBD export.
    ///
    /// # Errors
    /// As told by the server.
    pub async fn nbd(endpoint: &Endpoint, name: &str, durable: bool) -> Result<Self> {
        let options = nbd::Options { structured: true, allocation: false };
        let connection = nbd::Connection::open(endpoint, name, options).await;
        let connection = connection.with_context(|| format!("open {name} at {endpoint}"))?;
        Ok(Self::Nbd { connection, durable })
    }

    /// Opens a VDI over the first Sheepdog's protocol.
    ///
    /// # Errors
    /// As told by the sheep.
    pub async fn legacy(endpoint: Endpoint, name: &str) -> Result<Self> {
        let disk = legacy::Disk::open(endpoint, name).await;
        let disk = disk.with_context(|| format!("open {name} over the legacy protocol"))?;
        Ok(Self::Legacy(Box::new(disk)))
    }

    /// `length` bytes from `offset`.
    ///
    /// # Errors
    /// As told by the server.
    pub async fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>> {
        let bytes = match self {
            Self::Nbd { connection, .. } => connection.read(offset, length).await?,
            Self::Legacy(disk) => disk.read(offset, length as usize).await?,
        };
        ensure!(bytes.len() == length as usize, "a read of {} bytes, not {length}", bytes.len());
        Ok(bytes)
    }

    /// Replaces the bytes from `offset`.
    ///
    /// # Errors
    /// As told by the server.
    pub async fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Nbd { connection, durable } => connection.write(offset, bytes, *durable).await?,
            Self::Legacy(disk) => disk.write(offset, bytes).await?,
        }
        Ok(())
    }

    /// Closes it so that it can be opened by another client at once. Nothing may be on the way.
    ///
    /// # Errors
    /// As told by the server.
    pub async fn close(self) -> Result<()> {
        match self {
            Self::Nbd { connection, .. } => connection.disconnect().await?,
            Self::Legacy(disk) => disk.release().await?,
        }
        Ok(())
    }
}
