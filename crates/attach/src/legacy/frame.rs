//! Frames: from bytes as they arrive to whole requests.
//!
//! Why: two reads per request cost eight times what reading all there is costs.
//! Holds:
//!   F1 a payload above `SMALL_BYTES_MAX` is received into its own aligned buffer; of it, only
//!      what arrived in one read with its header is copied;
//!   F2 a buffer is allocated only for a legal length, and after the connection has room for it.

use std::io;

use sheepdog_proto::legacy::{HEADER_BYTES, RequestHeader};
use sheepdog_proto::wire::WireError;
use sheepdog_proto::{Buffer, Payload};

use super::socket::Stream;

/// Longest payload that is received together with other requests, then copied.
pub(super) const SMALL_BYTES_MAX: usize = 16 << 10;
/// Bytes asked for at once.
const WINDOW_BYTES: usize = 64 << 10;
/// The same after a large payload, as the next header will probably announce another one (F1).
const WINDOW_BYTES_LARGE: usize = 4 << 10;

/// What stands at the front.
#[derive(Debug)]
pub(super) enum Front<'a> {
    /// Too few bytes.
    Nothing,
    /// A request with its payload.
    Whole(RequestHeader, &'a [u8]),
    /// The header of a request with a large payload, which must be begun.
    Large(RequestHeader),
}

#[derive(Debug)]
struct Large {
    header: RequestHeader,
    buffer: Buffer,
    filled: usize,
}

/// Received bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Intake {
    bytes: Vec<u8>,
    start: usize,
    large: Option<Large>,
    last_was_large: bool,
}

impl Intake {
    pub(super) fn new(unread: Vec<u8>) -> Self {
        Self { bytes: unread, ..Self::default() }
    }

    /// Bytes received and not understood. Only between requests.
    pub(super) fn into_unread(mut self) -> Vec<u8> {
        self.bytes.split_off(self.start)
    }

    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// # Errors
    /// A length that is not legal: the connection must be closed.
    pub(super) fn front(&self) -> Result<Front<'_>, WireError> {
        if let Some(large) = &self.large {
            let whole = large.filled == large.buffer.len();
            return Ok(if whole { Front::Whole(large.header, &[]) } else { Front::Nothing });
        }
        let Some((head, rest)) = self.unread().split_first_chunk::<HEADER_BYTES>() else {
            return Ok(Front::Nothing);
        };
        let header = RequestHeader(*head);
        header.check_length()?; // F2
        let count = header.payload_bytes() as usize;
        if count > SMALL_BYTES_MAX {
            return Ok(Front::Large(header));
        }
        Ok(rest.get(..count).map_or(Front::Nothing, |payload| Front::Whole(header, payload)))
    }

    /// Starts to receive the large payload at the front.
    pub(super) fn begin_large(&mut self, header: RequestHeader) {
        let mut buffer = Buffer::zeroed(header.payload_bytes() as usize);
        let rest = &self.unread()[HEADER_BYTES..];
        let filled = rest.len().min(buffer.len());
        buffer[..filled].copy_from_slice(&rest[..filled]);
        self.start += HEADER_BYTES + filled;
        self.large = Some(Large { header, buffer, filled });
        self.last_was_large = true;
    }

    /// Takes the whole request at the front and returns its payload, if it has one.
    pub(super) fn take(&mut self, header: &RequestHeader) -> Option<Payload> {
        if let Some(large) = self.large.take() {
            return Some(large.buffer.share());
        }
        self.last_was_large = false;
        let start = self.start + HEADER_BYTES;
        self.start = start + header.payload_bytes() as usize;
        match &self.bytes[start..self.start] {
            [] => None,
            bytes => Some(Payload::from(bytes)),
        }
    }

    /// Receives more. Zero bytes: the client has closed.
    pub(super) async fn receive(&mut self, stream: &Stream) -> io::Result<usize> {
        if self.start == self.bytes.len() {
            // A silent connection holds no memory.
            (self.bytes, self.start) = (Vec::new(), 0);
        }
        loop {
            stream.readable().await?;
            match self.try_receive(stream) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                end => return end,
            }
        }
    }

    fn try_receive(&mut self, stream: &Stream) -> io::Result<usize> {
        if let Some(large) = &mut self.large {
            let count = stream.try_read(&mut large.buffer[large.filled..])?;
            large.filled += count;
            return Ok(count);
        }
        self.bytes.drain(..self.start);
        self.start = 0;
        let window = if self.last_was_large { WINDOW_BYTES_LARGE } else { WINDOW_BYTES };
        let header = RequestHeader::parse(&self.bytes).ok();
        let whole = HEADER_BYTES + header.map_or(0, |header| header.payload_bytes() as usize);
        let missing = whole.saturating_sub(self.bytes.len());
        self.bytes.reserve_exact(window.max(missing));
        stream.try_read_buf(&mut self.bytes)
    }
}
