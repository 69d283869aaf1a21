//! The store alone, on one disk, in turn with the same pattern on plain files.
//!
//! Why: what the cluster costs beyond its stores is another question.
//! Way: each case is run as often as asked, store and floor in turn; the figures are medians, the
//!      ratios medians of each round's ratio. CPU is that of the whole process, kernel threads
//!      that work for it included.
//! Holds: what is read is compared with what was written.
//! Not here: several disks, clients, the network (`cluster`).

mod case;
mod floor;
mod open;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

pub use open::{COMMAND as OPEN_COMMAND, open_and_report};

/// What is measured, and how much of it.
#[derive(Debug, Args)]
pub struct Options {
    /// Directory on the disk that is measured; it is made, and emptied at the end.
    #[arg(long)]
    pub dir: PathBuf,
    /// Times that each case is run.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// MiB that the store holds.
    #[arg(long, default_value_t = 512)]
    pub size: u32,
    /// Seconds of each case, roughly.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// Only cases of these names.
    #[arg(long)]
    pub only: Vec<String>,
    /// Only the store, without the floors beside it: for a profiler.
    #[arg(long)]
    pub without_floors: bool,
    /// Objects of the store whose opening is measured; 0 leaves it out.
    #[arg(long, default_value_t = 200_000)]
    pub objects: u32,
    /// Name of the source, for the report.
    #[arg(long, default_value = "unknown")]
    pub commit: String,
}

/// What one run of a case brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Operations per second.
    pub(crate) rate: f64,
    /// CPU microseconds for each.
    pub(crate) cpu_us: f64,
}

/// Measures everything and prints a table.
///
/// # Errors
/// If the directory cannot be used, or the store answers wrongly.
pub fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0 && options.size >= 64, "--rounds 1 and --size 64 at least");
    std::fs::create_dir_all(&options.dir)
        .with_context(|| format!("directory {}", options.dir.display()))?;
    println!(
        "store alone, commit {}, {} MiB, {} rounds",
        options.commit, options.size, options.rounds
    );
    let machine = crate::machine::Machine::of(&options.dir)?;
    println!(
        "kernel {}, {} processors ({}), {}, load average {}",
        machine.kernel,
        machine.processors,
        machine.processor,
        machine.file_system,
        machine.load_before
    );
    let header = ["case", "store/s", "floor/s", "ratio", "CPU us", "floor CPU us"];
    println!(
        "{:<20} {:>10} {:>10} {:>7} {:>8} {:>13}  notes",
        header[0], header[1], header[2], header[3], header[4], header[5]
    );
    let mut bench = case::Bench::new(&options.dir, options.size, options.seconds)?;
    let is_wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|o| o == name);
    for case in case::CASES.iter().filter(|case| is_wanted(case.name)) {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            let store = bench.store(case)?;
            let floor = if options.without_floors {
                Figures::default()
            } else {
                floor::run(case, &options.dir, options.size, options.seconds)?
            };
            rounds.push((store, floor));
        }
        print_case(case.name, &rounds, &bench.notes(case));
    }
    drop(bench);
    if options.objects > 0 {
        open::measure(&options.dir, options.objects)?;
    }
    std::fs::remove_dir_all(&options.dir)
        .with_context(|| format!("cannot empty {}", options.dir.display()))
}

fn print_case(name: &str, rounds: &[(Figures, Figures)], notes: &str) {
    let median_of =
        |pick: fn(&(Figures, Figures)) -> f64| median(rounds.iter().map(pick).collect());
    println!(
        "{:<20} {:>10.0} {:>10.0} {:>7.2} {:>8.1} {:>13.1}  {}",
        name,
        median_of(|(store, _)| store.rate),
        median_of(|(_, floor)| floor.rate),
        median_of(|(store, floor)| store.rate / floor.rate.max(1e-9)),
        median_of(|(store, _)| store.cpu_us),
        median_of(|(_, floor)| floor.cpu_us),
        notes
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
