//! Ids: what each number names, so that two of them are never confused.
//!
//! Holds:
//!   I1 an [`Oid`] has the first Sheepdog's layout: kind in bits 59-63, vid in bits 32-55,
//!      object index in bits 0-31 (bits 56-58 are zero);
//!   I2 a [`Vid`] is 1 ..= 0xff_ffff; zero means "none" on the legacy wire and is no `Vid`.

use std::fmt;

/// Id of one VDI: 24 bits, never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vid(u32);

impl Vid {
    /// Largest vid.
    pub const MAX: u32 = 0xff_ffff;

    /// `None` for zero and for more than 24 bits.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value == 0 || value > Self::MAX { None } else { Some(Self(value)) }
    }

    /// The number as it stands on the wire.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Where the search for a free vid for `name` begins: FNV-1a of the name, modulo 2^24,
    /// zero replaced by one. Clients of the first Sheepdog compute the same number.
    #[must_use]
    pub fn hash_of_name(name: &[u8]) -> Self {
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let start = (hash & 0xff_ffff) as u32;
        Self(start.max(1))
    }

    /// The vid to try after this one; wraps from the largest to 1.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 == Self::MAX { Self(1) } else { Self(self.0 + 1) }
    }
}

impl fmt::Debug for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

impl fmt::Display for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// What an object is, from the kind bits of its oid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A stripe of a VDI's data.
    Data,
    /// The VDI's map (legacy: its inode). Index n covers entries n * 2^20 ..
    Map,
    /// Saved memory of a VM.
    VmState,
    /// An attribute of a VDI.
    Attribute,
    /// Kinds that this Sheepdog does not keep (b-tree nodes, ledgers).
    Foreign,
}

/// Id of one object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(u64);

impl Oid {
    const KIND_SHIFT: u32 = 59;
    const MAP: u64 = 1 << 63;
    const VM_STATE: u64 = 1 << 62;

    /// An oid read from outside. `None` if reserved bits are set or the vid is zero.
    #[must_use]
    pub const fn from_wire(value: u64) -> Option<Self> {
        let reserved = (value >> 56) & 0b111;
        let vid = (value >> 32) & 0xff_ffff;
        if reserved != 0 || vid == 0 { None } else { Some(Self(value)) }
    }

    /// Data object `index` of `vid`.
    #[must_use]
    pub const fn data(vid: Vid, index: u32) -> Self {
        Self(((vid.get() as u64) << 32) | index as u64)
    }

    /// Map object `index` of `vid`.
    #[must_use]
    pub const fn map(vid: Vid, index: u32) -> Self {
        Self(Self::MAP | ((vid.get() as u64) << 32) | index as u64)
    }

    /// VM state object `index` of `vid`.
    #[must_use]
    pub const fn vm_state(vid: Vid, index: u32) -> Self {
        Self(Self::VM_STATE | ((vid.get() as u64) << 32) | index as u64)
    }

    /// The number as it stands on the wire.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The VDI the object belongs to.
    #[must_use]
    pub const fn vid(self) -> Vid {
        Vid(((self.0 >> 32) & 0xff_ffff) as u32)
    }

    /// Object number inside its kind.
    #[must_use]
    pub const fn index(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// What the object is.
    #[must_use]
    pub const fn kind(self) -> ObjectKind {
        match self.0 >> Self::KIND_SHIFT {
            0 => ObjectKind::Data,
            0b1_0000 => ObjectKind::Map,
            0b0_1000 => ObjectKind::VmState,
            0b0_0100 => ObjectKind::Attribute,
            _ => ObjectKind::Foreign,
        }
    }

    /// The placement partition, out of 2^`bits`: the top bits of a fixed mix of the oid, so
    /// that doubling the number of partitions splits each one in two. Never change the mix.
    #[must_use]
    pub const fn partition(self, bits: u8) -> Partition {
        if bits == 0 {
            return Partition(0);
        }
        Partition((mix64(self.0) >> (64 - bits as u32)) as u16)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The finalizer of `SplitMix64`: a fixed bijection that spreads neighbouring numbers.
#[must_use]
pub const fn mix64(value: u64) -> u64 {
    let a = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A sheep, as numbered by the coordination log at its first join.
    NodeId(u16)
);
number!(
    /// One life of a sheep process: the index of the log entry by which it joined.
    Incarnation(u64)
);
number!(
    /// Position in the coordination log; the first entry has index 1.
    LogIndex(u64)
);
number!(
    /// View of a placement group: the log index of the last change to its record.
    View(u64)
);
number!(
    /// Fixed slice of the hash space.
    Partition(u16)
);
number!(
    /// Redundancy class (a numbered, logged policy).
    PolicyId(u8)
);

/// Placement group: the unit in which copies are placed and in-sync sets are agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgId {
    /// Redundancy class.
    pub policy: PolicyId,
    /// Slice of the hash space.
    pub partition: Partition,
}

impl fmt::Display for PgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.policy.0, self.partition.0)
    }
}

#[cfg(test)]
#[path = "id/tests.rs"]
mod tests;
