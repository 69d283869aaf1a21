//! Echo: requests sent to another process over TCP and back, with nothing done to them.
//!
//! Why: what sockets and two wake-ups cost is the least that a server over TCP can cost.
//! Way: the server is this program again ([`serve`]); the client keeps `depth` requests in flight
//!      and sends all that may follow an answer with one system call.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::account::Usage;
use crate::histogram::Histogram;
use crate::load::{DRAIN, OPERATIONS_MAX, Outcome, Plan};
use crate::payload::{self, Payload};
use crate::program::Program;
use crate::wait;

/// The hidden command by which this program becomes the server.
pub const COMMAND: &str = "echo";
const READY: &str = "echo is ready: ";
const READY_LIMIT: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 256 << 10;

/// Sends back whatever comes, to one client after the other, until it is killed.
///
/// # Errors
/// If there is no port.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{READY}{}", listener.local_addr()?);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        // A client that breaks off is done.
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Echo {
    program: Program,
    address: String,
}

impl Echo {
    /// Starts it.
    ///
    /// # Errors
    /// If it does not come to serve.
    pub async fn start(folder: &Path) -> Result<Self> {
        let me = std::env::current_exe().context("where is this program")?;
        let mut program = Program::start("echo", folder, me, [COMMAND])?;
        let address = program.line(READY, READY_LIMIT).await?;
        Ok(Self { program, address })
    }

    /// Number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.id()
    }

    /// Runs a load; reads and writes are the same here.
    ///
    /// # Errors
    /// If the connection breaks or brings back other bytes.
    pub async fn run(&self, plan: Plan) -> Result<Outcome> {
        let stream = TcpStream::connect(&self.address).await.context("connect to the echo")?;
        stream.set_nodelay(true)?;
        let before = Usage::of(std::process::id())?;
        let started = Instant::now();
        let exchanged = exchange(stream, plan, started + plan.time);
        let histogram = wait::within("the echo", plan.time + DRAIN, exchanged).await?;
        let seconds = started.elapsed().as_secs_f64();
        let client = Usage::of(std::process::id())?.since(before).processor;
        let (p50, p99) = (histogram.percentile(50.0), histogram.percentile(99.0));
        Ok(Outcome { operations: histogram.count(), seconds, p50, p99, client })
    }
}

async fn exchange(mut stream: TcpStream, plan: Plan, deadline: Instant) -> Result<Histogram> {
    let (length, depth) = (plan.workload.bytes as usize, plan.workload.depth as usize);
    let mut histogram = Histogram::default();
    let mut payload = Payload::new(plan.seed);
    let mut out = vec![0; length * depth];
    let mut input = vec![0; length * depth];
    let mut filled = 0;
    let mut flying: VecDeque<Instant> = VecDeque::new();
    let mut may_begin = depth;
    loop {
        if may_begin > 0 && Instant::now() < deadline && histogram.count() < OPERATIONS_MAX {
            // Blocks of an echo belong nowhere; they are all checked against place 0.
            let burst = &mut out[..length * may_begin];
            burst.chunks_exact_mut(length).for_each(|request| payload.fill(request, 0));
            flying.extend(std::iter::repeat_n(Instant::now(), may_begin));
            stream.write_all(burst).await?;
        }
        if flying.is_empty() {
            return Ok(histogram);
        }
        let count = stream.read(&mut input[filled..]).await?;
        ensure!(count > 0, "the echo has ended");
        filled += count;
        may_begin = filled / length;
        for request in input.chunks_exact(length).take(may_begin) {
            let begun = flying.pop_front().context("an answer to nothing")?;
            histogram.note(begun.elapsed());
            payload::check(request, 0)?;
        }
        input.copy_within(may_begin * length..filled, 0);
        filled -= may_begin * length;
    }
}
