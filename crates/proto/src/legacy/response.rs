//! A reply with a meaning, and its header's bytes.
//!
//! Holds:
//!   R1 a reply with an error, or to a write, has `data_length` 0: clients read exactly as many
//!      bytes as they expect, so that a stray byte would shift everything that follows.

use super::header::{
    DATA_LENGTH, DEFAULT_COPIES, DEFAULT_OBJECT_SHIFT, REPLY_COPIES, REPLY_OBJECT_SHIFT, REPLY_VID,
    RESULT,
};
use super::{HEADER_BYTES, RequestHeader, ResponseHeader, ResultCode};
use crate::Vid;

/// How one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Done, or refused.
    Code(ResultCode),
    /// As many bytes follow.
    Data(u32),
    /// About a VDI.
    Vdi {
        /// `Success`, or `VdiLocked`, which also tells the vid.
        code: ResultCode,
        /// Which.
        vid: Vid,
        /// Its copies.
        copies: u8,
        /// Object size is 2^this.
        object_shift: u8,
    },
    /// What a new VDI gets.
    ClusterDefault {
        /// Copies.
        copies: u8,
        /// Object size is 2^this.
        object_shift: u8,
    },
}

impl Response {
    /// Nothing went wrong and there is nothing to tell.
    pub const DONE: Self = Self::Code(ResultCode::Success);

    /// The header that answers `request`. A payload of [`Response::Data`] follows it.
    #[must_use]
    pub fn emit(self, request: &RequestHeader) -> [u8; HEADER_BYTES] {
        let header = ResponseHeader::to(request);
        let header = match self {
            Self::Code(code) => header.with(RESULT, code.get().into()), // R1
            Self::Data(bytes) => header.with(DATA_LENGTH, bytes.into()),
            Self::Vdi { code, vid, copies, object_shift } => header
                .with(RESULT, code.get().into())
                .with(REPLY_VID, vid.get().into())
                .with(REPLY_COPIES, copies.into())
                .with(REPLY_OBJECT_SHIFT, object_shift.into()),
            Self::ClusterDefault { copies, object_shift } => header
                .with(DEFAULT_COPIES, copies.into())
                .with(DEFAULT_OBJECT_SHIFT, object_shift.into()),
        };
        header.0
    }
}
