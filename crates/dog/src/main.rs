//! `dog`: the one command an operator types.
//!
//! Way: [`cli`] understands the command line; [`command`] asks a sheep through [`session`];
//!      [`output`] prints the answer as table, raw columns or JSON; [`trouble`] is what goes wrong.
//! Not here: anything a sheep must decide.

mod cli;
mod command;
mod confirm;
mod output;
mod playground;
mod progress;
mod session;
mod size;
mod time;
mod trouble;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::Cli;
use trouble::{Exit, Trouble};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return tell_usage(&error),
    };
    let json = command::wants_json(&cli);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            trouble.tell(json);
            ExitCode::from(trouble.exit as u8)
        }
    }
}

fn run(cli: Cli) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::new(Exit::Unreachable, format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(command::run(cli));
    // A name look-up that hangs must not keep a finished command.
    runtime.shutdown_background();
    outcome
}

/// Help that was asked for, and `dog` alone, are successes; everything else is a usage error.
fn tell_usage(error: &clap::Error) -> ExitCode {
    let bare = std::env::args_os().len() <= 1;
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let text = error.render();
    if asked || bare {
        match output::print_text(&text.to_string()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(trouble) => ExitCode::from(trouble.exit as u8),
        }
    } else {
        eprint!("{text}");
        ExitCode::from(Exit::Usage as u8)
    }
}
