//! What real clients sent to the first Sheepdog, sent to this one.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use sheepdog_proto::legacy::capture::{Table, Tally, recorded, replay};
use tokio::sync::mpsc;

use super::memory::Herd;

/// Serves a herd on a thread of its own and hands `client` what makes connections to it.
fn beside<T>(formatted: bool, client: impl FnOnce(mpsc::UnboundedSender<UnixStream>) -> T) -> T {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        runtime.block_on(local.run_until(async move {
            let herd = if formatted { Herd::formatted(2) } else { Herd::unformatted(2) };
            let mut turn = 0;
            while let Some(socket) = receiver.recv().await {
                herd.serve(turn % 2, socket);
                turn += 1;
            }
        }));
    });
    let end = client(sender);
    server.join().unwrap();
    end
}

fn replay_where(formatted: bool, wanted: impl Fn(&str) -> bool) -> Tally {
    let table = Table::committed().unwrap();
    let mut sum = Tally::default();
    beside(formatted, |sender| {
        let mut connect = || {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_read_timeout(Some(Duration::from_secs(30)))?;
            sender.send(theirs).map_err(std::io::Error::other)?;
            Ok(ours)
        };
        let mut failures = Vec::new();
        for scenario in recorded().unwrap().iter().filter(|scenario| wanted(&scenario.name)) {
            match replay(scenario, &table, &mut connect) {
                Ok(tally) => {
                    sum.replayed += tally.replayed;
                    sum.different += tally.different;
                    sum.skipped += tally.skipped;
                }
                Err(mismatch) => failures.push(mismatch.to_string()),
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
    sum
}

#[test]
fn every_recorded_exchange_is_answered_as_the_table_says() {
    let waits_for_format = |name: &str| name.starts_with("00-unformatted");
    let before = replay_where(false, waits_for_format);
    let after = replay_where(true, |name| !waits_for_format(name));
    let scenarios = recorded().unwrap();
    let (listed, least) = Table::committed().unwrap().replayed(&scenarios);
    assert_eq!(before.replayed + after.replayed, listed);
    assert!(listed >= least);
    println!("unformatted: {before:?}, formatted: {after:?}");
}
