//! Entries of a recording: what was done to the disk, one after the other in one file.
//!
//! Way: a head of fixed size, then a body: names, or the bytes of a write. Nobody keeps
//!      recordings, so their form promises nothing to a later version.

use crate::disk::FileId;
use crate::layout::{Field, fills};

/// First bytes of a recording.
pub(super) const MAGIC: [u8; 8] = *b"SDREC 1\n";
/// Bytes of a head.
pub(super) const HEAD_BYTES: usize = 48;

mod field {
    use super::Field;

    pub(super) const KIND: Field = Field::first("kind", 1);
    pub(super) const ZEROS: Field = KIND.then("zeros", 1);
    pub(super) const RESERVED: Field = ZEROS.then("reserved", 6);
    pub(super) const TIME: Field = RESERVED.then("time", 8);
    pub(super) const FILE: Field = TIME.then("file", 8);
    pub(super) const OFFSET: Field = FILE.then("offset", 8);
    pub(super) const LEN: Field = OFFSET.then("len", 8);
    pub(super) const BODY: Field = LEN.then("body", 8);
}

const FIELDS: [Field; 8] = [
    field::KIND,
    field::ZEROS,
    field::RESERVED,
    field::TIME,
    field::FILE,
    field::OFFSET,
    field::LEN,
    field::BODY,
];
const _: () = assert!(fills(&FIELDS, HEAD_BYTES));

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Create,
    Open,
    Close,
    CreateDir,
    Rename,
    Remove,
    SyncDir,
    SetLen,
    Allocate,
    Punch,
    Write,
    DurableWrite,
    SyncBegun,
    Sync,
    Failed,
}

const KINDS: [Kind; 15] = [
    Kind::Create,
    Kind::Open,
    Kind::Close,
    Kind::CreateDir,
    Kind::Rename,
    Kind::Remove,
    Kind::SyncDir,
    Kind::SetLen,
    Kind::Allocate,
    Kind::Punch,
    Kind::Write,
    Kind::DurableWrite,
    Kind::SyncBegun,
    Kind::Sync,
    Kind::Failed,
];

impl Kind {
    /// Whether it may be partly done when it fails.
    pub(super) const fn is_about_bytes(self) -> bool {
        matches!(
            self,
            Self::SetLen | Self::Allocate | Self::Punch | Self::Write | Self::Sync | Self::SyncDir
        )
    }
}

/// What an entry says without its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) file: FileId,
    pub(super) offset: u64,
    /// Bytes; of a sync its number, zero if it was waited for.
    pub(super) len: u64,
}

/// What follows a head.
pub(super) enum Body<'a> {
    Nothing,
    Text(&'a str),
    Parts(&'a [&'a [u8]]),
}

/// An entry as it stands in the file.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) time: u64,
    /// Where its body is; empty for a write of zeros, whose `head.len` counts them.
    pub(super) body: std::ops::Range<usize>,
    pub(super) is_zeros: bool,
}

impl Head {
    pub(super) const fn of(kind: Kind) -> Self {
        Self { kind, file: FileId(0), offset: 0, len: 0 }
    }

    pub(super) const fn file(self, file: FileId) -> Self {
        Self { file, ..self }
    }

    pub(super) const fn range(self, offset: u64, len: u64) -> Self {
        Self { offset, len, ..self }
    }
}

/// Appends an entry.
pub(super) fn encode(out: &mut Vec<u8>, head: Head, time: u64, body: &Body<'_>) {
    let mut raw = [0_u8; HEAD_BYTES];
    let parts: &[&[u8]] = match body {
        Body::Nothing => &[],
        Body::Text(text) => &[text.as_bytes()],
        Body::Parts(parts) => parts,
    };
    let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
    let is_zeros = matches!(body, Body::Parts(_)) && parts.iter().all(|part| is_zero(part));
    let is_write = matches!(head.kind, Kind::Write | Kind::DurableWrite);
    field::KIND.put(&mut raw, head.kind as u8);
    field::ZEROS.put(&mut raw, u8::from(is_zeros));
    field::TIME.put(&mut raw, time);
    field::FILE.put(&mut raw, head.file.0);
    field::OFFSET.put(&mut raw, head.offset);
    field::LEN.put(&mut raw, if is_write { bytes } else { head.len });
    field::BODY.put(&mut raw, if is_zeros { 0 } else { bytes });
    out.extend_from_slice(&raw);
    if !is_zeros {
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}

/// The entry at `start`; `None` if it was cut, or is none.
pub(super) fn decode(bytes: &[u8], start: usize) -> Option<Found> {
    let raw = bytes.get(start..start + HEAD_BYTES)?;
    let kind = *KINDS.get(usize::from(field::KIND.get::<1, u8>(raw)))?;
    let head = Head {
        kind,
        file: FileId(field::FILE.get(raw)),
        offset: field::OFFSET.get(raw),
        len: field::LEN.get(raw),
    };
    let body = usize::try_from(field::BODY.get::<8, u64>(raw)).ok()?;
    let body = start + HEAD_BYTES..(start + HEAD_BYTES).checked_add(body)?;
    bytes.get(body.clone())?;
    let is_zeros = field::ZEROS.get::<1, u8>(raw) != 0;
    Some(Found { head, time: field::TIME.get(raw), body, is_zeros })
}
