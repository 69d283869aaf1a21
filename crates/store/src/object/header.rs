//! Header of an object file: which object it is, its base, its view.

use std::fmt;

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::WireError;
use sheepdog_proto::{Oid, Stamp, View};

use super::shape::Shape;
use crate::layout::{Field, fills};

/// Bytes of the header: one sector.
pub(crate) const HEADER_BYTES: usize = 512;
/// First bytes of every object file.
pub(crate) const MAGIC: [u8; 8] = *b"SDOBJECT";
/// The version that this code writes and reads.
pub(crate) const VERSION: u16 = 1;

/// Offsets of the header's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const MAGIC: Field = Field::first("magic", 8);
    pub(crate) const VERSION: Field = MAGIC.then("version", 2);
    pub(crate) const SHIFT: Field = VERSION.then("object shift", 1);
    pub(crate) const ZERO: Field = SHIFT.then("zero", 5);
    pub(crate) const OID: Field = ZERO.then("oid", 8);
    pub(crate) const BASE: Field = OID.then("base stamp", 8);
    pub(crate) const MODIFIED: Field = BASE.then("modified view", 8);
    pub(crate) const RESERVED: Field = MODIFIED.then("reserved", 468);
    pub(crate) const CHECKSUM: Field = RESERVED.then("checksum", 4);
}

/// All fields of the header, in order.
pub(crate) const FIELDS: [Field; 9] = [
    field::MAGIC,
    field::VERSION,
    field::SHIFT,
    field::ZERO,
    field::OID,
    field::BASE,
    field::MODIFIED,
    field::RESERVED,
    field::CHECKSUM,
];
const _: () = assert!(fills(&FIELDS, HEADER_BYTES));

/// A verified header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) oid: Oid,
    pub(crate) shape: Shape,
    /// Every block older than this is gone.
    pub(crate) base: Stamp,
    /// View of the last change, or of a duplicate that came later.
    pub(crate) modified: View,
}

/// Bytes from the disk that may be anything.
pub(crate) struct RawHeader<'a>(pub(crate) &'a [u8; HEADER_BYTES]);

impl RawHeader<'_> {
    /// Whether nothing was ever written here.
    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// The header, if it is whole and that of `oid` (O2).
    pub(crate) fn verify(&self, oid: Oid) -> Result<Header, WireError> {
        let bytes = self.0;
        if *field::MAGIC.of(bytes) != MAGIC {
            return Err(WireError::Invalid("magic of an object file"));
        }
        let version: u16 = field::VERSION.get(bytes);
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        if field::CHECKSUM.get::<4, u32>(bytes) != checksum(&bytes[..field::CHECKSUM.offset]) {
            return Err(WireError::Checksum("object header"));
        }
        if !field::ZERO.is_zero(bytes) || !field::RESERVED.is_zero(bytes) {
            return Err(WireError::Invalid("reserved bytes of an object header"));
        }
        if field::OID.get::<8, u64>(bytes) != oid.get() {
            return Err(WireError::Invalid("object header: it is that of another object"));
        }
        let shape =
            Shape::new(field::SHIFT.get(bytes)).ok_or(WireError::Invalid("object shift"))?;
        let base = Stamp::from_wire(field::BASE.get(bytes));
        Ok(Header { oid, shape, base, modified: View(field::MODIFIED.get(bytes)) })
    }
}

impl Header {
    /// The sector as it is written.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        field::MAGIC.set(&mut bytes, &MAGIC);
        field::VERSION.put(&mut bytes, VERSION);
        field::SHIFT.put(&mut bytes, self.shape.shift());
        field::OID.put(&mut bytes, self.oid.get());
        field::BASE.put(&mut bytes, self.base.get());
        field::MODIFIED.put(&mut bytes, self.modified.0);
        let sum = checksum(&bytes[..field::CHECKSUM.offset]);
        field::CHECKSUM.put(&mut bytes, sum);
        bytes
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { oid, shape, base, modified } = self;
        write!(f, "object {oid} 2^{} bytes base {base} modified in view {modified}", shape.shift())
    }
}

#[cfg(test)]
#[path = "header/tests.rs"]
mod tests;
