//! Trail: how far the log has been read, and what that proves about the next record.
//!
//! Holds:
//!   T1 records are accepted only in order of index, each chained to the one before (R2);
//!   T2 tokens of a session only grow, so an append that is sent twice is recognised (L2), and
//!      nothing of a life follows its will (L3).

use std::collections::BTreeMap;

use super::record::{HEADER_BYTES, Header, Token};

/// The place behind a record: where the next one begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Index of the record before; 0 at the start of the log.
    pub index: u64,
    /// Byte of the file.
    pub offset: u64,
    /// Header checksum of the record before; 0 at the start.
    pub chain: u32,
}

/// The last token of every session.
#[derive(Clone, Debug, Default)]
pub(super) struct Authors {
    last: BTreeMap<u128, Token>,
}

impl Authors {
    /// The last token; zero for a session that has none.
    pub(super) fn last(&self, session: u128) -> Token {
        self.last.get(&session).copied().unwrap_or_default()
    }

    /// Notes an append. False if the session already appended it, or a later one.
    pub(super) fn note(&mut self, session: u128, token: Token) -> bool {
        let last = self.last.entry(session).or_default();
        let fresh = token > *last;
        if fresh {
            *last = token;
        }
        fresh
    }
}

/// A position and the authors up to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    pub position: Position,
    pub authors: Authors,
}

impl Trail {
    /// Steps over a record that stands at the position.
    ///
    /// # Errors
    /// The rule that it breaks; the trail then stays where it was.
    pub(super) fn accept(&mut self, header: &Header) -> Result<(), &'static str> {
        if header.index != self.position.index + 1 {
            return Err("a record of another index stands here"); // T1
        }
        if header.previous != self.position.chain {
            return Err("a record does not follow the one before it"); // T1
        }
        if !self.authors.note(header.session, header.token) {
            return Err("a session's append stands twice in the log"); // T2
        }
        let bytes = HEADER_BYTES + header.padded_bytes();
        self.position = Position {
            index: header.index,
            offset: self.position.offset + bytes as u64,
            chain: header.checksum,
        };
        Ok(())
    }
}
