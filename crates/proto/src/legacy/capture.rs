//! Recorded exchanges between real clients and the first Sheepdog, as test vectors.
//!
//! Why: the bytes that QEMU, tgt and `dog` sent are the only true specification.
//! Way: [`recorded`] gives the scenarios, [`Table::committed`] says what is asserted of each pair,
//!      [`replay`] drives any server over any connection and compares.
//! Holds:
//!   C1 every recorded pair has exactly one verdict in the table;
//!   C2 the number of pairs that are replayed never falls below the committed one.
//! Not here: sockets; the caller brings what can be read from and written to.

mod replay;
mod table;

pub use replay::{Mismatch, Tally, replay};
pub use table::{Preparation, Table, Verdict};

use crate::wire::WireError;

const RECORDED: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/legacy/recorded.txt"));

/// One step of a scenario. Connections are numbered as they were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client connects.
    Open(u32),
    /// The client closes.
    Close(u32),
    /// The client sends request number `pair`. `None`: its bytes were not kept.
    Request {
        /// On which connection.
        connection: u32,
        /// Which request.
        pair: u16,
        /// Header and payload.
        bytes: Option<Vec<u8>>,
    },
    /// The server answers request number `pair`.
    Reply {
        /// On which connection.
        connection: u32,
        /// Which request.
        pair: u16,
        /// Header and payload.
        bytes: Option<Vec<u8>>,
    },
}

/// What one run of a client sent and received, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Name of the recording.
    pub name: String,
    /// What happened.
    pub events: Vec<Event>,
}

impl Scenario {
    /// Numbers of all requests.
    pub fn pairs(&self) -> impl Iterator<Item = u16> {
        self.events.iter().filter_map(|event| match event {
            Event::Request { pair, .. } => Some(*pair),
            _ => None,
        })
    }
}

/// All recorded scenarios, in the order in which they were recorded.
///
/// # Errors
/// `Invalid` if the committed file is damaged.
pub fn recorded() -> Result<Vec<Scenario>, WireError> {
    parse(RECORDED)
}

/// Reads the text form: `scenario NAME`, then one line for each event.
fn parse(text: &str) -> Result<Vec<Scenario>, WireError> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').ok_or(WireError::Invalid("line"))?;
        if word == "scenario" {
            scenarios.push(Scenario { name: rest.to_owned(), events: Vec::new() });
            continue;
        }
        let scenario = scenarios.last_mut().ok_or(WireError::Invalid("line"))?;
        scenario.events.push(event(word, rest)?);
    }
    Ok(scenarios)
}

fn event(word: &str, rest: &str) -> Result<Event, WireError> {
    let number = |text: &str| text.parse().map_err(|_| WireError::Invalid("number"));
    if let "open" | "close" = word {
        let connection = number(rest)?;
        return Ok(if word == "open" { Event::Open(connection) } else { Event::Close(connection) });
    }
    let mut words = rest.splitn(3, ' ');
    let mut next = || words.next().ok_or(WireError::Short);
    let connection = number(next()?)?;
    let pair = next()?.parse().map_err(|_| WireError::Invalid("number"))?;
    let bytes = match next()? {
        "absent" => None,
        runs => Some(bytes_of(runs)?),
    };
    match word {
        "request" => Ok(Event::Request { connection, pair, bytes }),
        "reply" => Ok(Event::Reply { connection, pair, bytes }),
        _ => Err(WireError::Invalid("line")),
    }
}

/// `00 11*300 2233` is 00, then 300 times 11, then 22 and 33.
fn bytes_of(runs: &str) -> Result<Vec<u8>, WireError> {
    let hex = |digits: &str| match u8::from_str_radix(digits, 16) {
        Ok(byte) if digits.len() == 2 && !digits.starts_with('+') => Ok(byte),
        _ => Err(WireError::Invalid("hex")),
    };
    let mut bytes = Vec::new();
    for run in runs.split(' ') {
        if let Some((byte, count)) = run.split_once('*') {
            let count: usize = count.parse().map_err(|_| WireError::Invalid("number"))?;
            bytes.resize(bytes.len() + count, hex(byte)?);
            continue;
        }
        for at in (0..run.len()).step_by(2) {
            bytes.push(hex(run.get(at..at + 2).ok_or(WireError::Short)?)?);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
