//! Seeds: how many are run, and which one failed.

use std::env;
use std::thread;

/// Runs `case` with some seeds: `ordinary` many, or what the environment asks for.
pub(crate) fn for_each_seed(ordinary: u64, case: impl Fn(u64)) {
    if let Some(seed) = number("SHEEPDOG_STORE_SEED") {
        let _announce = Announce(seed);
        case(seed);
        return;
    }
    let first = number("SHEEPDOG_STORE_FIRST_SEED").unwrap_or_default();
    for seed in first..first + number("SHEEPDOG_STORE_SEEDS").unwrap_or(ordinary) {
        let _announce = Announce(seed);
        case(seed);
    }
}

/// Whether nothing but the ordinary number of seeds was asked for.
pub(crate) fn is_ordinary() -> bool {
    number("SHEEPDOG_STORE_SEED").is_none() && number("SHEEPDOG_STORE_SEEDS").is_none()
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Says how to repeat a run that panics.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if thread::panicking() {
            let test = thread::current().name().unwrap_or("the test").to_owned();
            let seed = self.0;
            eprintln!(
                "seed {seed}: SHEEPDOG_STORE_SEED={seed} cargo test -p sheepdog-store {test}"
            );
        }
    }
}
