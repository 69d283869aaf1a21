//! Runs seeds of the cluster simulator and prints what they reached.
//!
//! Way: `simulate FIRST COUNT THREADS` for many seeds, `simulate show SEED` for every line of one.
//!      `cargo xtask sim` builds and calls it.

use std::process::ExitCode;
use std::time::Instant;

use sheepdog_sim::cluster::{Lines, Sum, run, run_many};

const USAGE: &str = "simulate FIRST COUNT THREADS | simulate show SEED";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u64>().ok();
    let is_good = match words[..] {
        ["show", seed] => number(seed).map(show),
        [first, count, threads] => match (number(first), number(count), number(threads)) {
            (Some(first), Some(count), Some(threads)) => Some(many(first, count, threads)),
            _ => None,
        },
        _ => None,
    };
    match is_good {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn show(seed: u64) -> bool {
    match run(seed, Lines::Printed) {
        Ok(report) => {
            println!("seed {seed} is fine; hash of its trace {:016x}", report.hash);
            true
        }
        Err(failure) => {
            println!("{failure}");
            false
        }
    }
}

fn many(first: u64, count: u64, threads: u64) -> bool {
    let start = Instant::now();
    let sum = run_many(first, count, threads as usize);
    for failure in &sum.failures {
        println!("{failure}\n");
    }
    print_sum(&sum, start.elapsed().as_secs_f64());
    sum.failures.is_empty()
}

fn print_sum(sum: &Sum, seconds: f64) {
    let seeds = sum.good + sum.failures.len() as u64;
    for (name, count) in sum.counts.iter() {
        println!("{count:>12}  {name}");
    }
    let hours = sum.virtual_ns as f64 / 3.6e12;
    let operations = sum.counts.get("operations answered");
    println!(
        "{seeds} seeds in {seconds:.1} s ({:.1} a second), {hours:.1} virtual hours, {operations} \
         operations answered; hash {:016x}",
        seeds as f64 / seconds.max(0.001),
        sum.hash
    );
    let bad: Vec<u64> = sum.failures.iter().map(|failure| failure.seed).collect();
    match bad.len() {
        0 => println!("nothing was wrong"),
        count => println!("{count} seeds found something: {bad:?}"),
    }
}
