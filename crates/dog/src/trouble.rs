//! Trouble: why a command did not succeed, for the person and for the script.
//!
//! Holds:
//!   T1 a command that failed never exits with 0;
//!   T2 a message says what is wrong, and where there is something to do, a hint says what.

use std::fmt;

use sheepdog_client::admin::AdminError;
use sheepdog_client::admin::types::{ErrorCode, Failure, Holder};

use crate::time;

/// Exit codes; the numbers of the first Sheepdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The request was refused or failed.
    Failure = 1,
    /// The cluster could not be asked.
    Unreachable = 2,
    /// The command line makes no sense.
    Usage = 64,
    /// Stopped by the user.
    Interrupted = 130,
}

/// Why a command did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) code: Option<ErrorCode>,
}

impl Trouble {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, code: None }
    }

    /// Refused or failed.
    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self::new(Exit::Failure, message)
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts a sentence in front.
    pub(crate) fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Tells it on stderr: as text, or as one JSON document for scripts.
    pub(crate) fn tell(&self, json: bool) {
        if json {
            let document = serde_json::json!({ "error": {
                "code": self.code, "message": self.message, "hint": self.hint,
                "exit": self.exit as u8,
            }});
            eprintln!("{document}");
            return;
        }
        eprintln!("dog: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("     {hint}");
        }
    }
}

impl From<AdminError> for Trouble {
    fn from(error: AdminError) -> Self {
        let message = error.to_string();
        match error {
            AdminError::Unreachable { .. } => Self::new(Exit::Unreachable, message).hint(
                "Is a sheep running there? Name another one's admin address with -a ADDR -p PORT \
                 (or -a unix:DIR/admin.sock); `dog playground` starts a cluster to try.",
            ),
            AdminError::Foreign { .. } => Self::new(Exit::Unreachable, message)
                .hint("Name the admin port of a sheep with -p; the default is 7002."),
            AdminError::Silent { .. } => Self::new(Exit::Unreachable, message).hint(
                "The request may still be carried out. `dog cluster info` tells whether copies are \
                 missing; --timeout 0 waits for ever.",
            ),
            AdminError::Refused(failure) => Self::from(failure),
            _ => Self::new(Exit::Unreachable, message)
                .hint("Look at the log of that sheep, then try again."),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let hint = failure.hint.or_else(|| default_hint(failure.code, failure.holder.as_ref()));
        Self { exit: Exit::Failure, message: failure.message, hint, code: Some(failure.code) }
    }
}

fn default_hint(code: ErrorCode, holder: Option<&Holder>) -> Option<String> {
    let hint = match code {
        ErrorCode::NotFormatted => "Format it with `dog cluster format`.",
        ErrorCode::NotFound => "`dog vdi list` shows the VDIs that exist.",
        ErrorCode::Exists => "Choose another name, or delete it with `dog vdi delete`.",
        ErrorCode::TooFewZones => "Start more sheep in other zones, or ask for fewer copies (-c).",
        ErrorCode::Stopping => "Start the sheep again, or ask another one (-a, -p).",
        ErrorCode::Unavailable => "`dog cluster info` tells what is missing.",
        ErrorCode::NoSpace => "`dog node info` shows the space of each node.",
        ErrorCode::Locked => {
            let held = holder.map(|holder| {
                let since = time::to_second(holder.since_ms);
                let (node, admin) = (holder.node, &holder.admin);
                format!(
                    "Node {node} ({admin}) has it open since {since} UTC; close it there first."
                )
            });
            return Some(held.unwrap_or_else(|| "Close it where it is open first.".to_owned()));
        }
        _ => return None,
    };
    Some(hint.to_owned())
}
