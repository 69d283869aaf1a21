//! The gateway against whole herds: scenarios by name, and seeds at random.

mod anew;
mod bookkeeping;
mod broken;
mod chaos;
mod first;
mod handover;
mod herd;
mod history;
mod joining;
mod link;
mod memory;
mod random;
mod settle;
mod show;
mod speed;
mod stage;
mod vm;
mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds run when `SHEEPDOG_SEEDS` does not say otherwise: a number, or one seed as `=NUMBER`.
const SEEDS: u64 = 2000;

#[test]
fn histories_of_random_herds_are_linearizable_and_end() {
    let wish = std::env::var("SHEEPDOG_SEEDS").unwrap_or_default();
    let seeds = match wish.strip_prefix('=').map(str::parse) {
        Some(Ok(seed)) => seed..seed + 1,
        _ => 0..wish.parse().unwrap_or(SEEDS),
    };
    let (mut events, mut answered, mut deaths) = (0, 0, 0);
    let mut failures = Vec::new();
    for seed in seeds.clone() {
        match catch_unwind(AssertUnwindSafe(|| chaos::run(seed, false))) {
            Ok(Ok(seen)) => {
                events += seen.events;
                answered += seen.answered;
                deaths += seen.deaths;
            }
            Ok(Err(what)) => failures.push((seed, what)),
            Err(_) => failures.push((seed, "it panicked".to_owned())),
        }
    }
    println!("seeds {seeds:?}: {events} events, {answered} answers, {deaths} deaths");
    if let Some((seed, _)) = failures.first() {
        let _ = catch_unwind(AssertUnwindSafe(|| chaos::run(*seed, true)));
        for (seed, what) in &failures {
            eprintln!("seed {seed}: {}", what.chars().take(300).collect::<String>());
        }
        panic!("{} of {} seeds failed", failures.len(), seeds.end - seeds.start);
    }
    assert!(answered as u64 > 5 * (seeds.end - seeds.start), "the clients got nothing done");
}
