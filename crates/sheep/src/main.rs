//! `sheep`, the daemon: one per host. Wiring only; decisions are in the engine.
//!
//! Way: [`config`] reads the command line -> [`start`] opens directory, log, stores and sockets ->
//!      [`control`] follows the coordination log on the main thread, one [`shard`] per core moves
//!      data -> [`stop`] ends all in order. `sheep inspect` is another program: [`inspect`].
//! Not here: who must acknowledge a write (engine), bytes on disks (store), protocols (attach).

mod accept;
mod admin;
mod config;
mod control;
mod disks;
mod inherited;
mod inspect;
mod logging;
mod metrics;
mod pace;
mod peer;
mod reach;
mod shard;
mod shared;
mod silence;
mod start;
mod stop;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == inspect::WORD).is_some() {
        return inspect::main(arguments);
    }
    let options = config::Options::parse();
    logging::start(&options);
    let result = config::Config::check(options).and_then(start::run);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if stop::is_held_for_gone(&error) => stop::start_again(&error),
        Err(error) => {
            eprintln!("sheep: {error:#}");
            ExitCode::FAILURE
        }
    }
}
