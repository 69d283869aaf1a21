//! What a queued request does, and which operation of the door does it.

use sheepdog_engine::volume::Operation;
use sheepdog_proto::Payload;

use crate::door::Kind;

/// What a queued request does.
#[derive(Clone, Debug)]
pub(in crate::legacy) enum Work {
    /// Bytes of a data object, then zeros.
    Read { index: u32, offset: u64, len: u32, zeros: u32 },
    /// Bytes into a data object. Without bytes, it only asks whether the object exists.
    Write { index: u32, offset: u64, data: Option<Payload>, create: bool },
    /// The whole object reads as a hole afterwards.
    Discard { index: u32, offset: u64, len: u64 },
    /// Everything acknowledged is durable.
    Flush,
    /// Bytes of the map between bytes of the header and zeros.
    ReadMap { before: Vec<Payload>, offset: u32, len: u32, zeros: u32 },
    /// Bytes into the map.
    WriteMap { offset: u32, data: Payload },
}

impl Work {
    /// The object whose existence decides about the request.
    pub(super) const fn needs(&self) -> Option<u32> {
        match self {
            Self::Read { index, .. } | Self::Write { index, create: false, .. } => Some(*index),
            _ => None,
        }
    }

    /// The only object it touches.
    pub(super) const fn index(&self) -> Option<u32> {
        match self {
            Self::Read { index, .. } | Self::Write { index, .. } | Self::Discard { index, .. } => {
                Some(*index)
            }
            _ => None,
        }
    }

    pub(super) const fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Discard { .. } | Self::WriteMap { .. })
    }

    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Read { offset, len, .. } => Operation::Read { offset: *offset, len: *len },
            Self::Write { offset, data, .. } => {
                let data = data.clone().unwrap_or_else(Payload::empty);
                Operation::Write { offset: *offset, data }
            }
            Self::Discard { offset, len, .. } => {
                Operation::Zero { offset: *offset, len: *len, discard: true }
            }
            Self::Flush => Operation::Flush,
            Self::ReadMap { offset, len, .. } => Operation::ReadMap { offset: *offset, len: *len },
            Self::WriteMap { offset, data } => {
                Operation::WriteMap { offset: *offset, data: data.clone() }
            }
        }
    }

    pub(super) fn metric(&self) -> (Kind, u64) {
        match self {
            Self::Read { len, .. } => (Kind::Read, u64::from(*len)),
            Self::Write { data, .. } => {
                (Kind::Write, data.as_ref().map_or(0, |data| data.len() as u64))
            }
            Self::Discard { len, .. } => (Kind::Zero, *len),
            Self::Flush => (Kind::Flush, 0),
            Self::ReadMap { .. } | Self::WriteMap { .. } => (Kind::Other, 0),
        }
    }
}
