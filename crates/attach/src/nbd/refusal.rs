//! Refusals: the door's words in the words of NBD, with a text for a human.
//!
//! Why: a client shows the text to whoever started the VM; it must say who holds the VDI.

use std::borrow::Cow;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sheepdog_engine::volume::Refusal;

use super::option::reply;
use crate::door::Face;
use crate::opener::Busy;

/// Error numbers of the transmission phase.
pub(super) mod errno {
    pub(in crate::nbd) const EPERM: u32 = 1;
    pub(in crate::nbd) const EIO: u32 = 5;
    pub(in crate::nbd) const EINVAL: u32 = 22;
    pub(in crate::nbd) const ENOSPC: u32 = 28;
    pub(in crate::nbd) const ESHUTDOWN: u32 = 108;
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) errno: u32,
    pub(super) text: Cow<'static, str>,
}

impl Fault {
    pub(super) const fn new(errno: u32, text: &'static str) -> Self {
        Self { errno, text: Cow::Borrowed(text) }
    }

    pub(super) const fn invalid(text: &'static str) -> Self {
        Self::new(errno::EINVAL, text)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let errno = match &refusal {
            Refusal::NoVdi | Refusal::Io(_) | Refusal::NotFormatted => errno::EIO,
            Refusal::Locked { .. } | Refusal::Fenced => errno::EPERM,
            Refusal::Invalid(_) => errno::EINVAL,
            Refusal::NoSpace => errno::ENOSPC,
            Refusal::Stopping => errno::ESHUTDOWN,
        };
        Self { errno, text: Cow::Owned(refusal.to_string()) }
    }
}

/// Why an export cannot be had: the kind of reply, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) kind: u32,
    pub(super) text: String,
}

impl Denied {
    /// There is no such VDI.
    pub(super) fn unknown(name: &[u8]) -> Self {
        let text = match name {
            [] => "there is no default export; name a VDI".to_owned(),
            name => format!("no VDI is named '{}'", String::from_utf8_lossy(name).escape_debug()),
        };
        Self { kind: reply::ERR_UNKNOWN, text }
    }

    /// The attach was refused.
    pub(super) fn refused(name: &str, refusal: &Refusal) -> Self {
        let kind = match refusal {
            Refusal::NoVdi | Refusal::NotFormatted => reply::ERR_UNKNOWN,
            Refusal::Stopping => reply::ERR_SHUTDOWN,
            _ => reply::ERR_POLICY,
        };
        let text = match refusal {
            Refusal::Locked { node, address, since_ns } => format!(
                "VDI '{name}' is locked by node {node} ({address}) since {}",
                utc(since_ns / 1_000_000_000)
            ),
            other => format!("VDI '{name}' cannot be opened: {other}"),
        };
        Self { kind, text }
    }

    /// Another client of this sheep has it open.
    pub(super) fn busy(name: &str, busy: &Busy, now: Instant) -> Self {
        let face = match busy.face {
            Face::Legacy => "the legacy protocol",
            Face::Nbd => "NBD",
            Face::Admin => "the admin API",
        };
        let age = now.saturating_duration_since(busy.since);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = utc(unix.saturating_sub(age).as_secs());
        let who = format!("{} through {face}", busy.origin);
        let text = if busy.is_barred {
            format!("VDI '{name}' was taken from {who} by an operator at {since}; try again later")
        } else {
            format!("VDI '{name}' is locked by {who} since {since}")
        };
        Self { kind: reply::ERR_POLICY, text }
    }
}

/// Seconds since 1970 as a date and time of day.
fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March of year 0, so that a leap day ends its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
#[path = "refusal/tests.rs"]
mod tests;
