//! The table at the end of a check.

use std::fmt::Write;
use std::time::Duration;

use super::face::Face;
use crate::output::{self, Render};
use crate::size;

/// What one face achieved.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) face: Face,
    /// Through which it was read of another sheep.
    pub(super) other_face: Face,
    pub(super) before: u64,
    pub(super) after: u64,
    /// Compared, over both sheep.
    pub(super) bytes: u64,
    pub(super) pause: Duration,
}

/// All faces: everything went well.
#[derive(Debug)]
pub(super) struct Report(pub(super) Vec<Row>);

impl Report {
    fn after(&self) -> u64 {
        self.0.iter().map(|row| row.after).sum()
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|row| row.bytes).sum()
    }

    fn pause_ms(&self) -> u64 {
        self.0.iter().map(|row| milliseconds(row.pause)).max().unwrap_or(0)
    }
}

fn milliseconds(pause: Duration) -> u64 {
    pause.as_millis().try_into().unwrap_or(u64::MAX)
}

impl Render for Report {
    fn human(&self) -> String {
        let mut text = format!(
            "{:<12}{:>14}{:>12}{:>13}{:>15}  {}\n",
            "Face", "Writes before", "after kill", "Verified", "Longest pause", "also read through"
        );
        for row in &self.0 {
            let _ = writeln!(
                text,
                "{:<12}{:>14}{:>12}{:>13}{:>12} ms  {} of another sheep",
                row.face,
                row.before,
                row.after,
                size::human(row.bytes),
                milliseconds(row.pause),
                row.other_face
            );
        }
        let _ = writeln!(
            text,
            "OK: {} writes acknowledged after one sheep was killed, {} bytes verified, longest \
             pause {} ms.",
            self.after(),
            self.bytes(),
            self.pause_ms()
        );
        text
    }

    fn raw(&self) -> String {
        self.human()
    }

    fn json(&self) -> serde_json::Result<String> {
        let row = |row: &Row| {
            serde_json::json!({
                "face": row.face.word(),
                "writes_before": row.before,
                "writes_after": row.after,
                "bytes_verified": row.bytes,
                "longest_pause_ms": milliseconds(row.pause),
                "other_face": row.other_face.word(),
            })
        };
        output::document(&serde_json::json!({
            "faces": self.0.iter().map(row).collect::<Vec<_>>(),
            "writes_after": self.after(),
            "bytes_verified": self.bytes(),
            "longest_pause_ms": self.pause_ms(),
        }))
    }
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
