//! `dog playground --check`: the promises, tried on the spot.
//!
//! Way: a client of each face writes tagged blocks ([`pattern`]) into a VDI of its own
//!      ([`writer`]); a sheep that serves none of them is killed; the writing goes on; then every
//!      byte is read through the same sheep and through another one ([`verify`]).
//! Holds:
//!   E1 success means: each face had [`WRITES_AFTER`] writes acknowledged after the kill, the
//!      killed sheep held copies of what was written, and every byte of every VDI was compared.

mod face;
mod pattern;
mod report;
mod sabotage;
mod verify;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sheepdog_client::admin::types::NewVdi;

use super::herd::Herd;
use crate::cli;
use crate::output::{self, Form};
use crate::trouble::Trouble;
use face::{Disk, Face, Gate};
use report::{Report, Row};
use verify::Verified;
use writer::{Ledger, Tally, Writer};

/// Size of each VDI.
const VDI_BYTES: u64 = 64 << 20;

/// Writes of each face before the kill.
const WRITES_BEFORE: u64 = 500;

/// Writes of each face after the kill.
const WRITES_AFTER: u64 = 1000;

/// A face that had no write acknowledged for so long has failed.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(10);

/// The sheep that is killed: the first one, which most likely serves the coordination log.
const VICTIM: usize = 0;

/// Which face is written through which sheep, and read afterwards through which face of which
/// other one.
const PLAN: [(Face, usize, Face, usize); 4] = [
    (Face::Legacy, 1, Face::NbdTcp, 2),
    (Face::NbdUnix, 1, Face::Legacy, 2),
    (Face::NbdTcp, 2, Face::Admin, 1),
    (Face::Admin, 2, Face::NbdUnix, 1),
];

/// One line of the plan, at work.
struct Track {
    face: Face,
    own: usize,
    other_face: Face,
    other: usize,
    name: String,
    disk: Arc<Disk>,
    tally: Arc<Tally>,
}

pub(super) async fn run(herd: &mut Herd, options: &cli::Playground) -> Result<(), Trouble> {
    let tracks = open(herd).await?;
    eprintln!("playground: writing through {} faces", tracks.len());
    let writers: Vec<Writer> = tracks.iter().map(start).collect();
    wait(&tracks, |tally| tally.before() >= WRITES_BEFORE).await?;
    let held = copies_on(herd, VICTIM, &tracks).await?;
    if held == 0 {
        return Err(Trouble::failure(format!("sheep {VICTIM} holds nothing of what was written")));
    }
    eprintln!("playground: killing sheep {VICTIM}, which holds {held} of the written objects");
    tracks.iter().for_each(|track| track.tally.killed(Instant::now()));
    herd.kill(VICTIM)?;
    wait(&tracks, |tally| tally.after() >= WRITES_AFTER).await?;
    let mut ledgers = Vec::new();
    for writer in writers {
        ledgers.push(writer.finish().await.map_err(Trouble::failure)?);
    }
    check_victim(herd).await?;
    if options.sabotage {
        sabotage::run(herd, &tracks[0].name, tracks[0].face, &ledgers[0]).await?;
    }
    eprintln!("playground: verifying");
    let mut rows = Vec::new();
    for (track, ledger) in tracks.into_iter().zip(&ledgers) {
        rows.push(finish(herd, track, ledger).await?);
    }
    let form = if options.json { Form::Json } else { Form::Human };
    output::print(form, &Report(rows))
}

/// Makes a VDI for each face and opens it.
async fn open(herd: &Herd) -> Result<Vec<Track>, Trouble> {
    let mut tracks = Vec::new();
    for (face, own, other_face, other) in PLAN {
        let name = format!("check-{}-{}", face.word(), std::process::id());
        let request =
            NewVdi { name: name.clone(), size: VDI_BYTES, copies: None, object_shift: None };
        herd.sheep(own).admin().create(&request).await?;
        let disk = Disk::open(face, &Gate::of(herd.sheep(own)), &name).await;
        let disk = Arc::new(disk.map_err(|error| failed(face, own, &error))?);
        let tally = Arc::new(Tally::default());
        tracks.push(Track { face, own, other_face, other, name, disk, tally });
    }
    Ok(tracks)
}

fn failed(face: Face, sheep: usize, error: &str) -> Trouble {
    Trouble::failure(format!("{face} through sheep {sheep}: {error}"))
}

fn start(track: &Track) -> Writer {
    Writer::start(track.face, track.disk.clone(), VDI_BYTES, track.tally.clone())
}

/// Waits until every face has come so far; ends early if one fails or stands still.
async fn wait(tracks: &[Track], enough: impl Fn(&Tally) -> bool) -> Result<(), Trouble> {
    let start = Instant::now();
    while !tracks.iter().all(|track| enough(&track.tally)) {
        for track in tracks {
            if let Some(error) = track.tally.error() {
                return Err(failed(track.face, track.own, &error));
            }
            if track.tally.idle(start) > STALL_TIMEOUT {
                let seconds = STALL_TIMEOUT.as_secs();
                let error = format!("no write was acknowledged for {seconds} s");
                return Err(failed(track.face, track.own, &error));
            }
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// How many written objects have an in-sync copy on a sheep.
async fn copies_on(herd: &Herd, victim: usize, tracks: &[Track]) -> Result<usize, Trouble> {
    let node = herd.sheep(victim).admin().node().await?.node;
    let mut held = 0;
    for track in tracks {
        let client = herd.sheep(track.own).admin();
        let shift = client.vdi(&track.name).await?.object_shift;
        for index in 0..VDI_BYTES.div_ceil(1 << shift) {
            let place = client.object(&track.name, index as u32).await?;
            let copy = place.copies.iter().find(|copy| copy.node == node);
            let there = copy.is_some_and(|copy| copy.held == Some(true));
            held += usize::from(there && place.in_sync.contains(&node));
        }
    }
    Ok(held)
}

/// The cluster must know by now that the sheep is gone.
async fn check_victim(herd: &Herd) -> Result<(), Trouble> {
    let admin = format!("127.0.0.1:{}", herd.sheep(VICTIM).ports.admin);
    let nodes = herd.sheep(1).admin().nodes().await?;
    match nodes.iter().find(|node| node.addresses.admin == admin) {
        Some(node) if !node.up => Ok(()),
        Some(_) => Err(Trouble::failure(format!("the cluster takes sheep {VICTIM} for alive"))),
        None => Err(Trouble::failure(format!("the cluster does not know sheep {VICTIM}"))),
    }
}

/// Reads everything back through the same sheep, then through the other one.
async fn finish(herd: &Herd, track: Track, ledger: &Ledger) -> Result<Row, Trouble> {
    let Track { face, own, other_face, other, name, disk, tally } = track;
    let found = |face: Face, sheep: usize, verified: Verified| match verified {
        Verified::All(bytes) => Ok(bytes),
        Verified::Bad(what) => Err(Trouble::failure(format!(
            "verification failed: VDI {name}, {face} through sheep {sheep}: {what}"
        ))),
    };
    let mut bytes = found(face, own, verify::run(&disk, face, ledger).await)?;
    let disk = Arc::into_inner(disk).ok_or_else(|| Trouble::failure("a writer still runs"))?;
    disk.close().await.map_err(|error| failed(face, own, &error))?;
    let disk = Disk::open(other_face, &Gate::of(herd.sheep(other)), &name).await;
    let disk = disk.map_err(|error| failed(other_face, other, &error))?;
    bytes += found(other_face, other, verify::run(&disk, face, ledger).await)?;
    disk.close().await.map_err(|error| failed(other_face, other, &error))?;
    Ok(Row {
        face,
        other_face,
        before: tally.before(),
        after: tally.after(),
        bytes,
        pause: tally.pause(),
    })
}
