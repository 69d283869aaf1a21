//! The client protocol of the first Sheepdog: what QEMU's old driver and tgt speak.
//!
//! Why: existing clients reach their disks without being changed.
//! Way: a face reads 48 bytes into a [`RequestHeader`], asks [`RequestHeader::check_length`]
//!      before it reads a payload, turns both into a [`Request`], and answers with
//!      [`Response::emit`]; [`inode`] makes the bytes of a VDI's header; [`capture`] replays what
//!      was recorded between real clients and the first Sheepdog.
//! Holds:
//!   L1 no bytes make decoding panic or allocate by a claimed length;
//!   L2 legacy names of opcodes, flags and result codes stand in this module and nowhere else.
//! Not here: sockets and meaning (attach::legacy), internal opcodes of the first Sheepdog.

/// An enum of wire numbers with the names the first Sheepdog gave them.
macro_rules! wire_names {
    ($(#[$doc:meta])* $name:ident($int:ty) {
        $($(#[$variant_doc:meta])* $variant:ident = $value:literal $legacy:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr($int)]
        pub enum $name { $($(#[$variant_doc])* $variant = $value,)* }

        impl $name {
            /// All, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// `None` for a number without a meaning here.
            #[must_use]
            pub const fn from_wire(value: $int) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)* _ => None }
            }

            /// The number as it stands on the wire.
            #[must_use]
            pub const fn get(self) -> $int {
                self as $int
            }

            /// What the first Sheepdog called it.
            #[must_use]
            pub const fn legacy_name(self) -> &'static str {
                match self { $(Self::$variant => $legacy,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.legacy_name())
            }
        }
    };
}

pub mod capture;
pub mod code;
pub mod header;
pub mod inode;
pub mod opcode;
pub mod request;
pub mod response;

pub use code::ResultCode;
pub use header::{HEADER_BYTES, RequestHeader, ResponseHeader};
pub use opcode::{Flags, Opcode};
pub use request::Request;
pub use response::Response;

/// Longest payload of an object request or reply: the largest object.
pub const OBJECT_BYTES_MAX: u32 = 64 << 20;
/// Longest payload of any other request; the longest that clients send is 512.
pub const PAYLOAD_BYTES_MAX: u32 = 4096;
/// Bytes of a name or tag field: at most 255 and a zero.
pub const NAME_FIELD_BYTES: usize = 256;
/// Bytes of the bitmap of used vids: one bit for each of 2^24.
pub const VID_BITMAP_BYTES: u32 = 1 << 21;

#[cfg(test)]
mod tests;
