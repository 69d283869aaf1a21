//! `cargo xtask`: everything this repository does to itself.
//!
//! Why: one entry, in Rust, that does the same at home and in CI.
//! Way: `main` picks a command; [`groups`] runs the whole test, [`setup`] installs what tests
//!      need, [`tidy`] checks the house style of STYLE.md, `bench` measures, `soak` kills, `cuts`
//!      cuts power, [`faults`] makes a table of real faults, [`sim`] simulates clusters,
//!      [`mutants`] puts faults in, [`repository`] finds the files.
//! Not here: anything a shipped program needs.

mod bench;
mod cargo;
mod cuts;
mod faults;
mod groups;
mod ledger;
mod mutants;
mod process;
mod repository;
mod setup;
mod sim;
mod soak;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::repository::Repository;

const HELP: &str = "\
cargo xtask COMMAND

  test [--only GROUP]... [--list]   set up, then run every group of checks and tests
  ci                                the same as test
  tidy                              check the house style (STYLE.md)
  setup [--print]                   install what tests need; --print shows where each tool is
  fix                               format the code and lower the entries of xtask/ratchet.txt
  bench [OPTION]...                 build as for release and measure a cluster beside floors
                                    (docs/operate/bench.md; --help lists the options)
  soak-kill [--rounds N]            build as for release and kill sheep under load until this
                                    commit has N rounds (100) in docs/ledger/soak-kill.md;
                                    a run that was stopped is gone on with
  soak-cuts [--seeds N]             cut the power of the store until this commit has N seeds
                                    (10,000) in docs/ledger/soak-cuts.md; goes on likewise
  faults                            build as for release and write docs/ledger/faults.md: how
                                    long clients pause when real sheep die, stop, are cut off
                                    or fill up (about four minutes; as root)
  sim [--seeds N] [--from S]        build as for release and run N seeds (1,000) of simulated
                                    clusters from seed S (0) on two threads; what they reached
                                    and what they found is printed. Example:
                                    cargo xtask sim --seeds 20000 --from 5000
  soak-sim [--seeds N]              run such seeds until this commit has N (1,000,000) in
                                    docs/ledger/soak-sim.md; goes on where it was stopped
  sim --show S                      every event of one seed, a line each
  mutants [--only NAME]...          put each fault of xtask/mutants into a clone of this commit
                                    and run the tests, until docs/ledger/mutants.md says for
                                    all who noticed them; a run that was stopped is gone on with
  sim-mutants [--seeds N] [--only NAME]...
                                    put each fault of xtask/mutants/sim.txt into the cluster
                                    simulator, and say in docs/ledger/mutants-sim.md after how
                                    many of N (4,000) seeds it is noticed; goes on likewise
  help                              this text

Environment that `test` and `setup` read
  SHEEPDOG_TEST_CACHE  where built test tools are kept
                       (default ${XDG_CACHE_HOME:-$HOME/.cache}/sheepdog-test)
  SHEEPDOG_QEMU52      a folder with qemu-img, qemu-io and qemu-nbd of QEMU 5.2, built with
                       --enable-sheepdog; when it is set, setup builds none

Environment that `test` sets for the tests
  SHEEPDOG_QEMU52      as above, always set
  SHEEPDOG_TEST_CACHE  as above, always set
  SHEEPDOG_BIN         the folder with the `sheep` and `dog` that were built
  Everything else is passed on as it is, so sizes are chosen there: SHEEPDOG_SEEDS (how many
  seeds the gateway's herd runs), SHEEPDOG_SIM_SEEDS (how many the cluster simulator runs),
  PROPTEST_CASES (how many inputs a property test tries).
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; `false` means that it ran and found something wrong.
fn run(words: &[&str]) -> Result<bool> {
    match words {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(!words.is_empty())
        }
        ["test" | "ci", options @ ..] => {
            groups::run(&Repository::open()?, &groups::Options::parse(options)?)
        }
        ["tidy"] => tidy::run(&Repository::open()?),
        ["setup"] => setup::run(&Repository::open()?).map(|_| true),
        ["setup", "--print"] => setup::print(&Repository::open()?),
        ["bench", options @ ..] => bench::run(&Repository::open()?, options),
        ["soak-kill", options @ ..] => soak::run(&Repository::open()?, options),
        ["soak-cuts", options @ ..] => cuts::run(&Repository::open()?, options),
        ["faults", options @ ..] => faults::run(&Repository::open()?, options),
        ["soak-sim", options @ ..] => sim::soak(&Repository::open()?, options),
        ["sim", options @ ..] => sim::run(&Repository::open()?, options),
        ["sim-mutants", options @ ..] => mutants::sim::run(&Repository::open()?, options),
        ["mutants", options @ ..] => mutants::run(&Repository::open()?, options),
        ["fix"] => {
            let repository = Repository::open()?;
            process::run(cargo::command(&repository).args(["fmt", "--all"]))?;
            tidy::shrink_ratchet(&repository)?;
            Ok(true)
        }
        _ => bail!("no command `{}`; see `cargo xtask help`", words.join(" ")),
    }
}
