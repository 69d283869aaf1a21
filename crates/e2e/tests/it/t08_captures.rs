//! What QEMU, tgt and the first `dog` once sent to the first Sheepdog, sent to real sheep.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use sheepdog_client::admin::types::{Copies, FormatRequest};
use sheepdog_e2e::herd::Herd;
use sheepdog_proto::legacy::capture::{Scenario, Table, Tally, recorded, replay};

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(30);

trait Stream: io::Read + io::Write {}
impl<T: io::Read + io::Write> Stream for T {}

/// Makes a connection.
type Connect = Box<dyn FnMut() -> io::Result<Box<dyn Stream>>>;

/// Connections to sheep 0. One client uses one kind of socket: by that it is known again.
fn connections(herd: &Herd, unix: bool) -> Connect {
    let port = herd.sheep(0).legacy_port();
    let path = herd.sheep(0).directory().join("sock");
    Box::new(move || {
        if unix {
            let stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(ANSWER))?;
            return Ok(Box::new(stream));
        }
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    })
}

fn replay_all<'a>(
    connect: &mut dyn FnMut() -> io::Result<Box<dyn Stream>>,
    table: &Table,
    scenarios: impl Iterator<Item = &'a Scenario>,
) -> Result<Tally> {
    let mut sum = Tally::default();
    let mut mismatches = Vec::new();
    for scenario in scenarios {
        match replay(scenario, table, &mut *connect) {
            Ok(tally) => {
                sum.replayed += tally.replayed;
                sum.different += tally.different;
                sum.skipped += tally.skipped;
            }
            Err(mismatch) => mismatches.push(mismatch.to_string()),
        }
    }
    ensure!(mismatches.is_empty(), "{}", mismatches.join("\n"));
    Ok(sum)
}

/// Replays everything on one cluster, in the order in which it was recorded.
async fn replay_by(unix: bool) -> Result<()> {
    let (table, scenarios) = (Table::committed()?, recorded()?);
    let herd = Herd::of(3).start().await?;
    let waits = |scenario: &&Scenario| scenario.name.starts_with("00-unformatted");
    let mut connect = connections(&herd, unix);
    let before = replay_all(&mut connect, &table, scenarios.iter().filter(waits))?;
    let format = FormatRequest {
        copies: Copies::Auto,
        object_shift: None,
        partition_bits: None,
        force: false,
    };
    herd.admin(0).format(&format).await?;
    let after = replay_all(&mut connect, &table, scenarios.iter().filter(|s| !waits(s)))?;
    let (listed, least) = table.replayed(&scenarios);
    ensure!(before.replayed + after.replayed == listed, "{before:?}, {after:?} of {listed}");
    ensure!(listed >= least, "{listed} pairs are replayed, {least} once were");
    println!("{before:?} before the format, {after:?} after it");
    herd.end().await
}

#[tokio::test]
async fn recorded_clients_get_the_answers_that_the_table_says_by_tcp() -> Result<()> {
    replay_by(false).await
}

#[tokio::test]
async fn recorded_clients_get_the_answers_that_the_table_says_by_unix_socket() -> Result<()> {
    replay_by(true).await
}
