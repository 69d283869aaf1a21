//! The log among real processes that are killed, stopped, closed and started again.
//!
//! Way: this program is every process: started plainly it runs the scenarios, started with a
//!      role in its environment it is a member (`member`). `herd` starts members and reads what
//!      they report; `check` compares all reports with the log.
//! Run: `cargo test -p sheepdog-cluster --test it [-- name]`; `SHEEPDOG_CLUSTER_ROUNDS` for
//!      longer storms, `SHEEPDOG_CLUSTER_SEED` to choose one (the seed of a run is printed).

mod check;
mod herd;
mod member;
mod scenarios;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(member::ROLE) {
        return member::run(&role.to_string_lossy());
    }
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_listing = std::env::args().any(|arg| arg == "--list");
    let mut failures = 0;
    for (name, scenario) in scenarios::ALL {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        if is_listing {
            println!("{name}: test");
            continue;
        }
        let start = std::time::Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(scenario));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({:.1} s)", start.elapsed().as_secs_f32());
        failures += u32::from(outcome.is_err());
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
