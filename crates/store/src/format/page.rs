//! Pages: 4 KiB that are written whole, each in two copies that take turns.
//!
//! Way: a checkpoint writes a page to the copy that the checkpoint before does not use, with
//!      its own number as version; whoever reads it knows which version it wants.
//! Holds:
//!   PG1 a page counts only in exactly the version that the level above names: the checkpoint
//!       names those of index pages, an index entry those of its metadata pages. So a torn, lost
//!       or misdirected write is noticed, and what an unfinished checkpoint wrote is ignored.

use sheepdog_proto::wire::WireError;

use super::salted_checksum;
use crate::layout::{Field, fills};

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Bytes of a page's header.
pub(crate) const HEADER_BYTES: usize = 64;
/// First bytes of every page.
pub(crate) const MAGIC: [u8; 4] = *b"SDPG";

/// Offsets of a page header's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const MAGIC: Field = Field::first("magic", 4);
    pub(crate) const KIND: Field = MAGIC.then("kind", 1);
    pub(crate) const ZERO: Field = KIND.then("zero", 3);
    pub(crate) const CHECKSUM: Field = ZERO.then("checksum", 4);
    pub(crate) const VERSION: Field = CHECKSUM.then("version", 4);
    pub(crate) const NUMBER: Field = VERSION.then("number", 8);
    pub(crate) const OWNER: Field = NUMBER.then("owner", 8);
    pub(crate) const PART: Field = OWNER.then("part", 4);
    pub(crate) const RESERVED: Field = PART.then("reserved", 28);
}

/// All fields of a page header, in order.
pub(crate) const FIELDS: [Field; 9] = [
    field::MAGIC,
    field::KIND,
    field::ZERO,
    field::CHECKSUM,
    field::VERSION,
    field::NUMBER,
    field::OWNER,
    field::PART,
    field::RESERVED,
];
const _: () = assert!(fills(&FIELDS, HEADER_BYTES));

/// What a page describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The blocks of 1 MiB of an object.
    Meta = 1,
    /// Slots of the index.
    Index = 2,
}

/// Where a page belongs, and which of its versions it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageHeader {
    pub(crate) kind: Kind,
    /// Segment with which the checkpoint began that wrote it.
    pub(crate) version: u32,
    /// Its place in the file, counted in pages without their second copies.
    pub(crate) number: u64,
    /// The object; zero for an index page.
    pub(crate) owner: u64,
    /// Which metadata page of the object; zero for an index page.
    pub(crate) part: u32,
}

impl PageHeader {
    /// Completes a page whose body is already there.
    pub(crate) fn seal(&self, salt: u64, page: &mut [u8; PAGE_BYTES]) {
        field::MAGIC.set(page, &MAGIC);
        field::KIND.put(page, self.kind as u8);
        field::VERSION.put(page, self.version);
        field::NUMBER.put(page, self.number);
        field::OWNER.put(page, self.owner);
        field::PART.put(page, self.part);
        let sum = salted_checksum(salt, page, field::CHECKSUM);
        field::CHECKSUM.put(page, sum);
    }

    /// Whether a page from the disk is exactly this one (PG1).
    pub(crate) fn verify(&self, salt: u64, page: &[u8; PAGE_BYTES]) -> Result<(), WireError> {
        if *field::MAGIC.of(page) != MAGIC {
            return Err(WireError::Invalid("magic of a page"));
        }
        let sum: u32 = field::CHECKSUM.get(page);
        if sum != salted_checksum(salt, page, field::CHECKSUM) {
            return Err(WireError::Checksum("page"));
        }
        let is_same = field::KIND.get::<1, u8>(page) == self.kind as u8
            && field::NUMBER.get::<8, u64>(page) == self.number
            && field::OWNER.get::<8, u64>(page) == self.owner
            && field::PART.get::<4, u32>(page) == self.part;
        if !is_same {
            return Err(WireError::Invalid("place of a page"));
        }
        if field::VERSION.get::<4, u32>(page) != self.version {
            return Err(WireError::Invalid("version of a page"));
        }
        if !field::ZERO.is_zero(page) || !field::RESERVED.is_zero(page) {
            return Err(WireError::Invalid("reserved bytes of a page"));
        }
        Ok(())
    }
}

/// Where a copy of a page is in its file, in bytes: the two copies are neighbours.
pub(crate) const fn copy_offset(number: u64, copy: u8) -> u64 {
    (number * 2 + copy as u64) * PAGE_BYTES as u64
}

/// The copy that is the wanted version, out of both as they stand on the disk; if there is
/// none, what is wrong with each.
pub(crate) fn choose_copy<'a>(
    header: &PageHeader,
    salt: u64,
    both: &'a [u8],
) -> Result<(u8, &'a [u8; PAGE_BYTES]), [WireError; 2]> {
    let (copies, _) = both.as_chunks::<PAGE_BYTES>();
    let mut errors = [WireError::Short; 2];
    for (number, copy) in (0_u8..2).zip(copies) {
        match header.verify(salt, copy) {
            Ok(()) => return Ok((number, copy)),
            Err(error) => errors[usize::from(number)] = error,
        }
    }
    Err(errors)
}

#[cfg(test)]
#[path = "page/tests.rs"]
mod tests;
