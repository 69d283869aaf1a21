//! Namespaces: a network of its own for each sheep, whose links can be cut.
//!
//! Why: what is cut must be the way between two sheep and nothing else, and loopback is all one.
//! Way: each sheep has a network namespace with one interface; a bridge in one more namespace,
//!      the hub, joins them. What a sheep shall not hear is dropped by nftables where it comes
//!      in; a whole sheep loses its carrier at the hub's end. Clients and the coordination log
//!      use unix sockets, which know nothing of networks.
//! Holds:
//!   N1 namespaces are removed when the value is dropped, also by a test that fails; what a
//!      test left that was itself killed is removed before the next ones are made;
//!   N2 names have the number of the process, so that tests side by side never meet. Addresses
//!      may be the same: nothing joins the networks of two herds, or that of the machine.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, test_kill_process};

/// Where the system keeps the names of namespaces.
const NAMES: &str = "/run/netns";
/// What those of tests are called; then the process, the herd, and the sheep or `hub`.
const PREFIX: &str = "sheepdog-e2e";
/// The rules of each sheep: who is not heard, and where its own connections are led.
const RULES: &str = "\
table ip e2e {
    set unheard { type ipv4_addr; }
    chain input {
        type filter hook input priority 0;
        ip saddr @unheard counter drop
    }
    chain output { type nat hook output priority -100; }
}
";

/// Networks of one herd.
#[derive(Debug)]
pub struct Namespaces {
    names: Vec<String>,
    hub: String,
}

/// Where one sheep lives.
#[derive(Clone, Debug)]
pub struct Place {
    namespace: String,
    /// Its only address.
    pub address: Ipv4Addr,
}

impl Namespaces {
    /// Makes networks for `count` sheep.
    ///
    /// # Errors
    /// If this process may not, or `ip` or `nft` is missing: `cargo xtask setup` installs them.
    pub fn make(count: usize) -> Result<Self> {
        static HERDS: AtomicU32 = AtomicU32::new(0);
        remove_what_the_dead_left();
        let herd = HERDS.fetch_add(1, Ordering::Relaxed);
        let name = |last: &str| format!("{PREFIX}-{}-{herd}-{last}", std::process::id());
        let mut made = Self { names: Vec::new(), hub: name("hub") };
        made.add(&made.hub).context("networks of tests need root: run as root")?;
        let hub = made.hub.clone();
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        let address = format!("{}/24", Self::hub_address());
        ip(&["-n", &hub, "address", "add", &address, "dev", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "bridge", "up"])?;
        for index in 0..count {
            made.names.push(name(&index.to_string()));
            made.join(index)?;
        }
        Ok(made)
    }

    fn add(&self, name: &str) -> Result<()> {
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])
    }

    fn join(&self, index: usize) -> Result<()> {
        let (name, port) = (&self.names[index], port(index));
        self.add(name)?;
        let pair = ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", name];
        ip(&[&["-n", &self.hub], pair.as_slice()].concat())?;
        ip(&["-n", &self.hub, "link", "set", &port, "master", "bridge", "up"])?;
        let address = format!("{}/24", address(index));
        ip(&["-n", name, "address", "add", &address, "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        nft(name, &[RULES])
    }

    /// Where a sheep lives.
    #[must_use]
    pub fn place(&self, index: usize) -> Place {
        Place { namespace: self.names[index].clone(), address: address(index) }
    }

    /// Where something between the sheep lives.
    #[must_use]
    pub fn hub(&self) -> Place {
        Place { namespace: self.hub.clone(), address: Self::hub_address() }
    }

    const fn hub_address() -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 254)
    }

    /// From now on `to` hears nothing of `from`; what `from` hears is not changed.
    ///
    /// # Errors
    /// If it is cut already.
    pub fn cut(&self, from: usize, to: usize) -> Result<()> {
        self.unheard("add", from, to)
    }

    /// Undoes [`Namespaces::cut`].
    ///
    /// # Errors
    /// If it was not cut.
    pub fn mend(&self, from: usize, to: usize) -> Result<()> {
        self.unheard("delete", from, to)
    }

    fn unheard(&self, verb: &str, from: usize, to: usize) -> Result<()> {
        let from = address(from).to_string();
        let words = [verb, "element", "ip", "e2e", "unheard", "{", &from, "}"];
        nft(&self.names[to], &words)
    }

    /// Packets that cuts have kept from a sheep so far.
    ///
    /// # Errors
    /// If nftables does not say.
    pub fn dropped(&self, to: usize) -> Result<u64> {
        let rules =
            run(command(&self.names[to], "nft").args(["list", "chain", "ip", "e2e", "input"]))?;
        let count = rules.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next());
        count.with_context(|| rules.clone())?.parse().context(rules)
    }

    /// Takes the carrier of a sheep away, or gives it back.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_link(&self, index: usize, is_up: bool) -> Result<()> {
        ip(&["-n", &self.hub, "link", "set", &port(index), if is_up { "up" } else { "down" }])
    }

    /// Leads connections that `from` makes to `to` to a port of the hub instead, whichever port
    /// of `to` they were for.
    ///
    /// # Errors
    /// If nftables refuses.
    pub fn lead(&self, from: usize, to: usize, port: u16) -> Result<()> {
        let (to, goal) = (address(to).to_string(), format!("{}:{port}", Self::hub_address()));
        let rule = ["ip", "daddr", &to, "ip", "protocol", "tcp", "dnat", "to", &goal];
        let words = [&["add", "rule", "ip", "e2e", "output"], rule.as_slice()].concat();
        nft(&self.names[from], &words)
    }
}

impl Place {
    /// The same program, started there.
    #[must_use]
    pub fn command(&self, program: &Command) -> Command {
        let mut command = command(&self.namespace, program.get_program());
        command.args(program.get_args());
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.names.iter().chain([&self.hub]) {
            let _ = ip(&["netns", "delete", name]); // N1
        }
    }
}

const fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 1 + index as u8)
}

/// The hub's end of a sheep's link.
fn port(index: usize) -> String {
    format!("sheep{index}")
}

/// N1.
fn remove_what_the_dead_left() {
    let Ok(names) = fs::read_dir(NAMES) else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let words = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-'));
        let Some((owner, _)) = words.and_then(|words| words.split_once('-')) else { continue };
        let owner = owner.parse().ok().and_then(Pid::from_raw);
        if owner.is_some_and(|owner| test_kill_process(owner).is_err()) {
            // Another test may be doing the same.
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

fn command(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn ip(words: &[&str]) -> Result<()> {
    run(Command::new("ip").args(words)).map(drop)
}

fn nft(namespace: &str, words: &[&str]) -> Result<()> {
    run(command(namespace, "nft").args(words)).map(drop)
}

fn run(command: &mut Command) -> Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).stdin(Stdio::null());
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {:?}: {}", command.get_args().collect::<Vec<_>>(), errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
