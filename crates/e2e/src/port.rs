//! Ports: a row of numbers that no other test has, on this machine.
//!
//! Why: a sheep is started again on the ports it had, so they must be chosen here, and tgt cuts
//!      ports above 9999.
//! Holds: P1 two test programs never have the same row: it is claimed by a locked file.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

const FIRST: u16 = 7030;
const ROW_PORTS: u16 = 30;
const ROWS: u16 = 99;

/// Thirty ports in a row, until it is dropped.
#[derive(Debug)]
pub struct PortRow {
    row: u16,
    _claim: File,
}

impl PortRow {
    /// The next row that is free.
    ///
    /// # Errors
    /// If none is.
    pub fn claim() -> Result<Self> {
        let folder = std::env::temp_dir().join("sheepdog-e2e-ports");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        // Test programs that start together begin to look at different places.
        let start = (std::process::id() % u32::from(ROWS)) as u16;
        for row in (0..ROWS).map(|step| (start + step) % ROWS) {
            let path = folder.join(row.to_string());
            let mut options = OpenOptions::new();
            let file = options.create(true).truncate(false).write(true).open(&path);
            let file = file.with_context(|| path.display().to_string())?;
            let claimed = Self { row, _claim: file };
            if claimed._claim.try_lock().is_ok() && (0..ROW_PORTS).all(|i| claimed.is_free(i)) {
                return Ok(claimed);
            }
        }
        bail!("no row of {ROW_PORTS} ports is free from {FIRST} on")
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn port(&self, index: u16) -> u16 {
        assert!(index < ROW_PORTS, "a row has {ROW_PORTS} ports");
        FIRST + self.row * ROW_PORTS + index
    }

    fn is_free(&self, index: u16) -> bool {
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.port(index))).is_ok()
    }
}
