//! Opcodes and flags of requests.

use std::fmt;

wire_names! {
    /// What a client asks for. Numbers from 0x80 on were internal to the first Sheepdog.
    Opcode(u8) {
        /// Writes into an object, which need not exist.
        CreateAndWriteObject = 0x01 "CREATE_AND_WRITE_OBJ",
        /// Reads a range of an object.
        ReadObject = 0x02 "READ_OBJ",
        /// Writes into an object that exists.
        WriteObject = 0x03 "WRITE_OBJ",
        /// Deletes an object behind the map's back.
        RemoveObject = 0x04 "REMOVE_OBJ",
        /// Deletes an object and its map entry.
        DiscardObject = 0x05 "DISCARD_OBJ",
        /// Makes a VDI, a snapshot or a clone.
        NewVdi = 0x11 "NEW_VDI",
        /// Finds and locks a VDI.
        LockVdi = 0x12 "LOCK_VDI",
        /// Ends a lock.
        ReleaseVdi = 0x13 "RELEASE_VDI",
        /// Finds a VDI.
        GetVdiInfo = 0x14 "GET_VDI_INFO",
        /// Bitmap of used vids.
        ReadVdis = 0x15 "READ_VDIS",
        /// Makes writes durable.
        FlushVdi = 0x16 "FLUSH_VDI",
        /// Deletes a VDI or a snapshot.
        DeleteVdi = 0x17 "DEL_VDI",
        /// Copies and object size of new VDIs.
        GetClusterDefault = 0x18 "GET_CLUSTER_DEFAULT",
    }
}

impl Opcode {
    /// The request names an object (its header has the object layout).
    #[must_use]
    pub const fn is_object(self) -> bool {
        matches!(
            self,
            Self::CreateAndWriteObject
                | Self::ReadObject
                | Self::WriteObject
                | Self::RemoveObject
                | Self::DiscardObject
                | Self::FlushVdi
        )
    }

    /// The request changes what an object holds.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(
            self,
            Self::CreateAndWriteObject
                | Self::WriteObject
                | Self::RemoveObject
                | Self::DiscardObject
        )
    }
}

/// The first number of the internal opcodes.
pub const INTERNAL_OPCODE_MIN: u8 = 0x80;

/// Bits of a request. Only `WRITE` changes framing; no other is ever trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// Request payload follows.
    pub const WRITE: Self = Self(0x01);
    /// A new object begins as a copy of another.
    pub const COW: Self = Self(0x02);
    /// The client tolerates write-back and will flush.
    pub const CACHE: Self = Self(0x04);
    /// No flush will come.
    pub const DIRECT: Self = Self(0x08);
    /// The reply carries data though the request did.
    pub const PIGGYBACK: Self = Self(0x10);
    /// The client is an iSCSI target that may share the VDI.
    pub const TGT: Self = Self(0x20);
    /// Forwarded between gateways of the first Sheepdog.
    pub const FORWARD: Self = Self(0x40);
    /// Recovery of the first Sheepdog.
    pub const RECOVERY: Self = Self(0x80);

    /// The names, by bit from the lowest.
    pub const NAMES: [&'static str; 8] =
        ["W", "COW", "CACHE", "DIRECT", "PIGGYBACK", "TGT", "FWD", "RECOVERY"];

    /// All bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut plus = "";
        for (bit, name) in Self::NAMES.iter().enumerate() {
            if rest & (1 << bit) != 0 {
                rest &= !(1 << bit);
                write!(f, "{plus}{name}")?;
                plus = "+";
            }
        }
        if rest != 0 || plus.is_empty() { write!(f, "{plus}{rest:#x}") } else { Ok(()) }
    }
}
