//! Ports: twelve in a row, four for each sheep.
//!
//! Holds:
//!   P1 no client port is above 9999, for tgt cuts longer ones off;
//!   P2 the admin port lies two above the client port, where `dog` looks for it.

use std::net::{Ipv4Addr, TcpListener};

use crate::trouble::Trouble;

/// Sheep of a playground.
pub(super) const SHEEP_COUNT: u16 = 3;

const PORTS_PER_SHEEP: u16 = 4;
const COUNT: u16 = SHEEP_COUNT * PORTS_PER_SHEEP;
const FIRST: u16 = 7000;
const LAST: u16 = 9999;

/// The ports of one sheep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) legacy: u16,
    pub(super) peer: u16,
    pub(super) admin: u16,
    pub(super) nbd: u16,
}

impl Ports {
    /// Of sheep number `index`.
    pub(super) const fn of(base: u16, index: u16) -> Self {
        let legacy = base + index * PORTS_PER_SHEEP;
        Self { legacy, peer: legacy + 1, admin: legacy + 2, nbd: legacy + 3 } // P2
    }
}

/// The first of twelve free ports: `wanted`, or some from 7000 to 9999. With `usual`, 7000 is
/// preferred: `dog` then needs no options.
pub(super) fn choose(wanted: Option<u16>, usual: bool) -> Result<u16, Trouble> {
    if let Some(base) = wanted {
        return match taken(base) {
            None => Ok(base),
            Some((port, error)) => Err(Trouble::failure(format!(
                "port {port} cannot be used: {error}"
            ))
            .hint(format!("{COUNT} ports from --port on are needed; leave it out for free ones."))),
        };
    }
    if usual && taken(FIRST).is_none() {
        return Ok(FIRST);
    }
    // Runs that start together begin to look at different places.
    let rows = (LAST - FIRST + 1) / COUNT;
    let start = (std::process::id() % u32::from(rows)) as u16;
    let candidates = (0..rows).map(|row| FIRST + (start + row) % rows * COUNT);
    candidates.into_iter().find(|base| taken(*base).is_none()).ok_or_else(|| {
        Trouble::failure(format!("no {COUNT} ports in a row are free from {FIRST} to {LAST}"))
            .hint("Choose the first one with --port.")
    })
}

/// The first port of the row that somebody else has.
fn taken(base: u16) -> Option<(u16, std::io::Error)> {
    let bind =
        |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).err().map(|error| (port, error));
    (base..base + COUNT).find_map(bind)
}

#[cfg(test)]
#[path = "ports/tests.rs"]
mod tests;
