//! The command line: every command, option and example, as data.
//!
//! Why: old scripts go on working (`dog vdi create NAME SIZE -a HOST -p PORT`), and a person
//!      finds out everything by `-h`.
//! Holds:
//!   L1 what cannot be understood is a usage error (exit 64) before any sheep is asked.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sheepdog_client::admin::types::Copies;
use sheepdog_proto::command::NAME_BYTES_MAX;

use crate::output::Form;
use crate::size;

/// Manages a Sheepdog cluster: replicated disks for virtual machines
#[derive(Debug, Parser)]
#[command(
    name = "dog",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 the cluster could not be asked, \
        64 wrong command line, 130 interrupted.\n\n\
        Example:\n  dog playground              a cluster of three sheep on this machine, to try\n  \
        dog vdi create disk 10G     a new disk"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// First word.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// The cluster as a whole
    #[command(subcommand, arg_required_else_help = true)]
    Cluster(ClusterVerb),
    /// The sheep of the cluster
    #[command(subcommand, arg_required_else_help = true)]
    Node(NodeVerb),
    /// Virtual disk images
    #[command(subcommand, arg_required_else_help = true)]
    Vdi(VdiVerb),
    /// Start three sheep on this machine, with a disk to try, until Ctrl-C
    Playground(Playground),
    /// Start a program that ends when this one ends; for `dog playground`
    #[command(hide = true)]
    Tether(Tether),
}

/// `dog cluster ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Make the cluster from the sheep that are up
    Format(ClusterFormat),
    /// Show the state of the cluster
    #[command(after_help = "Raw output (-r): the status; then, if formatted, creation time (Unix \
        seconds), log index and [HOST:PORT:V-NODES, ...] of the sheep that are up.\n\n\
        Example:\n  dog cluster info")]
    Info(Common),
    /// Stop every sheep in order
    #[command(after_help = "Example:\n  dog cluster shutdown")]
    Shutdown(Common),
}

/// `dog node ...`
#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// List the sheep
    #[command(after_help = "Raw output (-r): ID HOST:PORT V-NODES ZONE, of the sheep that are \
        up.\n\nExample:\n  dog node list")]
    List(Common),
    /// Show the space of each sheep and in total
    #[command(after_help = "Raw output (-r): ID SIZE USED AVAIL USE%, then Total SIZE USED AVAIL \
        USE% VDISIZE, in bytes. Sheep that are down are named on stderr and not counted.\n\n\
        Example:\n  dog node info")]
    Info(Common),
    /// Show which sheep fetch copies that they lack, and how far they are
    #[command(after_help = "A sheep that was away fetches by itself what changed meanwhile. \
        Waiting, Joining, Done: placement groups. Accepted: objects that cannot have changed. \
        Compared: objects of which checksums were compared or blocks fetched. Dropped: objects \
        deleted meanwhile. Left: about how long the rest will take at the pace of the last minute. \
        Counters begin with the start of the sheep.\n\n\
        Raw output (-r): ID WAITING JOINING DONE ACCEPTED COMPARED DROPPED BYTES SECONDS-LEFT; - \
        where nothing can be said.\n\n\
        Example:\n  dog node recovery\n  watch -n 1 dog node recovery")]
    Recovery(Common),
    /// The disks of one sheep
    #[command(subcommand, arg_required_else_help = true)]
    Md(MdVerb),
}

/// `dog node md ...`
#[derive(Debug, Subcommand)]
pub(crate) enum MdVerb {
    /// Show the disks of the sheep that is asked
    #[command(after_help = "Buckets: how many of the 256 parts of the sheep's objects are on the \
        disk. Raw output (-r): ID SIZE USED AVAIL USE% PATH WEIGHT BUCKETS MOVING \
        ok|leaving|failed; sizes and weight in bytes; white space and backslashes in the path \
        have a backslash in front.\n\n\
        Example:\n  dog node md info\n  dog node md info -a 10.0.0.7 -p 7002 --json")]
    Info(Common),
    /// Put a disk in while the sheep runs
    #[command(after_help = "DIR: an empty directory on the sheep's host, on a file system of its \
        own, mounted. What belongs on it moves there in the background; `dog node md info` shows \
        how much is left.\n\nExample:\n  dog node md plug /srv/disk3")]
    Plug(MdPath),
    /// Take a disk out while the sheep runs
    #[command(after_help = "What is on it moves to the other disks in the background; when it is \
        no longer in `dog node md info` it can be unmounted. `dog node md plug` on the same \
        directory changes it back before that.\n\nExample:\n  dog node md unplug /srv/disk3")]
    Unplug(MdPath),
}

/// One disk of a sheep.
#[derive(Debug, Args)]
pub(crate) struct MdPath {
    /// Absolute path of its directory, on the sheep's host
    #[arg(value_name = "DIR")]
    pub(crate) path: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `dog vdi ...`
#[derive(Debug, Subcommand)]
pub(crate) enum VdiVerb {
    /// Make a new, empty VDI
    Create(VdiCreate),
    /// Delete a VDI and its data, without asking
    #[command(after_help = "Example:\n  dog vdi delete disk")]
    Delete(VdiName),
    /// List all VDIs or one
    List(VdiList),
    /// Make a VDI larger
    #[command(after_help = "Example:\n  dog vdi resize disk 20G")]
    Resize(VdiResize),
    /// Write the data of a VDI to stdout
    #[command(after_help = "Holes stay holes when stdout is a new file.\n\n\
        Example:\n  dog vdi read disk > disk.raw\n  dog vdi read disk 1M 4K | hexdump -C")]
    Read(VdiRead),
    /// Write stdin into a VDI
    #[command(
        after_help = "Without LENGTH everything up to the end of stdin is written; with it, \
        exactly so many bytes. Blocks of zeros use no space.\n\n\
        Example:\n  dog vdi write disk < disk.raw"
    )]
    Write(VdiRead),
    /// Read, verify and compare all copies of a VDI, and heal what is bad
    #[command(
        after_help = "VMs may go on meanwhile. Bad: blocks that cannot be read or do not match \
        their checksums; they are written anew from a good copy. Behind: blocks of which another \
        copy has a newer change; the sheep fetches them by itself. Unequal: blocks that differ \
        otherwise. Alone: copies for which there was no other to compare with. The command fails \
        if something is not good at its end.\n\n\
        Raw output (-r): ID COPIES BYTES BAD HEALED BEHIND UNEQUAL ALONE.\n\n\
        Example:\n  dog vdi check disk"
    )]
    Check(VdiName),
    /// Who has VDIs open, and how to take them away
    #[command(subcommand, arg_required_else_help = true)]
    Lock(LockVerb),
    /// Look at single objects of a VDI
    #[command(subcommand, arg_required_else_help = true)]
    Object(ObjectVerb),
}

/// `dog vdi lock ...`
#[derive(Debug, Subcommand)]
pub(crate) enum LockVerb {
    /// List the VDIs that are open, and through which sheep
    #[command(after_help = "Raw output (-r): NAME VID NODE SINCE GENERATION, SINCE in Unix \
        seconds.\n\nExample:\n  dog vdi lock list")]
    List(Common),
    /// Take a VDI away from the client that has it open
    #[command(
        visible_alias = "force",
        after_help = "The client's connections are closed; what it was told is written is \
        written. It gets the VDI back only by opening it anew. A VDI \
        whose sheep has died is free by itself; this is for clients that hang. For half a minute \
        the same client, by TCP any client of its host, is refused by that sheep.\n\n\
        Example:\n  dog vdi lock unlock disk"
    )]
    Unlock(VdiUnlock),
}

/// `dog vdi object ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ObjectVerb {
    /// Show which sheep hold an object
    #[command(after_help = "Raw output (-r): ID HOST:PORT, held|absent|unknown, in-sync|stale, \
        target|other.\n\nExample:\n  dog vdi object location disk -i 0")]
    Location(ObjectLocation),
}

/// Options of every command that asks a sheep.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Host or address of a sheep, or unix:PATH of its admin socket
    #[arg(
        short,
        long,
        env = "SHEEPDOG_DOG_ADDR",
        default_value = "127.0.0.1",
        value_name = "ADDR",
        value_parser = parse_address
    )]
    pub(crate) address: Address,
    /// Admin port of the sheep
    #[arg(
        short,
        long,
        env = "SHEEPDOG_DOG_PORT",
        default_value_t = 7002,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) port: u16,
    /// Print raw columns, for scripts
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) raw: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Seconds to wait for each answer; 0 = for ever
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) timeout: u32,
}

impl Common {
    /// The form of output asked for.
    pub(crate) const fn form(&self) -> Form {
        match (self.raw, self.json) {
            (_, true) => Form::Json,
            (true, false) => Form::Raw,
            (false, false) => Form::Human,
        }
    }
}

/// What `-a` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Needs a port.
    Host(String),
    /// Needs none.
    Unix(PathBuf),
}

/// `dog cluster format`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dog cluster format\n  dog cluster format -c 2 -z 24")]
pub(crate) struct ClusterFormat {
    /// Default number of copies, 1 to 8, or auto: as many as there are zones, up to 3
    #[arg(short, long, default_value = "auto", value_parser = parse_copies)]
    pub(crate) copies: Copies,
    /// Default object size as a power of two, 20 (1 MiB) to 26 (64 MiB)
    #[arg(short = 'z', long, default_value_t = 22, value_parser = parse_shift)]
    pub(crate) object_shift: u8,
    /// Number of placement groups as a power of two, 0 to 14
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=14))]
    pub(crate) partition_bits: Option<u8>,
    /// Do not ask, although VDIs exist and their data is lost
    #[arg(short, long, visible_alias = "yes")]
    pub(crate) force: bool,
    /// Accepted for old scripts: VDIs are always locked by the one who has them open
    #[arg(short, long, hide = true)]
    pub(crate) lock: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `dog vdi create`
#[derive(Debug, Args)]
#[command(after_help = "Raw output (-r) with -v: the id alone.\n\n\
    Example:\n  dog vdi create disk 10G\n  dog vdi create -c 2 -z 24 archive 4T")]
pub(crate) struct VdiCreate {
    /// Name, 1 to 255 bytes
    #[arg(value_parser = parse_name)]
    pub(crate) name: String,
    /// Size in bytes, or with K, M, G, T or P behind the number
    #[arg(value_parser = size::parse, allow_negative_numbers = true)]
    pub(crate) size: u64,
    /// Number of copies, 1 to 8, or auto; default: as the cluster was formatted
    #[arg(short, long, value_parser = parse_copies)]
    pub(crate) copies: Option<Copies>,
    /// Object size as a power of two, 20 to 26; default: as the cluster was formatted
    #[arg(short = 'z', long, value_parser = parse_shift)]
    pub(crate) object_shift: Option<u8>,
    /// Print the id of the new VDI
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// A command that needs a name only.
#[derive(Debug, Args)]
pub(crate) struct VdiName {
    /// Name of the VDI
    #[arg(value_parser = parse_name)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `dog vdi lock unlock`
#[derive(Debug, Args)]
pub(crate) struct VdiUnlock {
    /// Name of the VDI
    #[arg(value_parser = parse_name)]
    pub(crate) name: String,
    /// Do not ask, although a client has it open
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `dog vdi list`
#[derive(Debug, Args)]
#[command(
    after_help = "Raw output (-r): FLAG NAME ID SIZE USED SHARED CTIME VID COPIES TAG SHIFT; \
    FLAG is = for a working VDI, s for a snapshot; white space and backslashes in names have a \
    backslash in front; an empty TAG leaves two spaces.\n\n\
    Example:\n  dog vdi list\n  dog vdi list disk -r"
)]
pub(crate) struct VdiList {
    /// Only this VDI
    #[arg(value_parser = parse_name)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `dog vdi resize`
#[derive(Debug, Args)]
pub(crate) struct VdiResize {
    /// Name of the VDI
    #[arg(value_parser = parse_name)]
    pub(crate) name: String,
    /// New size in bytes, or with K, M, G, T or P behind the number
    #[arg(value_parser = size::parse, allow_negative_numbers = true)]
    pub(crate) size: u64,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `dog vdi read` and `dog vdi write`
#[derive(Debug, Args)]
pub(crate) struct VdiRead {
    /// Name of the VDI
    #[arg(value_parser = parse_name)]
    pub(crate) name: String,
    /// First byte
    #[arg(default_value = "0", value_parser = size::parse, allow_negative_numbers = true)]
    pub(crate) offset: u64,
    /// Number of bytes; default: up to the end
    #[arg(value_parser = size::parse, allow_negative_numbers = true)]
    pub(crate) length: Option<u64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `dog vdi object location`
#[derive(Debug, Args)]
pub(crate) struct ObjectLocation {
    /// Name of the VDI
    #[arg(value_parser = parse_name)]
    pub(crate) name: String,
    /// Number of the object: byte offset divided by the object size
    #[arg(short, long)]
    pub(crate) index: u32,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `dog playground`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dog playground\n  dog playground --check")]
pub(crate) struct Playground {
    /// Keep the data in this directory (made if absent); default: a temporary one
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// First of twelve ports in a row; default: free ones from 7000 to 9999
    #[arg(long, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(crate) port: Option<u16>,
    /// Size of the disk
    #[arg(long, default_value = "1G", value_parser = size::parse)]
    pub(crate) size: u64,
    /// Write through every face, kill a sheep meanwhile, verify every byte; exit 0 or 1
    #[arg(long)]
    pub(crate) check: bool,
    /// With --check: damage one block in every copy; the check must find it and exit 1
    #[arg(long, requires = "check")]
    pub(crate) sabotage: bool,
    /// With --check: print JSON
    #[arg(long, requires = "check")]
    pub(crate) json: bool,
}

/// `dog tether`
#[derive(Debug, Args)]
pub(crate) struct Tether {
    /// Process that must be the parent
    #[arg(long)]
    pub(crate) parent: i32,
    /// Program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

fn parse_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => {
                Err("unix: needs the path of a socket, such as unix:/var/lib/sheepdog/admin.sock"
                    .to_owned())
            }
            path => Ok(Address::Unix(PathBuf::from(path))),
        };
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.contains(':') && bare.parse::<std::net::Ipv6Addr>().is_err() {
        return Err("write a host or address here and its port with -p".to_owned());
    }
    if bare.is_empty() || bare.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return Err("write a host, an address, or unix:PATH".to_owned());
    }
    Ok(Address::Host(bare.to_owned()))
}

fn parse_name(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("a VDI name has at least one byte".to_owned()),
        length if length > NAME_BYTES_MAX => {
            Err(format!("a VDI name has at most {NAME_BYTES_MAX} bytes, this one {length}"))
        }
        _ => Ok(text.to_owned()),
    }
}

fn parse_copies(text: &str) -> Result<Copies, String> {
    if text == "auto" {
        return Ok(Copies::Auto);
    }
    if text.contains(':') {
        return Err("erasure coding (x:y) is not offered; write a number of copies from 1 to 8, \
            or auto"
            .to_owned());
    }
    match text.parse::<u8>() {
        Ok(count @ 1..=8) => Ok(Copies::Exactly(count)),
        _ => Err("write a number of copies from 1 to 8, or auto".to_owned()),
    }
}

fn parse_shift(text: &str) -> Result<u8, String> {
    match text.parse::<u8>() {
        Ok(shift @ 20..=26) => Ok(shift),
        _ => Err("write the power of two: 20 (1 MiB), 22 (4 MiB) ... 26 (64 MiB)".to_owned()),
    }
}
