//! Answers that need the lease: what was read is told only while the log cannot have given the
//! VDI to another sheep.
//!
//! Why: members refuse an older generation once they know of a newer one; a sheep that stood
//!      still, and members that are cut off with it, do not know of it yet.
//! Holds:
//!   LEASE  the lease is looked at after the data were read: as long as it lasts, what was read
//!          here is the newest, for nobody else has been granted the VDI;
//!   LE1    an answer that is kept back counts as not given: a drain waits for it, and the end of
//!          the attachment makes it `Fenced`.
//! Not here: writes, which are refused by members that know better, and need no lease.

use std::collections::VecDeque;

use sheepdog_proto::Vid;

use super::Context;
use crate::volume::{Answer, Refusal};

/// Whether the lease lasts, and what waits for it.
#[derive(Debug)]
pub(super) struct Lease {
    lasts: bool,
    held: VecDeque<(Vid, u64, Answer)>,
}

impl Lease {
    pub(super) const fn new() -> Self {
        Self { lasts: true, held: VecDeque::new() }
    }

    /// Answers of a VDI that are kept back.
    pub(super) fn held(&self, vid: Vid) -> usize {
        self.held.iter().filter(|(of, ..)| *of == vid).count()
    }
}

impl Context {
    /// Tells whether the lease lasts at this moment. True if answers were given because of that.
    pub(super) fn set_lease(&mut self, lasts: bool) -> bool {
        self.lease.lasts = lasts;
        let gives = lasts && !self.lease.held.is_empty();
        if gives {
            for (_, token, answer) in std::mem::take(&mut self.lease.held) {
                self.answer(token, Ok(answer));
            }
        }
        gives
    }

    /// Answers an operation; what was read only under the lease.
    pub(super) fn answer_leased(&mut self, vid: Vid, token: u64, result: Result<Answer, Refusal>) {
        match result {
            Ok(answer) if !self.lease.lasts && answer != Answer::Done => {
                self.waits.lease += 1;
                self.lease.held.push_back((vid, token, answer));
            }
            other => self.answer(token, other),
        }
    }

    /// The attachment is over (LE1).
    pub(super) fn fence_held(&mut self, vid: Vid) {
        let (gone, kept) =
            std::mem::take(&mut self.lease.held).into_iter().partition(|(of, ..)| *of == vid);
        self.lease.held = kept;
        let gone: VecDeque<(Vid, u64, Answer)> = gone;
        for (_, token, _) in gone {
            self.answer(token, Err(Refusal::Fenced));
        }
    }
}
