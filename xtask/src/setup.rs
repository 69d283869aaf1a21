//! Installs what the tests need and says where each tool is.
//!
//! Why: a test that skips because a tool is missing proves nothing, so tools are installed
//!      first and a missing one is an error with a sentence about what to do.
//! Way: [`debian`] installs packages when run as root, [`qemu`] builds the tools of QEMU 5.2,
//!      the last release with the old client's driver on by choice, once, into [`cache`];
//!      [`guest`] puts a kernel beside it, [`emulator`] what runs it.
//! Holds:
//!   U1 nothing is written into the source tree;
//!   U2 what is built is used only after it was checked, and replaces the old in one rename.

mod cache;
mod debian;
mod emulator;
mod guest;
mod qemu;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::repository::Repository;
use cache::Cache;

/// Where the tools are that no package manager puts on the search path.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// The folder of everything that was built for tests.
    pub(crate) cache: PathBuf,
    /// The folder with `qemu-img`, `qemu-io` and `qemu-nbd` of QEMU 5.2.
    pub(crate) qemu52: PathBuf,
}

/// The search path for tests: the caller's, then the system's folders, where `tgtd` is.
pub(crate) fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:{}", debian::SYSTEM_PATH)
}

/// Installs what is missing and checks that all of it works.
pub(crate) fn run(repository: &Repository) -> Result<Tools> {
    let cache = Cache::open(repository)?;
    debian::install(&debian::missing(debian::PROGRAMS))?;
    let qemu52 = qemu::ensure(&cache)?;
    println!("setup: QEMU 5.2 tools in {}", qemu52.display());
    println!("setup: emulator of guests is {}", emulator::ensure(&cache)?.display());
    println!("setup: kernel of guests in {}", guest::ensure(&cache)?.display());
    Ok(Tools { cache: cache.folder().to_path_buf(), qemu52 })
}

/// Installs some of the programs that packages bring, and builds nothing.
pub(crate) fn install_programs(programs: &[&str]) -> Result<()> {
    let wanted = debian::PROGRAMS.iter().filter(|need| programs.contains(&need.program));
    debian::install(&debian::missing(&wanted.copied().collect::<Vec<_>>()))
}

/// Prints each tool and its place; `false` if one is missing.
pub(crate) fn print(repository: &Repository) -> Result<bool> {
    let cache = Cache::open(repository)?;
    let mut complete = true;
    let mut line = |name: &str, place: Option<&Path>, source: &str| match place {
        Some(path) => println!("{name:<22} {}", path.display()),
        None => {
            complete = false;
            println!("{name:<22} missing ({source})");
        }
    };
    for need in debian::PROGRAMS {
        line(need.program, debian::find(need.program).as_deref(), need.package);
    }
    line("emulator of guests", emulator::find(&cache).as_deref(), "cargo xtask setup has it");
    line("kernel of guests", guest::find(&cache).as_deref(), "cargo xtask setup fetches it");
    let folder = qemu::find(&cache)?;
    for program in qemu::PROGRAMS {
        let path = folder.as_ref().map(|folder| folder.join(program));
        line(&format!("{program} of QEMU 5.2"), path.as_deref(), "cargo xtask setup builds it");
    }
    Ok(complete)
}
