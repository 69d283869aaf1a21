//! Options of the daemon, in the spirit of the first Sheepdog's.
//!
//! Holds: whatever is wrong with the options is said at once, with what would be right.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use sheepdog_store::Engine;

const EXAMPLES: &str = "Examples:
  sheep -c local:/var/lib/sheepdog/log /var/lib/sheepdog/a
      the only sheep of this machine, on the default ports
  sheep -c local:/srv/log -p 7010 --nbd-port 10819 --admin-port 7012 --peer-port 7011 /srv/b
      a second one beside it, in the same cluster
  sheep -c local:/srv/log /var/lib/sheepdog/a,/srv/disk1,/srv/disk2
      one whose objects are on two disks; more can be added with `dog node md plug`
  sheep inspect --help
      looks at the directory of a sheep that does not run";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Who carries out what the stores ask of their disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiskEngine {
    /// io_uring, and nothing else.
    Ring,
    /// Threads, as where there is no io_uring.
    Threads,
}

/// Command line.
#[derive(Debug, Parser)]
#[command(
    name = "sheep",
    version,
    about = "Keeps disks of virtual machines, together with other sheep"
)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Directory of this sheep: identity, sockets, and, without DISKs, objects; made if it is
    /// missing. DISKs are directories on file systems of their own, empty at the first start.
    #[arg(value_name = "DIRECTORY[,DISK...]")]
    pub(crate) directory: PathBuf,

    /// Coordination: `local:DIR`, a directory shared by all sheep of this machine.
    #[arg(short, long, value_name = "DRIVER", default_value = "local:/tmp/sheepdog-log")]
    pub(crate) cluster: String,

    /// Zone: copies of one object go to different zones. Default: one zone per sheep.
    #[arg(short, long)]
    pub(crate) zone: Option<u32>,

    /// Address that clients and other sheep reach.
    #[arg(short, long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) bindaddr: IpAddr,

    /// Port of the client protocol of the first Sheepdog (QEMU up to 6.0, tgt).
    #[arg(short, long, default_value_t = 7000)]
    pub(crate) port: u16,

    /// Port between sheep.
    #[arg(long, default_value_t = 7001)]
    pub(crate) peer_port: u16,

    /// Port of the admin API (`dog`, metrics).
    #[arg(long, default_value_t = 7002)]
    pub(crate) admin_port: u16,

    /// Port of NBD.
    #[arg(long, default_value_t = 10809)]
    pub(crate) nbd_port: u16,

    /// Store nothing here; only serve clients.
    #[arg(short, long, conflicts_with = "weight")]
    pub(crate) gateway: bool,

    /// Share of the data, in virtual nodes. Default: by the size of the disk.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub(crate) weight: Option<u32>,

    /// Seconds that another sheep may be away before its copies are made on others; 0 = for ever.
    /// It fetches what it missed whenever it returns.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) out_after: u64,

    /// MiB a second that are read and compared in the background, to find what has rotted;
    /// 0 = none.
    #[arg(long, value_name = "MIB", default_value_t = 8)]
    pub(crate) scrub: u64,

    /// Data threads, 1 to 64; fixed at the first start. Default: one per core, at most 4.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) shards: Option<u16>,

    /// Least level that is logged: error, warn, info, debug.
    #[arg(short, long, default_value = "info")]
    pub(crate) loglevel: tracing::level_filters::LevelFilter,

    /// Form of the log on standard error.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// For developers: records everything that new stores do to their disks in files of this
    /// directory, which must exist.
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) record: Option<PathBuf>,

    /// For developers: seconds between two times that all copies are read.
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = 60)]
    pub(crate) scrub_rest: u64,

    /// For developers: the engine of the disks. Default: the best that works.
    #[arg(long, value_enum, hide = true)]
    pub(crate) disk_engine: Option<DiskEngine>,
}

/// Options that make sense.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) directory: PathBuf,
    /// None: the directory itself is the disk, or those that it had before are.
    pub(crate) disks: Vec<PathBuf>,
    pub(crate) log_directory: PathBuf,
    pub(crate) zone: Option<u32>,
    pub(crate) legacy: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) nbd: SocketAddr,
    pub(crate) gateway: bool,
    pub(crate) weight: Option<u32>,
    pub(crate) out_after: u64,
    /// Bytes a second.
    pub(crate) scrub_rate: u64,
    /// Seconds.
    pub(crate) scrub_rest: u64,
    pub(crate) shards: Option<u16>,
    pub(crate) record: Option<PathBuf>,
    pub(crate) engine: Engine,
}

impl Config {
    pub(crate) fn check(options: Options) -> Result<Self> {
        let log_directory = match options.cluster.split_once(':') {
            Some(("local", directory)) if !directory.is_empty() => PathBuf::from(directory),
            _ if options.cluster == "local" => PathBuf::from("/tmp/sheepdog-log"),
            _ => bail!(
                "unknown coordination driver {:?}; use local:DIR, a directory that all sheep of \
                 this machine share",
                options.cluster
            ),
        };
        let ports = [options.port, options.peer_port, options.admin_port, options.nbd_port];
        let twice = |port: &&u16| **port != 0 && ports.iter().filter(|p| p == port).count() > 1;
        if let Some(port) = ports.iter().find(twice) {
            bail!("port {port} is given twice; every face needs a port of its own");
        }
        let address = |port| SocketAddr::new(options.bindaddr, port);
        let mut paths = split_at_commas(&options.directory)?.into_iter();
        let directory = paths.next().context("a directory is needed")?;
        Ok(Self {
            directory,
            disks: paths.collect(),
            log_directory,
            zone: options.zone,
            legacy: address(options.port),
            peer: address(options.peer_port),
            admin: address(options.admin_port),
            nbd: address(options.nbd_port),
            gateway: options.gateway,
            weight: options.weight,
            out_after: options.out_after,
            scrub_rate: options.scrub.saturating_mul(1 << 20),
            scrub_rest: options.scrub_rest,
            shards: options.shards,
            record: options.record,
            engine: match options.disk_engine {
                None => Engine::Probe,
                Some(DiskEngine::Ring) => Engine::Ring,
                Some(DiskEngine::Threads) => Engine::Threads,
            },
        })
    }
}

/// The paths that were given as one word.
fn split_at_commas(word: &Path) -> Result<Vec<PathBuf>> {
    let parts = word.as_os_str().as_bytes().split(|byte| *byte == b',');
    let mut paths = Vec::new();
    for part in parts.map(OsStr::from_bytes) {
        let shown = word.display();
        ensure!(!part.is_empty(), "{shown}: a comma stands between two directories");
        let path = std::path::absolute(part).with_context(|| format!("directory {shown}"))?;
        ensure!(!paths.contains(&path), "{} is given twice", path.display());
        paths.push(path);
    }
    Ok(paths)
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
