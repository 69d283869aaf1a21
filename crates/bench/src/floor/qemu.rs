//! qemu-nbd: a server that everybody knows, on one file, driven by the same load as the sheep.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sheepdog_client::endpoint::Endpoint;
use sheepdog_client::nbd;

use crate::program::Program;
use crate::wait;

/// The name of its export.
pub const EXPORT: &str = "bench";
const READY: Duration = Duration::from_secs(30);
/// How often another port is tried when somebody else took one in the meantime.
const TRIES: usize = 5;

/// A running qemu-nbd.
#[derive(Debug)]
pub struct QemuNbd {
    program: Program,
    port: u16,
}

impl QemuNbd {
    /// Starts one on a raw file; `cache` as qemu-nbd calls it.
    ///
    /// # Errors
    /// If it does not come to serve.
    pub async fn start(folder: &Path, file: &Path, cache: &str) -> Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            match Self::try_start(folder, file, cache).await {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        let error = last.context("it was not tried")?;
        Err(error.context("qemu-nbd (Debian: qemu-utils; `cargo xtask setup` installs it)"))
    }

    async fn try_start(folder: &Path, file: &Path, cache: &str) -> Result<Self> {
        // qemu-nbd cannot say which port it got, so one that is free now is given to it.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let words = [
            "--bind=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--export-name={EXPORT}"),
            format!("--cache={cache}"),
            "--format=raw".to_owned(),
            "--persistent".to_owned(),
            file.display().to_string(),
        ];
        let name = format!("qemu-nbd-{cache}");
        let program = Program::start(&name, folder, "qemu-nbd", words)?;
        let mut server = Self { program, port };
        let endpoint = server.endpoint();
        let ready = wait::until("qemu-nbd to serve", READY, async || {
            if let Some(status) = server.program.ended()? {
                bail!("it has ended ({status})");
            }
            Ok(nbd::info(&endpoint, EXPORT).await.ok())
        });
        ready.await.with_context(|| server.program.tail())?;
        Ok(server)
    }

    /// Where it is reached.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::loopback(self.port)
    }

    /// Number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.id()
    }
}
