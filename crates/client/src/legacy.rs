//! Client of the first Sheepdog's protocol, with the habits of QEMU's own driver.
//!
//! Why: checks and tests use the face as old virtual machines do, without an old QEMU.
//! Way: [`Disk::open`] connects its data connection first and leaves it silent, locks the VDI and
//!      reads the inode on connections of their own, then pipelines object requests over `link`.
//! Holds:
//!   Y1 a lost data connection is made again once a second, for ever, and every unanswered
//!      request is sent again under its old id;
//!   Y2 at most one request is on the way for each object;
//!   Y3 objects are created before the map names them.
//! Not here: snapshots, clones, the bytes of headers (`sheepdog_proto::legacy`).

mod disk;
mod link;

pub use disk::Disk;

use std::io;

use sheepdog_proto::legacy::{Opcode, ResultCode};

/// Why something did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LegacyError {
    /// A connection of its own could not be made, or broke.
    #[error("connection to the client port: {0}")]
    Io(#[from] io::Error),
    /// The server said no.
    #[error("{opcode} was refused: {}", code_name(*code))]
    Refused {
        /// What was asked.
        opcode: Opcode,
        /// See [`ResultCode::from_wire`].
        code: u32,
    },
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The range does not lie inside the VDI.
    #[error("the range does not lie inside the VDI")]
    Range,
    /// The disk was closed while the request was on the way.
    #[error("the disk was closed")]
    Closed,
}

impl LegacyError {
    /// The result code of a refusal, if it has a meaning.
    #[must_use]
    pub fn code(&self) -> Option<ResultCode> {
        match self {
            Self::Refused { code, .. } => ResultCode::from_wire(*code),
            _ => None,
        }
    }
}

fn code_name(code: u32) -> String {
    ResultCode::from_wire(code).map_or_else(|| format!("{code:#x}"), |code| code.to_string())
}
