//! Herd: the processes of a playground, from start to end.
//!
//! Holds:
//!   H1 a process that was started is ended by its own number before `stop` returns, or when the
//!      herd is dropped; the tether sees to it if this process is killed.

mod process;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sheepdog_client::admin::AdminClient;
use sheepdog_client::endpoint::Endpoint;

use super::ports::{Ports, SHEEP_COUNT};
use crate::trouble::Trouble;
use process::Process;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(10);
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// One sheep.
#[derive(Debug)]
pub(super) struct Sheep {
    pub(super) index: u16,
    pub(super) ports: Ports,
    pub(super) directory: PathBuf,
    process: Option<Process>,
    /// Its end was expected, or was told.
    end_known: bool,
}

impl Sheep {
    /// A client of its admin API.
    pub(super) fn admin(&self) -> AdminClient {
        AdminClient::new(Endpoint::loopback(self.ports.admin), Some(REQUEST_TIMEOUT))
    }

    /// Number of the process; 0 if there is none.
    pub(super) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }

    async fn wait_ready(&mut self) -> Result<(), Trouble> {
        let index = self.index;
        let deadline = Instant::now() + READY_TIMEOUT;
        let Some(process) = &mut self.process else { return Ok(()) };
        while !process.is_ready() {
            if let Some(status) = process.ended() {
                self.end_known = true;
                let message = format!("sheep {index} ended at its start ({status})");
                return Err(Trouble::failure(message).hint(process.last_words()));
            }
            if Instant::now() > deadline {
                let seconds = READY_TIMEOUT.as_secs();
                let message = format!("sheep {index} was not ready after {seconds} s");
                return Err(Trouble::failure(message).hint(process.last_words()));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Herd {
    program: PathBuf,
    log: PathBuf,
    sheep: Vec<Sheep>,
    open: bool,
}

impl Herd {
    /// Nothing is started yet.
    pub(super) fn new(program: PathBuf, place: &Path, base: u16) -> Self {
        let one = |index| Sheep {
            index,
            ports: Ports::of(base, index),
            directory: place.join(format!("sheep{index}")),
            process: None,
            end_known: false,
        };
        let sheep = (0..SHEEP_COUNT).map(one).collect();
        Self { program, log: place.join("log"), sheep, open: false }
    }

    /// Starts one sheep after the other, each when the one before serves, so that a new cluster
    /// numbers them in this order and the first one serves the coordination log.
    pub(super) async fn start(&mut self) -> Result<(), Trouble> {
        for sheep in &mut self.sheep {
            eprintln!("playground: starting sheep {}", sheep.index);
            sheep.process = Some(Process::start(&self.program, &self.log, sheep)?);
            sheep.wait_ready().await?;
        }
        Ok(())
    }

    pub(super) fn sheep(&self, index: usize) -> &Sheep {
        &self.sheep[index]
    }

    pub(super) fn all(&self) -> &[Sheep] {
        &self.sheep
    }

    /// A person may play now.
    pub(super) const fn open(&mut self) {
        self.open = true;
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Kills a sheep with SIGKILL and waits until the process is gone.
    pub(super) fn kill(&mut self, index: usize) -> Result<(), Trouble> {
        let sheep = &mut self.sheep[index];
        sheep.end_known = true;
        let killed = sheep.process.as_mut().map_or(Ok(()), Process::kill);
        killed.map_err(|error| Trouble::failure(format!("cannot kill sheep {index}: {error}")))
    }

    /// A line on each sheep that ended by itself since the last call.
    pub(super) fn take_deaths(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for sheep in &mut self.sheep {
            let Some(process) = &mut sheep.process else { continue };
            if let (false, Some(status)) = (sheep.end_known, process.ended()) {
                sheep.end_known = true;
                let log = process.log_path().display();
                lines.push(format!("sheep {} has ended ({status}); its log: {log}", sheep.index));
            }
        }
        lines
    }

    pub(super) fn is_dead(&mut self) -> bool {
        !self.sheep.iter_mut().any(Sheep::is_running)
    }

    /// Stops what runs, in order: by the cluster's own shutdown, which leaves every copy in sync
    /// for the next start; then by SIGTERM; then by SIGKILL. An error tells of the last.
    pub(super) async fn stop(&mut self) -> Result<(), Trouble> {
        let deaths = self.take_deaths();
        for sheep in &mut self.sheep {
            sheep.end_known = true;
        }
        let running =
            self.sheep.iter_mut().find_map(|sheep| sheep.is_running().then(|| sheep.admin()));
        if let Some(client) = running {
            eprintln!("playground: stopping");
            let told = tokio::time::timeout(SHUTDOWN_TIMEOUT, client.shutdown()).await;
            if matches!(told, Ok(Ok(()))) {
                self.wait(SHUTDOWN_TIMEOUT).await;
            }
        }
        for process in self.sheep.iter_mut().filter_map(|sheep| sheep.process.as_mut()) {
            process.terminate();
        }
        self.wait(TERMINATE_TIMEOUT).await;
        let mut stubborn = Vec::new();
        for sheep in &mut self.sheep {
            if sheep.is_running() {
                stubborn.push(sheep.index.to_string());
                let _ = sheep.process.as_mut().map_or(Ok(()), Process::kill);
            }
        }
        self.wait(KILL_TIMEOUT).await;
        if !stubborn.is_empty() {
            let message =
                format!("sheep {} did not stop and had to be killed", stubborn.join(", "));
            return Err(Trouble::failure(message));
        }
        match deaths.first() {
            Some(line) => Err(Trouble::failure(line.clone())),
            None => Ok(()),
        }
    }

    async fn wait(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.is_dead() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }
}
