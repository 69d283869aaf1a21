//! Records: how one entry stands in the log file.
//!
//! Why: a reader must tell a record that a crash tore from one that was damaged later.
//! Way: `writer` emits, `reader` parses; the bytes are drawn in docs/formats/coordination-log.md.
//! Holds:
//!   R1 header and body have checksums of their own; every byte of a record is under one;
//!   R2 `previous` is the header checksum of the record before, so a record stands only where
//!      it was written;
//!   R3 `synced` names the last entry that was durable before this record was written: a later
//!      record proves which earlier ones cannot have been torn.
//! Not here: what to do about a bad record (reader, recovery).

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::{Reader, WireError, Writer};

/// Bytes of a record before its body.
pub(super) const HEADER_BYTES: usize = 80;

/// Every record begins at a multiple of this.
pub(super) const ALIGN_BYTES: usize = 8;

/// Most bytes of one payload.
pub(super) const ENTRY_BYTES_MAX: usize = 1 << 20;

pub(super) const MAGIC: [u8; 4] = *b"SDCL";
pub(super) const VERSION: u16 = 1;

/// Fields of a header: name, first byte, bytes. The page in docs/formats is tested against it.
#[cfg(test)]
pub(super) const LAYOUT: [(&str, usize, usize); 13] = [
    ("magic", 0, 4),
    ("version", 4, 2),
    ("zero1", 6, 2),
    ("index", 8, 8),
    ("synced", 16, 8),
    ("session", 24, 16),
    ("life", 40, 8),
    ("sequence", 48, 8),
    ("body_bytes", 56, 4),
    ("body_checksum", 60, 4),
    ("previous", 64, 4),
    ("zero2", 68, 8),
    ("header_checksum", 76, 4),
];

const CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// Identifies one append of a session; every next append has a greater one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token {
    /// Which life of the session, counted from 1.
    pub life: u64,
    /// Which append of this life, counted from 1.
    pub sequence: u64,
}

impl Token {
    /// The last token of a life: its will, after which the life can append nothing (L3).
    pub(super) const fn will(life: u64) -> Self {
        Self { life, sequence: u64::MAX }
    }
}

/// The checked fields of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub index: u64,
    pub synced: u64,
    pub session: u128,
    pub token: Token,
    pub body_bytes: u32,
    pub body_checksum: u32,
    pub previous: u32,
    /// The checksum of this header, which the next record repeats.
    pub checksum: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// `Checksum` or `Short`: no header was written here, or it is damaged. `Version` and
    /// `Invalid`: it was written so, and is not understood.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let mut fields = Reader::new(reader.bytes(CHECKED_BYTES)?);
        let stored = reader.u32()?;
        if fields.array()? != MAGIC || checksum(&bytes[..CHECKED_BYTES]) != stored {
            return Err(WireError::Checksum("record header"));
        }
        let version = fields.u16()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        fields.zeros(2)?;
        let header = Self {
            index: fields.u64()?,
            synced: fields.u64()?,
            session: fields.u128()?,
            token: Token { life: fields.u64()?, sequence: fields.u64()? },
            body_bytes: fields.u32()?,
            body_checksum: fields.u32()?,
            previous: fields.u32()?,
            checksum: stored,
        };
        fields.zeros(8)?;
        if header.synced >= header.index {
            return Err(WireError::Invalid("synced index"));
        }
        if header.body_bytes as usize > ENTRY_BYTES_MAX {
            return Err(WireError::Invalid("body length"));
        }
        Ok(header)
    }

    /// Bytes of body and padding.
    pub(super) const fn padded_bytes(&self) -> usize {
        (self.body_bytes as usize).next_multiple_of(ALIGN_BYTES)
    }
}

/// What a record says besides its author and payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub index: u64,
    pub synced: u64,
    pub previous: u32,
}

/// Appends a record to `out` and returns its header checksum.
pub(super) fn emit(
    out: &mut Vec<u8>,
    place: Place,
    session: u128,
    token: Token,
    payload: &[u8],
) -> u32 {
    assert!(payload.len() <= ENTRY_BYTES_MAX, "an entry above the limit reached the log");
    assert!(place.synced < place.index, "R3: an entry cannot be durable before it is written");
    let padding = payload.len().next_multiple_of(ALIGN_BYTES) - payload.len();
    let mut body = Writer::new();
    body.bytes(payload).zeros(padding);
    let body = body.finish();
    let mut header = Writer::new();
    header.bytes(&MAGIC).u16(VERSION).zeros(2).u64(place.index).u64(place.synced);
    header.u128(session).u64(token.life).u64(token.sequence);
    header.u32(payload.len() as u32).u32(checksum(&body)).u32(place.previous).zeros(8);
    let header = header.finish();
    let chain = checksum(&header);
    out.extend_from_slice(&header);
    out.extend_from_slice(&chain.to_le_bytes());
    out.extend_from_slice(&body);
    chain
}

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
