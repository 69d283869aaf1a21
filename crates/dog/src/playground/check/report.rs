//! The table at the end of a check.

use std::fmt::Write;
use std::time::Duration;

use super::face::Face;
use crate::size;

/// What one face achieved.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) face: Face,
    pub(super) other_face: Face,
    pub(super) before: u64,
    pub(super) after: u64,
    pub(super) bytes: u64,
    pub(super) pause: Duration,
}

/// The table for people.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<12}{:>14}{:>12}{:>13}{:>15}  {}\n",
        "Face", "Writes before", "after kill", "Verified", "Longest pause", "also read through"
    );
    for row in rows {
        let _ = writeln!(
            text,
            "{:<12}{:>14}{:>12}{:>13}{:>12} ms  {} of another sheep",
            row.face,
            row.before,
            row.after,
            size::human(row.bytes),
            row.pause.as_millis(),
            row.other_face
        );
    }
    let after: u64 = rows.iter().map(|row| row.after).sum();
    let bytes: u64 = rows.iter().map(|row| row.bytes).sum();
    let pause = rows.iter().map(|row| row.pause).max().unwrap_or_default();
    let _ = writeln!(
        text,
        "OK: {after} writes acknowledged after one sheep was killed, {bytes} bytes verified, \
         longest pause {} ms.",
        pause.as_millis()
    );
    text
}
