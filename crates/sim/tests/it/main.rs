//! The model's walks: the protocol holds, and each of its rules is there for a reason; and seeds of
//! the cluster simulator.
//!
//! Way: `SHEEPDOG_MODEL=large` walks farther (minutes, gigabytes; wants an optimized build).

mod cluster;
mod protocol;
mod rule;

use std::io::Write;

/// Whether the larger bounds were asked for.
pub fn is_large() -> bool {
    std::env::var("SHEEPDOG_MODEL").is_ok_and(|value| value == "large")
}

/// Prints past the test harness's capture, so that the figures of every run are seen.
pub fn tell(line: &str) {
    let written = writeln!(std::io::stderr().lock(), "{line}");
    assert!(written.is_ok(), "the figures of a walk could not be printed");
}
