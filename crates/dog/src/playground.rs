//! `dog playground`: a cluster of three sheep on this machine, with a disk to try.
//!
//! Way: [`binary`] finds `sheep` -> [`ports`] and [`place`] give it room -> [`herd`] starts and
//!      stops the processes -> a person plays until Ctrl-C, or [`check`] tests every promise.
//! Holds:
//!   G1 no process outlives this one, however it ends.

mod binary;
mod check;
mod herd;
mod place;
mod ports;
pub(crate) mod tether;

use std::time::Duration;

use sheepdog_client::admin::types::{ClusterStatus, Copies, ErrorCode, FormatRequest, NewVdi};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli;
use crate::size;
use crate::trouble::{Exit, Trouble};
use herd::Herd;
use place::Place;

/// Name of the disk that is there to be tried.
const DISK: &str = "disk";

const LOOK_AFTER: Duration = Duration::from_millis(200);

pub(crate) async fn run(options: &cli::Playground) -> Result<(), Trouble> {
    let mut signals = Signals::new()?;
    let sheep = binary::find()?;
    let mut place = Place::open(options.dir.as_deref())?;
    let base = ports::choose(options.port, !options.check)?;
    let mut herd = Herd::new(sheep, place.path(), base);
    let played = tokio::select! {
        played = play(&mut herd, options, &place) => played,
        () = signals.asked() => Err(Trouble::new(Exit::Interrupted, "interrupted")),
    };
    // A person ends the playground by a signal: that is how it succeeds.
    let played = match played {
        Err(trouble) if trouble.exit == Exit::Interrupted && herd.is_open() && !options.check => {
            eprintln!();
            Ok(())
        }
        played => played,
    };
    let stopped = herd.stop().await;
    if let (Err(_), Err(second)) = (&played, &stopped) {
        eprintln!("playground: {}", second.message);
    }
    if played.is_err() && !options.sabotage {
        place.keep();
        eprintln!("playground: data and logs are kept in {}", place.path().display());
    }
    played.and(stopped)
}

async fn play(herd: &mut Herd, options: &cli::Playground, place: &Place) -> Result<(), Trouble> {
    herd.start().await?;
    format(herd).await?;
    if options.check {
        return check::run(herd, options).await;
    }
    make_disk(herd, options.size).await?;
    herd.open();
    invite(herd, options.size, place);
    loop {
        tokio::time::sleep(LOOK_AFTER).await;
        for line in herd.take_deaths() {
            eprintln!("playground: {line}");
        }
        if herd.is_dead() {
            return Err(Trouble::failure("every sheep has ended"));
        }
    }
}

async fn format(herd: &Herd) -> Result<(), Trouble> {
    let client = herd.sheep(0).admin();
    if client.cluster().await?.status != ClusterStatus::WaitingForFormat {
        return Ok(());
    }
    let request = FormatRequest {
        copies: Copies::Auto,
        object_shift: None,
        partition_bits: None,
        force: false,
    };
    client.format(&request).await?;
    Ok(())
}

async fn make_disk(herd: &Herd, size: u64) -> Result<(), Trouble> {
    let request = NewVdi { name: DISK.to_owned(), size, copies: None, object_shift: None };
    match herd.sheep(0).admin().create(&request).await {
        Err(error) if error.failure().is_some_and(|f| f.code == ErrorCode::Exists) => Ok(()),
        answer => answer.map(drop).map_err(Trouble::from),
    }
}

fn invite(herd: &Herd, size: u64, place: &Place) {
    let first = herd.sheep(0);
    let (legacy, nbd, admin) = (first.ports.legacy, first.ports.nbd, first.ports.admin);
    let socket = first.directory.join("nbd.sock");
    let socket = socket.display();
    let dog =
        std::env::current_exe().map_or_else(|_| "dog".into(), |path| path.display().to_string());
    let size = size::human(size);
    println!(
        "Three sheep keep three copies of everything. '{DISK}' ({size}) is ready:\n\n  \
         QEMU, through NBD:\n    \
         qemu-img info nbd://127.0.0.1:{nbd}/{DISK}\n    \
         qemu-system-x86_64 -m 1G -drive file=nbd:unix:{socket}:exportname={DISK},format=raw,if=virtio\n  \
         QEMU up to 6.0, by its own driver:\n    \
         qemu-img info sheepdog://127.0.0.1:{legacy}/{DISK}\n  \
         Operator:\n    \
         {dog} cluster info -p {admin}\n    \
         {dog} vdi list -p {admin}\n    \
         {dog} vdi write {DISK} -p {admin} < image.raw"
    );
    println!("\n  Any one of them may die:");
    for sheep in herd.all() {
        let (index, ports) = (sheep.index, sheep.ports);
        println!(
            "    kill -9 {:<8} sheep {index}: sheepdog {}, admin {}, nbd {}",
            sheep.pid(),
            ports.legacy,
            ports.admin,
            ports.nbd
        );
    }
    let fate = if place.is_temporary() { "removed at the end" } else { "kept" };
    println!("\n  Data: {} ({fate})\n\nCtrl-C ends it.", place.path().display());
}

/// The signals by which a person or a supervisor ends the playground.
struct Signals {
    all: [Signal; 3],
}

impl Signals {
    fn new() -> Result<Self, Trouble> {
        let listen = |kind| {
            signal(kind).map_err(|error| Trouble::failure(format!("cannot watch signals: {error}")))
        };
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(listen);
        Ok(Self { all: [interrupt?, terminate?, hangup?] })
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.all;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
