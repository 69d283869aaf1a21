//! Source: stdin, cut into requests, read by a thread so that reading and writing overlap.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use hyper::body::Bytes;
use tokio::sync::mpsc;

use super::Chunk;

/// Pieces read ahead.
const AHEAD: usize = 2;

/// What comes next.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes and where they go.
    Bytes(Chunk, Bytes),
    /// There is more input than room.
    Excess,
    /// Reading failed.
    Error(io::Error),
}

/// The pieces, in order.
#[derive(Debug)]
pub(super) struct Source {
    pieces: mpsc::Receiver<Piece>,
}

impl Source {
    /// Reads up to `length` bytes of stdin, for `offset` and what follows. With `whole`, it is
    /// [`Piece::Excess`] if stdin goes on then.
    pub(super) fn stdin(offset: u64, length: u64, whole: bool) -> Self {
        let (sender, pieces) = mpsc::channel(AHEAD);
        // The thread may stay in a read for ever; the end of the process ends it.
        std::thread::spawn(move || pump(io::stdin().lock(), offset, length, whole, &sender));
        Self { pieces }
    }

    pub(super) async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }
}

/// Bytes that stdin still has, if that is known.
pub(super) fn stdin_length() -> Option<u64> {
    let mut file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let position = io::Seek::stream_position(&mut file).ok()?;
    Some(meta.len().saturating_sub(position))
}

fn pump(mut input: impl Read, offset: u64, length: u64, whole: bool, sender: &mpsc::Sender<Piece>) {
    let (mut next, end) = (offset, offset + length);
    while next < end {
        let wanted = Chunk::first(next, end - next);
        let mut bytes = Vec::new();
        if let Err(error) = input.by_ref().take(wanted.length).read_to_end(&mut bytes) {
            let _ = sender.blocking_send(Piece::Error(error));
            return;
        }
        let chunk = Chunk { offset: next, length: bytes.len() as u64 };
        next += chunk.length;
        let short = chunk.length < wanted.length;
        if chunk.length > 0
            && sender.blocking_send(Piece::Bytes(chunk, Bytes::from(bytes))).is_err()
        {
            return;
        }
        if short {
            return;
        }
    }
    if whole {
        let piece = match input.read(&mut [0]) {
            Ok(0) => return,
            Ok(_) => Piece::Excess,
            Err(error) => Piece::Error(error),
        };
        let _ = sender.blocking_send(piece);
    }
}

#[cfg(test)]
#[path = "source/tests.rs"]
mod tests;
