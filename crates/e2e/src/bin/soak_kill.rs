//! `cargo xtask soak-kill` calls this: kill rounds, from where the page of figures says.
//!
//! Way: `e2e-soak-kill ROUNDS PAGE COMMIT`

use std::path::Path;
use std::process::ExitCode;

use sheepdog_e2e::soak::Soak;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, page, commit] = words.as_slice() else {
        eprintln!("e2e-soak-kill ROUNDS PAGE COMMIT");
        return ExitCode::from(64);
    };
    let result = async {
        let rounds = rounds.parse()?;
        Soak::open(Path::new(page), commit)?.run(rounds).await
    };
    match result.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e2e-soak-kill: {error:#}");
            ExitCode::FAILURE
        }
    }
}
