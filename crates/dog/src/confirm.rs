//! Confirm: what destroys something is asked about first.

use std::io::{BufRead, Write};

use crate::trouble::Trouble;

/// Asks on the terminal; without one, the answer is the next line of stdin. `otherwise` says how
/// not to be asked.
pub(crate) fn confirm(what: &str, otherwise: &str) -> Result<(), Trouble> {
    eprint!("{what}\nAre you sure? [yes/no]: ");
    // A prompt that is not seen is still answered.
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    if read.is_ok() && line.trim_start().to_ascii_lowercase().starts_with("yes") {
        return Ok(());
    }
    Err(Trouble::failure("nothing was changed").hint(otherwise))
}
