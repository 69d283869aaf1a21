//! Progress of long work: one line on stderr, redrawn, when stderr is a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::size;

const REDRAW_AFTER: Duration = Duration::from_millis(100);

/// Cells of the line that are not the bar.
const TEXT_WIDTH: usize = 30;

/// A bar; draws nothing when there is nobody to see it.
#[derive(Debug)]
pub(crate) struct Progress {
    total: Option<u64>,
    done: u64,
    visible: bool,
    drawn: Option<Instant>,
}

impl Progress {
    /// `total` is `None` when the end is not known.
    pub(crate) fn new(total: Option<u64>) -> Self {
        let visible = std::io::stderr().is_terminal();
        Self { total, done: 0, visible, drawn: None }
    }

    /// So many bytes more are done.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.visible && self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW_AFTER) {
            self.draw('\r');
        }
    }

    /// Leaves the line as it is at the end.
    pub(crate) fn finish(&mut self) {
        if self.visible && self.drawn.is_some() {
            self.draw('\n');
        }
    }

    fn draw(&mut self, end: char) {
        self.drawn = Some(Instant::now());
        let line = line(self.done, self.total, width());
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{line}{end}");
    }
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok().map_or(80, |size| usize::from(size.ws_col)).max(40)
}

fn line(done: u64, total: Option<u64>, width: usize) -> String {
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{:<width$}", format!(" {} done", size::human(done)), width = width - 1);
    };
    let done = done.min(total);
    let share = done as f64 / total as f64;
    let cells = width.saturating_sub(TEXT_WIDTH);
    let filled = (share * cells as f64) as usize;
    let head = if filled < cells { ">" } else { "" };
    let bar = format!("{}{head}", "=".repeat(filled));
    let text = format!(
        " {:>5.1} % [{bar:<cells$}] {} / {}",
        share * 100.0,
        size::human(done),
        size::human(total)
    );
    format!("{text:<width$}", width = width - 1)
}

#[cfg(test)]
#[path = "progress/tests.rs"]
mod tests;
