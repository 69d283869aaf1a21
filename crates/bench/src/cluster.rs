//! Cluster: three sheep on this machine, formatted, with VDIs that have been written once.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sheepdog_client::admin::AdminClient;
use sheepdog_client::admin::types::{Copies, FormatRequest, NewVdi};
use sheepdog_client::endpoint::Endpoint;

use crate::disk::Disk;
use crate::place::Place;
use crate::program::Program;
use crate::prometheus::StoreCounters;
use crate::{load, wait};

/// How many sheep, and copies of everything.
pub const SHEEP_COUNT: usize = 3;
const READY: Duration = Duration::from_secs(60);
const REQUEST: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(30);

/// A running cluster. The first sheep also serves the coordination log.
#[derive(Debug)]
pub struct Cluster {
    sheep: Vec<Sheep>,
}

/// One of its sheep.
#[derive(Debug)]
struct Sheep {
    program: Program,
    nbd: String,
    legacy: String,
    admin: AdminClient,
}

impl Cluster {
    /// Starts the sheep, one after the other, and formats the cluster.
    ///
    /// # Errors
    /// If a sheep does not come to serve.
    pub async fn start(sheep: &Path, place: &Place, shards: Option<u16>) -> Result<Self> {
        let mut cluster = Self { sheep: Vec::new() };
        for index in 0..SHEEP_COUNT {
            cluster.sheep.push(Sheep::start(sheep, place, index, shards).await?);
        }
        let format = FormatRequest {
            copies: Copies::Exactly(SHEEP_COUNT as u8),
            object_shift: None,
            partition_bits: None,
            force: false,
        };
        cluster.sheep[0].admin.format(&format).await.context("format the cluster")?;
        Ok(cluster)
    }

    /// Makes a VDI, waits until all know it, and writes it once.
    ///
    /// # Errors
    /// As told by the first sheep.
    pub async fn create(&self, name: &str, size: u64, seed: u64) -> Result<()> {
        let new = NewVdi { name: name.to_owned(), size, copies: None, object_shift: None };
        self.sheep[0].admin.create(&new).await.with_context(|| format!("create {name}"))?;
        for sheep in &self.sheep {
            let known = async || Ok(sheep.admin.vdi(name).await.ok());
            wait::until("every sheep to know the VDI", READY, known).await?;
        }
        let disk = Disk::nbd(&self.nbd()?, name, true).await?;
        load::preallocate(&disk, size, seed).await.with_context(|| format!("write {name}"))?;
        disk.close().await
    }

    /// Where the first sheep speaks NBD. Like everything here it is TCP, as the echo is.
    ///
    /// # Errors
    /// If it said something that is no address.
    pub fn nbd(&self) -> Result<Endpoint> {
        endpoint(&self.sheep[0].nbd)
    }

    /// Where the first sheep speaks NBD, as other programs write it.
    #[must_use]
    pub fn nbd_uri(&self, name: &str) -> String {
        format!("nbd://{}/{name}", self.sheep[0].nbd)
    }

    /// Where the first sheep speaks the first Sheepdog's protocol.
    ///
    /// # Errors
    /// If it said something that is no address.
    pub fn legacy(&self) -> Result<Endpoint> {
        endpoint(&self.sheep[0].legacy)
    }

    /// Numbers of the processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.sheep.iter().map(|sheep| sheep.program.id()).collect()
    }

    /// What the stores of all sheep have counted.
    ///
    /// # Errors
    /// If a sheep does not answer.
    pub async fn counters(&self) -> Result<StoreCounters> {
        let mut sum = StoreCounters::default();
        for sheep in &self.sheep {
            sum.add(&StoreCounters::parse(&sheep.admin.metrics().await.context("metrics")?));
        }
        Ok(sum)
    }

    /// Shuts the cluster down in order.
    ///
    /// # Errors
    /// If a sheep does not end; it is killed then.
    pub async fn stop(mut self) -> Result<()> {
        self.sheep[0].admin.shutdown().await.context("shut the cluster down")?;
        for sheep in &mut self.sheep {
            let ended = sheep.program.end(END).await;
            ended.with_context(|| sheep.program.tail())?;
        }
        Ok(())
    }

    /// The ends of all logs, for the one who looks for what went wrong.
    #[must_use]
    pub fn tails(&self) -> String {
        let tails: Vec<String> = self.sheep.iter().map(|sheep| sheep.program.tail()).collect();
        tails.join("\n")
    }
}

impl Sheep {
    async fn start(
        program: &Path,
        place: &Place,
        index: usize,
        shards: Option<u16>,
    ) -> Result<Self> {
        let name = format!("sheep{}", index + 1);
        let log = format!("local:{}", place.file("log").display());
        let mut words = vec!["-c".to_owned(), log, "-z".to_owned(), (index + 1).to_string()];
        // Port 0: the system chooses, and the sheep says which it has got.
        for port in ["--port", "--peer-port", "--admin-port", "--nbd-port"] {
            words.extend([port.to_owned(), "0".to_owned()]);
        }
        if let Some(shards) = shards {
            words.extend(["--shards".to_owned(), shards.to_string()]);
        }
        words.push(place.file(&name).display().to_string());
        let mut program = Program::start(&name, place.path(), program, words)?;
        let ready = program.line("sheep is ready: ", READY).await?;
        let address = |face| {
            let found = word_after(&ready, face).map(str::to_owned);
            found.with_context(|| format!("{name} does not say where its {face} face is: {ready}"))
        };
        let (nbd, legacy) = (address("nbd")?, address("legacy")?);
        let admin = AdminClient::new(endpoint(&address("admin")?)?, Some(REQUEST));
        Ok(Self { program, nbd, legacy, admin })
    }
}

fn word_after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.split_whitespace().skip_while(|found| *found != word).nth(1)
}

fn endpoint(text: &str) -> Result<Endpoint> {
    text.parse().map_err(|what| anyhow::anyhow!("{text}: {what}"))
}
