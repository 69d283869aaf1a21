//! Stamps: which of two writes to a block is the newer one.
//!
//! Why: copies are compared, repaired and re-sent by stamp, never by time.
//! Holds:
//!   S1 a stamp is (generation: 24 bits, sequence: 40 bits), compared as one number;
//!   S2 the zero stamp is "never written" and older than every other.

use std::fmt;

/// How often a VDI was attached; each attachment has a larger one (24 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

impl Generation {
    /// Largest generation a stamp can carry.
    pub const MAX: u32 = (1 << 24) - 1;
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Order of one write among all writes to a VDI.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// Never written.
    pub const NONE: Self = Self(0);
    /// Largest sequence number of one generation; the owner re-attaches before it runs out.
    pub const SEQUENCE_MAX: u64 = (1 << 40) - 1;

    /// Stamp of write number `sequence` of an attachment.
    ///
    /// # Panics
    /// If either number does not fit: the order of writes would be lost.
    #[must_use]
    pub const fn new(generation: Generation, sequence: u64) -> Self {
        assert!(generation.0 <= Generation::MAX, "generation does not fit a stamp");
        assert!(sequence <= Self::SEQUENCE_MAX, "sequence does not fit a stamp");
        Self(((generation.0 as u64) << 40) | sequence)
    }

    /// From the wire or a disk; every value is a stamp.
    #[must_use]
    pub const fn from_wire(value: u64) -> Self {
        Self(value)
    }

    /// The number as it stands on the wire.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Which attachment wrote.
    #[must_use]
    pub const fn generation(self) -> Generation {
        Generation((self.0 >> 40) as u32)
    }

    /// Number of the write inside its attachment.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0 & Self::SEQUENCE_MAX
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.generation(), self.sequence())
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
#[path = "stamp/tests.rs"]
mod tests;
