//! `cargo xtask faults` calls this: every fault of the table, and the page that keeps it.
//!
//! Way: `e2e-faults PAGE COMMIT`

use std::path::Path;
use std::process::ExitCode;

use sheepdog_e2e::faults;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [page, commit] = words.as_slice() else {
        eprintln!("e2e-faults PAGE COMMIT");
        return ExitCode::from(64);
    };
    match faults::run(Path::new(page), commit).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e2e-faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}
