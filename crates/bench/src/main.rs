//! `sheepdog-bench`: measures a cluster on this machine beside the machine itself.
//!
//! Why: `cargo xtask bench` builds everything and calls this.
//! Not here: how it is measured (the library).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use sheepdog_bench::floor::echo;
use sheepdog_bench::options::{self, Options};
use sheepdog_bench::{run, store, tether};

/// Command line.
#[derive(Debug, Parser)]
#[command(name = "sheepdog-bench", version, about = "Figures of Sheepdog beside floors")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Three sheep on this machine, through every client, beside files, sockets and qemu-nbd.
    Cluster(Options),
    /// The store alone on one disk, beside plain files.
    Store(store::Options),
    /// Opens a store and says how long it took.
    #[command(name = store::OPEN_COMMAND, hide = true)]
    OpenStore { path: PathBuf },
    /// Becomes another program that ends with the one that started it.
    #[command(name = tether::COMMAND, hide = true)]
    Tether {
        #[arg(long)]
        parent: i32,
        #[arg(trailing_var_arg = true, required = true)]
        words: Vec<OsString>,
    },
    /// Sends back what comes.
    #[command(name = echo::COMMAND, hide = true)]
    Echo,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Cluster(options) => cluster(&options),
        Command::Store(options) => store::run(&options),
        Command::OpenStore { path } => store::open_and_report(&path),
        Command::Tether { parent, words } => tether::run(parent, &words),
        Command::Echo => echo::serve(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn cluster(options: &Options) -> Result<()> {
    if options.list {
        print!("{}", options::list());
        return Ok(());
    }
    let seconds = run::duration(&options.selection()?).as_secs_f64();
    eprintln!("bench: this takes {seconds:.0} s, and as long as it takes to write the disks");
    // One thread: what starts programs must outlive them, and one client thread is what a VM has.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(run::run_until_interrupted(options))?;
    print!("{}", report.text());
    if let Some(path) = &options.json {
        write(path, &report.json())?;
    }
    if let Some(path) = &options.markdown {
        write(path, &report.markdown())?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
