//! `sheep inspect DIR`: what stands in the directory of a sheep that does not run.
//!
//! Why: the disk of a dead node may have the only copy of something.
//! Way: `main` comes here if the first argument is `inspect`; one module for each
//!      thing that is shown; [`extract`] writes objects and VDIs to files; [`output`] is text or
//!      JSON.
//! Holds: nothing in the directory is changed, and no sheep starts in it meanwhile.
//! Not here: how a store is read (`sheepdog_store::inspect`).

mod extract;
mod index;
mod log;
mod objects;
mod output;
mod overview;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Parser};
use sheepdog_proto::{Oid, Vid};
use sheepdog_store::inspect::{HomeInspection, InspectError, Inspection, StorePlace};

use output::Output;

/// The first argument that leads here. A sheep in a directory of this name is `./inspect`.
pub(crate) const WORD: &str = "inspect";

const EXAMPLES: &str = "Examples:
  sheep inspect /var/lib/sheepdog/a
      identity, cluster, and each store at a glance
  sheep inspect /var/lib/sheepdog/a --verify
      reads everything; exits with 1 if anything is bad, and says where and what to do
  sheep inspect /var/lib/sheepdog/a --objects --vid 4f2a10
  sheep inspect /var/lib/sheepdog/a --object 004f2a1000000007 --blocks
  sheep inspect /var/lib/sheepdog/a --index
  sheep inspect /var/lib/sheepdog/a --log --records
  sheep inspect /var/lib/sheepdog/a --extract 004f2a1000000007 --to object.bin
  sheep inspect /var/lib/sheepdog/a --extract-vdi 4f2a10 --size 20G --to disk.img

DIR can also be the directory of one store (DIR/store/0), wherever it was copied to.
Exit codes: 0 done; 1 something is bad, or not all could be extracted; 2 it could not be done.";

/// Command line.
#[derive(Debug, Parser)]
#[command(
    name = "sheep inspect",
    version,
    about = "Shows, verifies and rescues what a sheep that does not run has on its disk",
    after_help = EXAMPLES
)]
#[command(group = ArgGroup::new("what").args([
    "objects", "object", "index", "log", "verify", "extract", "extract_vdi",
]))]
pub(crate) struct Options {
    /// Directory of the sheep. Nothing in it is changed.
    directory: PathBuf,

    /// List the objects.
    #[arg(long)]
    objects: bool,

    /// Only objects of this VDI, by its id in hexadecimal.
    #[arg(long, value_name = "VID", requires = "objects", value_parser = parse_vid)]
    vid: Option<Vid>,

    /// Show one object, by its id in hexadecimal.
    #[arg(long, value_name = "OID", value_parser = parse_oid)]
    object: Option<Oid>,

    /// With each block: stamp, checksum, place, and whether its bytes match.
    #[arg(long, requires = "object")]
    blocks: bool,

    /// Show the pages of the index and their slots.
    #[arg(long)]
    index: bool,

    /// Show the segments of the log and their batches.
    #[arg(long)]
    log: bool,

    /// With the records of each batch.
    #[arg(long, requires = "log")]
    records: bool,

    /// Check every checksum.
    #[arg(long)]
    verify: bool,

    /// Write the bytes of an object to a file; what cannot be read becomes zeros.
    #[arg(long, value_name = "OID", requires = "to", value_parser = parse_oid)]
    extract: Option<Oid>,

    /// Write the image of a VDI to a file, as far as it is here.
    #[arg(long, value_name = "VID", requires_all = ["to", "size"], value_parser = parse_vid)]
    extract_vdi: Option<Vid>,

    /// Size of the VDI: bytes, or a number with K, M, G or T behind it.
    #[arg(long, value_name = "BYTES", requires = "extract_vdi", value_parser = parse_size)]
    size: Option<u64>,

    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,

    /// Only this store. Default: all.
    #[arg(long, value_name = "N")]
    store: Option<u16>,

    /// Look although a sheep runs here: what is seen may be the middle of a change.
    #[arg(long)]
    running: bool,

    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

fn digits(text: &str) -> &str {
    text.strip_prefix("0x").unwrap_or(text)
}

fn parse_oid(text: &str) -> Result<Oid, String> {
    let number = u64::from_str_radix(digits(text), 16).ok();
    number.and_then(Oid::from_wire).ok_or_else(|| {
        "it is no object id: 16 hexadecimal digits, as --objects shows them".to_owned()
    })
}

fn parse_vid(text: &str) -> Result<Vid, String> {
    let number = u32::from_str_radix(digits(text), 16).ok();
    number.and_then(Vid::new).ok_or_else(|| {
        "it is no VDI id: up to 6 hexadecimal digits, as `dog vdi list` shows them".to_owned()
    })
}

fn parse_size(text: &str) -> Result<u64, String> {
    let shift = match text.chars().last().map(|unit| unit.to_ascii_uppercase()) {
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        _ => 0,
    };
    let number = if shift > 0 { &text[..text.len() - 1] } else { text };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|bytes| (1..=1 << 50).contains(bytes)).ok_or_else(|| {
        "it is no size: bytes, or a number with K, M, G or T behind it, such as 20G".to_owned()
    })
}

/// Whether everything that was looked at is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Bad,
}

/// One store that is being looked at.
pub(crate) struct OpenStore {
    place: StorePlace,
    /// Stands before the paths of its files: its directory, seen from the one that was given.
    prefix: String,
    inspection: Inspection,
}

/// Runs the command; `arguments` are those behind `inspect`.
pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let options = Options::parse_from(std::iter::once("sheep inspect".into()).chain(arguments));
    let mut stdout = std::io::stdout().lock();
    match run(&options, &mut stdout) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(1),
        // Whoever reads only the beginning wants no more.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sheep inspect: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(options: &Options, stdout: &mut dyn Write) -> Result<Verdict> {
    // Its lock keeps sheep out until the end.
    let home = HomeInspection::open(&options.directory, options.running).map_err(advise)?;
    let mut stores = Vec::new();
    for place in &home.stores {
        if options.store.is_none_or(|wanted| wanted == place.number) {
            let inspection = Inspection::open(&place.path);
            let below = place.path.strip_prefix(&options.directory).unwrap_or(&place.path);
            let is_same = below.as_os_str().is_empty();
            let prefix = if is_same { String::new() } else { format!("{}/", below.display()) };
            stores.push(OpenStore { place: place.clone(), prefix, inspection });
        }
    }
    if stores.is_empty() && options.store.is_some() {
        let numbers: Vec<String> = home.stores.iter().map(|s| s.number.to_string()).collect();
        bail!("there is no such store; there are: {}", numbers.join(", "));
    }
    let mut output = Output::new(options.json, stdout);
    let verdict = dispatch(options, &home, &mut stores, &mut output)?;
    output.finish()?;
    Ok(verdict)
}

fn dispatch(
    options: &Options,
    home: &HomeInspection,
    stores: &mut [OpenStore],
    output: &mut Output<'_>,
) -> Result<Verdict> {
    let to = || options.to.as_deref().context("--to FILE says where to write");
    if options.objects {
        objects::list(stores, options.vid, output)
    } else if let Some(oid) = options.object {
        objects::show(stores, oid, options.blocks, output)
    } else if options.index {
        index::show(stores, output)
    } else if options.log {
        log::show(stores, options.records, output)
    } else if options.verify {
        verify::show(home, stores, output)
    } else if let Some(oid) = options.extract {
        extract::object(stores, oid, to()?, output)
    } else if let (Some(vid), Some(size)) = (options.extract_vdi, options.size) {
        extract::vdi(stores, vid, size, to()?, output)
    } else {
        overview::show(home, stores, output)
    }
}

/// The error with what to do about it.
fn advise(error: InspectError) -> anyhow::Error {
    let advice = match &error {
        InspectError::Running { .. } => {
            "stop it first; with --running the answers are those of a store that changes meanwhile"
        }
        InspectError::NoSheep { .. } => {
            "give the directory that the sheep is started with, or that of one of its stores"
        }
        _ => "is it there, and may this user read it?",
    };
    anyhow::anyhow!("{error}; {advice}")
}

#[cfg(test)]
#[path = "inspect/tests.rs"]
mod tests;
