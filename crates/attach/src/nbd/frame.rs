//! Frames: the bytes of the transmission phase, numbers in network byte order.
//!
//! Holds:
//!   F1 a request that passes [`Request::check`] lies inside the export, and carries only flags
//!      that were announced for its command;
//!   F2 a reply's head says exactly how many bytes follow it.
//! Not here: carrying requests out (job), reading and writing sockets (session, outbox).

use super::export::{Export, PAYLOAD_BYTES_MAX};
use super::option::{ALLOCATION_ID, Malformed, TEXT_BYTES_MAX};
use super::refusal::{Fault, errno};
use sheepdog_engine::volume::Extent;

/// Bytes of a request without its payload.
pub(super) const REQUEST_BYTES: usize = 28;
/// Largest head of a reply.
const HEAD_BYTES_MAX: usize = 28;

const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;
const CHUNK: u32 = 0x668e_33ef;
const CHUNK_DONE: u16 = 1 << 0;

mod command {
    pub(super) const READ: u16 = 0;
    pub(super) const WRITE: u16 = 1;
    pub(super) const DISCONNECT: u16 = 2;
    pub(super) const FLUSH: u16 = 3;
    pub(super) const TRIM: u16 = 4;
    pub(super) const WRITE_ZEROES: u16 = 6;
    pub(super) const BLOCK_STATUS: u16 = 7;
}

mod flag {
    pub(super) const FUA: u16 = 1 << 0;
    pub(super) const NO_HOLE: u16 = 1 << 1;
    pub(super) const DF: u16 = 1 << 2;
    pub(super) const REQ_ONE: u16 = 1 << 3;
}

mod chunk {
    pub(super) const NONE: u16 = 0;
    pub(super) const OFFSET_DATA: u16 = 1;
    pub(super) const BLOCK_STATUS: u16 = 5;
    pub(super) const ERROR: u16 = (1 << 15) + 1;
}

/// The part reads as zeros and uses no space.
const HOLE_AND_ZERO: u32 = 0b11;

/// One request as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    /// Chosen by the client, repeated in the reply.
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Read,
    Write,
    Disconnect,
    Flush,
    /// The bytes are not needed any more.
    Trim,
    /// The bytes read as zeros; `allocate`: and use space.
    Zero {
        allocate: bool,
    },
    /// Which parts are allocated; `first`: only the first run.
    Status {
        first: bool,
    },
}

impl Request {
    /// Reads a header.
    pub(super) fn decode(bytes: &[u8; REQUEST_BYTES]) -> Result<Self, Malformed> {
        if bytes[..4] != REQUEST.to_be_bytes() {
            return Err(Malformed("wrong magic before a request"));
        }
        let field = |from: usize, to: usize| {
            bytes[from..to].iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte))
        };
        Ok(Self {
            flags: field(4, 6) as u16,
            command: field(6, 8) as u16,
            cookie: field(8, 16),
            offset: field(16, 24),
            len: field(24, 28) as u32,
        })
    }

    /// How many bytes of payload follow the header, whether or not the request is sound.
    pub(super) fn payload(&self) -> u32 {
        if self.command == command::WRITE { self.len } else { 0 }
    }

    /// What is asked for, if it may be asked of `export` (F1).
    pub(super) fn check(&self, export: &Export) -> Result<Work, Fault> {
        // FUA is welcome everywhere: each acknowledged write is durable in any case.
        let (work, flags) = match self.command {
            command::READ => (Work::Read, if export.structured { flag::DF } else { 0 }),
            command::WRITE => (Work::Write, 0),
            command::DISCONNECT => return Ok(Work::Disconnect),
            command::FLUSH => (Work::Flush, 0),
            command::TRIM => (Work::Trim, 0),
            command::WRITE_ZEROES => {
                (Work::Zero { allocate: self.flags & flag::NO_HOLE != 0 }, flag::NO_HOLE)
            }
            command::BLOCK_STATUS if export.allocation => {
                (Work::Status { first: self.flags & flag::REQ_ONE != 0 }, flag::REQ_ONE)
            }
            _ => return Err(Fault::invalid("the command was not announced")),
        };
        if self.flags & !(flags | flag::FUA) != 0 {
            return Err(Fault::invalid("the command does not have this flag"));
        }
        self.check_range(work, export.size)?;
        Ok(work)
    }

    fn check_range(&self, work: Work, size: u64) -> Result<(), Fault> {
        let growing = matches!(work, Work::Write | Work::Zero { .. });
        if work == Work::Flush && (self.offset, self.len) != (0, 0) {
            return Err(Fault::invalid("a flush has no range"));
        }
        if matches!(work, Work::Read | Work::Write) && self.len > PAYLOAD_BYTES_MAX {
            return Err(Fault::invalid("the request is longer than 32 MiB"));
        }
        if matches!(work, Work::Status { .. }) && self.len == 0 {
            return Err(Fault::invalid("the range is empty"));
        }
        let end = self.offset.checked_add(u64::from(self.len));
        if end.is_none_or(|end| end > size) {
            let errno = if growing { errno::ENOSPC } else { errno::EINVAL };
            return Err(Fault::new(errno, "the range ends behind the export"));
        }
        Ok(())
    }
}

/// The first bytes of a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: u8,
}

impl Head {
    /// A request ended; without a body.
    pub(super) fn done(cookie: u64) -> Self {
        Self::empty().put(&SIMPLE_REPLY.to_be_bytes()).put(&[0; 4]).put(&cookie.to_be_bytes())
    }

    /// A request failed. The second part is the body.
    pub(super) fn failed(structured: bool, cookie: u64, fault: &Fault) -> (Self, Vec<u8>) {
        if !structured {
            let head = Self::empty().put(&SIMPLE_REPLY.to_be_bytes());
            let head = head.put(&fault.errno.to_be_bytes()).put(&cookie.to_be_bytes());
            return (head, Vec::new());
        }
        let end = fault.text.floor_char_boundary(TEXT_BYTES_MAX.min(fault.text.len()));
        let text = &fault.text.as_bytes()[..end];
        let mut body = fault.errno.to_be_bytes().to_vec();
        body.extend_from_slice(&(text.len() as u16).to_be_bytes());
        body.extend_from_slice(text);
        (Self::chunk(chunk::ERROR, cookie, body.len() as u32), body)
    }

    /// `len` bytes from `offset` follow.
    pub(super) fn data(structured: bool, cookie: u64, offset: u64, len: u32) -> Self {
        match (structured, len) {
            (false, _) => Self::done(cookie),
            (true, 0) => Self::chunk(chunk::NONE, cookie, 0),
            (true, len) => {
                Self::chunk(chunk::OFFSET_DATA, cookie, len + 8).put(&offset.to_be_bytes())
            }
        }
    }

    /// Runs of a range of `len` bytes; neighbours of one kind become one.
    pub(super) fn status(
        cookie: u64,
        len: u32,
        first: bool,
        extents: &[Extent],
    ) -> (Self, Vec<u8>) {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut left = len;
        for extent in extents.iter().filter(|extent| extent.len > 0) {
            let take = u32::try_from(extent.len).unwrap_or(u32::MAX).min(left);
            let state = if extent.allocated { 0 } else { HOLE_AND_ZERO };
            match runs.last_mut() {
                Some(last) if last.1 == state => last.0 += take,
                Some(_) if first => break,
                _ => runs.push((take, state)),
            }
            left -= take;
            if left == 0 {
                break;
            }
        }
        if runs.is_empty() {
            runs.push((len, 0)); // "Unknown" is always true.
        }
        let mut body = ALLOCATION_ID.to_be_bytes().to_vec();
        for (len, state) in runs {
            body.extend_from_slice(&len.to_be_bytes());
            body.extend_from_slice(&state.to_be_bytes());
        }
        (Self::chunk(chunk::BLOCK_STATUS, cookie, body.len() as u32), body)
    }

    /// The bytes to send.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn chunk(kind: u16, cookie: u64, len: u32) -> Self {
        Self::empty()
            .put(&CHUNK.to_be_bytes())
            .put(&CHUNK_DONE.to_be_bytes())
            .put(&kind.to_be_bytes())
            .put(&cookie.to_be_bytes())
            .put(&len.to_be_bytes())
    }

    const fn empty() -> Self {
        Self { bytes: [0; HEAD_BYTES_MAX], len: 0 }
    }

    fn put(mut self, field: &[u8]) -> Self {
        let (start, end) = (usize::from(self.len), usize::from(self.len) + field.len());
        self.bytes[start..end].copy_from_slice(field);
        self.len = end as u8;
        self
    }
}

#[cfg(test)]
#[path = "frame/tests.rs"]
mod tests;
