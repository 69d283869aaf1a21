//! Delay: a relay of TCP connections that keeps everything back for a random while.
//!
//! Why: on loopback and bridges what was sent first arrives first, on every connection; on a
//!      real network one connection overtakes another, and the kernel of a test machine may have
//!      no queue that delays.
//! Way: `e2e-delay MILLISECONDS_MAX SEED [LISTEN TARGET]...`; it prints `listening`, then a line
//!      for each connection. What is read at once is passed on at once, no earlier than what was
//!      read before it: the order within a connection stays.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sheepdog_e2e::workload::Random;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Pieces under way in one direction; a sender that has more must wait.
const PIECES_MAX: usize = 256;
const PIECE_BYTES: usize = 64 << 10;

/// How long things take.
#[derive(Clone, Debug)]
struct Delay {
    microseconds_max: usize,
    seed: Arc<AtomicU64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e2e-delay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[String]) -> Result<()> {
    let [milliseconds, seed, ways @ ..] = words else {
        bail!("e2e-delay MILLISECONDS_MAX SEED [LISTEN TARGET]...");
    };
    let microseconds_max = 1000 * milliseconds.parse::<usize>().context("MILLISECONDS_MAX")? + 1;
    let seed = Arc::new(AtomicU64::new(seed.parse().context("SEED")?));
    let delay = Delay { microseconds_max, seed };
    let mut relays = tokio::task::JoinSet::new();
    for way in ways.chunks(2) {
        let [listen, target] = way else { bail!("{way:?}: LISTEN without TARGET") };
        let listener = TcpListener::bind(listen).await.with_context(|| listen.clone())?;
        relays.spawn(serve(listener, target.clone(), delay.clone()));
    }
    println!("listening");
    match relays.join_next().await {
        Some(ended) => ended?,
        None => bail!("nothing to listen on"),
    }
}

async fn serve(listener: TcpListener, target: String, delay: Delay) -> Result<()> {
    loop {
        let (near, from) = listener.accept().await?;
        println!("{from} to {target}");
        let (target, delay) = (target.clone(), delay.clone());
        tokio::spawn(async move {
            // A target that refuses is a connection that ends.
            if let Ok(far) = TcpStream::connect(&target).await {
                relay(near, far, &delay).await;
            }
        });
    }
}

/// Passes on both directions until one of them has ended.
async fn relay(near: TcpStream, far: TcpStream, delay: &Delay) {
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(near_in, far_out, delay.random()) => {}
        () = pass(far_in, near_out, delay.random()) => {}
    }
}

async fn pass(
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut wait: impl FnMut() -> Duration,
) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let read = async move {
        let mut due = Instant::now();
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(count @ 1..) = input.read(&mut buffer).await {
            due = due.max(Instant::now() + wait());
            if sender.send((due, buffer[..count].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = pieces.recv().await {
            sleep_until(due).await;
            if output.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(read, write);
}

impl Delay {
    /// A new row of delays.
    fn random(&self) -> impl FnMut() -> Duration + use<> {
        let mut random = Random(self.seed.fetch_add(1, Ordering::Relaxed) << 20);
        let bound = self.microseconds_max;
        move || Duration::from_micros(random.below(bound) as u64)
    }
}
