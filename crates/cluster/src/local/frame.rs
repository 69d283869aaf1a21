//! Frames: what members and the server say to each other on the socket.
//!
//! Way: a member says `Hello`, is answered `Welcome`, then sends `Append`s and, ever
//!      again, `Alive`, which is answered `Heard`; the server says `Durable` when the log has
//!      grown. The member reads the entries in the file.
//! Holds:
//!   M1 a frame longer than the receiver allows is refused by its header;
//!   M2 memory is taken only for bytes that have arrived.

use std::sync::Arc;

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::{Reader, WireError, Writer};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::record::{ENTRY_BYTES_MAX, Token};
use super::trail::Position;
use crate::LogError;

pub(super) const VERSION: u8 = 1;
pub(super) const PROTOCOL: &str = "the protocol on server.sock";
const HEADER_BYTES: usize = 16;
const CHECKED_BYTES: usize = HEADER_BYTES - 4;
const READ_BYTES: usize = 64 << 10;
const HELLO_MAGIC: [u8; 8] = *b"SHEEPLOG";

/// Longest body that a server takes: an append.
pub(super) const REQUEST_BYTES_MAX: usize = ENTRY_BYTES_MAX + 16;
/// Longest body that a member takes.
pub(super) const NOTICE_BYTES_MAX: usize = 64;

/// Why a server sends a member away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No living process holds the file of this session.
    NoSession,
    /// The server does not speak this version; its own is in the header of this frame.
    Version,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Member: who it is.
    Hello { session: u128 },
    /// Member: an entry to append.
    Append { token: Token, payload: Arc<[u8]> },
    /// Member: it lives; when it sent this, on its own clock.
    Alive { sent_ns: u64 },
    /// Server: it has heard that.
    Heard { sent_ns: u64 },
    /// Server: how far the log is durable, and the last append that it has of this session,
    /// durable or on its way.
    Welcome { durable: Position, last: Token },
    /// Server: the log is durable up to here.
    Durable { durable: Position },
    /// Server: the connection ends.
    Refused(Refusal),
}

impl Frame {
    /// The bytes of this frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Writer::new();
        let kind = match self {
            Self::Hello { session } => {
                body.bytes(&HELLO_MAGIC).u128(*session);
                1
            }
            Self::Append { token, payload } => {
                body.u64(token.life).u64(token.sequence).bytes(payload);
                2
            }
            Self::Welcome { durable, last } => {
                emit_position(&mut body, durable);
                body.u64(last.life).u64(last.sequence);
                3
            }
            Self::Durable { durable } => {
                emit_position(&mut body, durable);
                4
            }
            Self::Refused(refusal) => {
                body.u8(match refusal {
                    Refusal::NoSession => 1,
                    Refusal::Version => 2,
                });
                5
            }
            Self::Alive { sent_ns } => {
                body.u64(*sent_ns);
                6
            }
            Self::Heard { sent_ns } => {
                body.u64(*sent_ns);
                7
            }
        };
        let body = body.finish();
        let mut frame = Writer::new();
        frame.u8(kind).u8(VERSION).zeros(2).u32(body.len() as u32).u32(checksum(&body));
        let mut bytes = frame.finish();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// The first frame of `bytes` and its length; `None` if more bytes are needed.
    ///
    /// # Errors
    /// What is wrong: the connection cannot be used any more.
    pub(super) fn decode(
        bytes: &[u8],
        body_max: usize,
    ) -> Result<Option<(Self, usize)>, WireError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let mut fields = Reader::new(header);
        let (kind, version) = (fields.u8()?, fields.u8()?);
        fields.zeros(2)?;
        let (body_bytes, body_sum) = (fields.u32()? as usize, fields.u32()?);
        if checksum(&header[..CHECKED_BYTES]) != fields.u32()? {
            return Err(WireError::Checksum("frame header"));
        }
        if version != VERSION {
            return Err(WireError::Version(u16::from(version)));
        }
        if body_bytes > body_max {
            return Err(WireError::Invalid("frame length")); // M1
        }
        let end = HEADER_BYTES + body_bytes;
        let Some(body) = bytes.get(HEADER_BYTES..end) else {
            return Ok(None);
        };
        if checksum(body) != body_sum {
            return Err(WireError::Checksum("frame body"));
        }
        Ok(Some((Self::parse(kind, body)?, end)))
    }

    fn parse(kind: u8, body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let frame = match kind {
            1 => {
                if reader.array()? != HELLO_MAGIC {
                    return Err(WireError::Invalid("greeting"));
                }
                Self::Hello { session: reader.u128()? }
            }
            2 => {
                let token = parse_token(&mut reader)?;
                let payload = reader.bytes(reader.rest().len())?;
                if payload.len() > ENTRY_BYTES_MAX {
                    return Err(WireError::Invalid("payload length"));
                }
                Self::Append { token, payload: Arc::from(payload) }
            }
            3 => Self::Welcome {
                durable: parse_position(&mut reader)?,
                last: parse_token(&mut reader)?,
            },
            4 => Self::Durable { durable: parse_position(&mut reader)? },
            5 => Self::Refused(match reader.u8()? {
                1 => Refusal::NoSession,
                2 => Refusal::Version,
                _ => return Err(WireError::Invalid("refusal")),
            }),
            6 => Self::Alive { sent_ns: reader.u64()? },
            7 => Self::Heard { sent_ns: reader.u64()? },
            _ => return Err(WireError::Invalid("frame kind")),
        };
        reader.end()?;
        Ok(frame)
    }
}

fn emit_position(out: &mut Writer, position: &Position) {
    out.u64(position.index).u64(position.offset).u32(position.chain);
}

fn parse_position(reader: &mut Reader<'_>) -> Result<Position, WireError> {
    Ok(Position { index: reader.u64()?, offset: reader.u64()?, chain: reader.u32()? })
}

fn parse_token(reader: &mut Reader<'_>) -> Result<Token, WireError> {
    Ok(Token { life: reader.u64()?, sequence: reader.u64()? })
}

/// Takes frames from a socket.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    source: R,
    body_max: usize,
    held: Vec<u8>,
    /// Bytes of `held` that were given out as frames already.
    taken: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) const fn new(source: R, body_max: usize) -> Self {
        Self { source, body_max, held: Vec::new(), taken: 0 }
    }

    /// The next frame; `None` when the other side is gone, in whatever way. May be cancelled
    /// without losing bytes.
    ///
    /// # Errors
    /// `Version`; other bytes that are no frame end the stream and are logged.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, LogError> {
        loop {
            match Frame::decode(&self.held[self.taken..], self.body_max) {
                Ok(Some((frame, length))) => {
                    self.taken += length;
                    return Ok(Some(frame));
                }
                Ok(None) => {}
                Err(WireError::Version(version)) => {
                    return Err(LogError::Version { what: PROTOCOL.to_owned(), version });
                }
                Err(error) => {
                    tracing::warn!(%error, "bytes on the coordination log's socket are no frame");
                    return Ok(None);
                }
            }
            self.held.drain(..self.taken);
            self.taken = 0;
            self.held.reserve(READ_BYTES); // M2
            match self.source.read_buf(&mut self.held).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "frame/tests.rs"]
mod tests;
