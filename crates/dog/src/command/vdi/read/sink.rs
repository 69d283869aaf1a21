//! Sink: bytes to stdout; zeros become holes where that is safe.
//!
//! Holds:
//!   K1 a hole is made only beyond the end of a regular file that is not in append mode, where
//!      nothing but zeros can be read; everywhere else zeros are written.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use rustix::fs::OFlags;
use sheepdog_proto::BLOCK_BYTES;

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Where the data goes.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    /// Length of the file, if holes may be made beyond it.
    length: Option<u64>,
    /// Zeros not yet written or skipped.
    pending: u64,
}

impl Sink {
    pub(super) fn stdout() -> io::Result<Self> {
        Self::new(File::from(io::stdout().as_fd().try_clone_to_owned()?))
    }

    pub(super) fn new(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let append = rustix::fs::fcntl_getfl(&file)?.contains(OFlags::APPEND);
        let length = (meta.is_file() && !append).then_some(meta.len());
        Ok(Self { file, length, pending: 0 })
    }

    /// Writes `bytes`; whole blocks of zeros among them may become holes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let zeros = run(rest, true);
            self.pending += zeros as u64;
            rest = &rest[zeros..];
            let data = run(rest, false);
            if data > 0 {
                self.settle()?;
                self.file.write_all(&rest[..data])?;
                rest = &rest[data..];
            }
        }
        Ok(())
    }

    /// The same as writing so many zeros.
    pub(super) const fn zeros(&mut self, count: u64) -> io::Result<()> {
        self.pending += count;
        Ok(())
    }

    /// Nothing more comes; the file gets its full length.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let ends_in_zeros = self.pending > 0;
        self.settle()?;
        if let (true, Some(length)) = (ends_in_zeros, self.length) {
            let position = self.file.stream_position()?;
            if position > length.max(self.file.metadata()?.len()) {
                self.file.set_len(position)?;
            }
        }
        self.file.flush()
    }

    fn settle(&mut self) -> io::Result<()> {
        while self.pending > 0 {
            if let Some(length) = self.length
                && self.file.stream_position()? >= length
            {
                self.file.seek(SeekFrom::Current(self.pending as i64))?; // K1
                self.pending = 0;
                break;
            }
            let count = self.pending.min(ZEROS.len() as u64);
            self.file.write_all(&ZEROS[..count as usize])?;
            self.pending -= count;
        }
        Ok(())
    }
}

/// Length of the run of blocks at the front that are (`zero`) or are not all zero.
fn run(bytes: &[u8], zero: bool) -> usize {
    let blocks = bytes.chunks(BLOCK_BYTES);
    let same = |block: &&[u8]| (**block == ZEROS[..block.len()]) == zero;
    blocks.take_while(same).map(<[u8]>::len).sum()
}

#[cfg(test)]
#[path = "sink/tests.rs"]
mod tests;
