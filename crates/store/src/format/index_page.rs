//! Index pages: which objects there are, where their blocks lie, and the versions of their
//! metadata pages.
//!
//! Holds:
//!   IX1 a slot describes one fragment (4 MiB) of an object; what belongs to the whole object
//!       stands in each of its slots;
//!   IX2 a slot of zeros is free.

use sheepdog_proto::wire::WireError;
use sheepdog_proto::{Oid, Stamp, View};

use super::page::{self, Kind, PAGE_BYTES, PageHeader};
use crate::layout::{Field, fills};
use crate::shape::{FRAGMENT_PAGES, FRAGMENT_UNITS, PAGE_BLOCKS, Shape};

/// Bytes of a slot.
pub(crate) const SLOT_BYTES: usize = 128;
/// Slots of a page.
pub(crate) const PAGE_SLOTS: u32 = ((PAGE_BYTES - page::HEADER_BYTES) / SLOT_BYTES) as u32;

/// Offsets of a slot's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const OID: Field = Field::first("oid", 8);
    pub(crate) const BASE: Field = OID.then("base", 8);
    pub(crate) const NEWEST: Field = BASE.then("newest", 8);
    pub(crate) const MODIFIED: Field = NEWEST.then("modified", 8);
    pub(crate) const FRAGMENT: Field = MODIFIED.then("fragment", 2);
    pub(crate) const SHIFT: Field = FRAGMENT.then("shift", 1);
    pub(crate) const RESERVED: Field = SHIFT.then("reserved", 5);
    pub(crate) const UNITS: Field = RESERVED.then("units", 64);
    pub(crate) const VERSIONS: Field = UNITS.then("versions", 16);
    pub(crate) const PRESENT: Field = VERSIONS.then("present", 8);
}

/// All fields of a slot, in order.
pub(crate) const FIELDS: [Field; 10] = [
    field::OID,
    field::BASE,
    field::NEWEST,
    field::MODIFIED,
    field::FRAGMENT,
    field::SHIFT,
    field::RESERVED,
    field::UNITS,
    field::VERSIONS,
    field::PRESENT,
];
const _: () = assert!(fills(&FIELDS, SLOT_BYTES));

/// One slot in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) oid: Oid,
    pub(crate) shape: Shape,
    pub(crate) base: Stamp,
    /// No block of the object has a newer stamp.
    pub(crate) newest: Stamp,
    pub(crate) modified: View,
    /// Which fragment of the object.
    pub(crate) fragment: u16,
    /// Units where its blocks lie, each plus one; zero for none.
    pub(crate) units: [u32; FRAGMENT_UNITS],
    /// Versions of its metadata pages; zero for a page that does not exist.
    pub(crate) versions: [u32; FRAGMENT_PAGES],
    /// Blocks of each page that are data or hole.
    pub(crate) present: [u16; FRAGMENT_PAGES],
}

/// Which page it is.
pub(crate) const fn header(number: u32, version: u32) -> PageHeader {
    PageHeader { kind: Kind::Index, version, number: number as u64, owner: 0, part: 0 }
}

/// A page as it is written.
pub(crate) fn encode(header: &PageHeader, salt: u64, slots: &[Option<Slot>]) -> [u8; PAGE_BYTES] {
    let mut bytes = [0; PAGE_BYTES];
    let body = &mut bytes[page::HEADER_BYTES..];
    for (place, slot) in body.chunks_exact_mut(SLOT_BYTES).zip(slots) {
        if let Some(slot) = slot {
            slot.encode(place);
        }
    }
    header.seal(salt, &mut bytes);
    bytes
}

/// The slots of a page whose header was verified.
pub(crate) fn decode(page: &[u8; PAGE_BYTES]) -> Result<Vec<Option<Slot>>, WireError> {
    let slots = page[page::HEADER_BYTES..].chunks_exact(SLOT_BYTES);
    if slots.remainder().iter().any(|byte| *byte != 0) {
        return Err(WireError::Invalid("reserved bytes of an index page"));
    }
    slots.map(Slot::decode).collect()
}

/// One slot of a page whose header may be bad: whoever asks has another proof of it.
pub(crate) fn decode_unverified(
    page: &[u8; PAGE_BYTES],
    place: u32,
) -> Result<Option<Slot>, WireError> {
    let start = page::HEADER_BYTES + place as usize * SLOT_BYTES;
    Slot::decode(page.get(start..start + SLOT_BYTES).ok_or(WireError::Short)?)
}

impl Slot {
    fn encode(&self, place: &mut [u8]) {
        field::OID.put(place, self.oid.get());
        field::BASE.put(place, self.base.get());
        field::NEWEST.put(place, self.newest.get());
        field::MODIFIED.put(place, self.modified.0);
        field::FRAGMENT.put(place, self.fragment);
        field::SHIFT.put(place, self.shape.shift());
        put_all(field::UNITS, place, &self.units);
        put_all(field::VERSIONS, place, &self.versions);
        put_all(field::PRESENT, place, &self.present);
    }

    fn decode(place: &[u8]) -> Result<Option<Self>, WireError> {
        if place.iter().all(|byte| *byte == 0) {
            return Ok(None); // IX2
        }
        let invalid = WireError::Invalid("slot of the index");
        let shape = Shape::new(field::SHIFT.get(place)).ok_or(invalid)?;
        let slot = Self {
            oid: Oid::from_wire(field::OID.get(place)).ok_or(invalid)?,
            shape,
            base: Stamp::from_wire(field::BASE.get(place)),
            newest: Stamp::from_wire(field::NEWEST.get(place)),
            modified: View(field::MODIFIED.get(place)),
            fragment: field::FRAGMENT.get(place),
            units: get_all(field::UNITS, place),
            versions: get_all(field::VERSIONS, place),
            present: get_all(field::PRESENT, place),
        };
        let fits = u32::from(slot.fragment) < shape.fragments()
            && slot.present.iter().all(|count| u32::from(*count) <= PAGE_BLOCKS)
            && field::RESERVED.is_zero(place);
        if fits { Ok(Some(slot)) } else { Err(invalid) }
    }
}

fn put_all<const N: usize, const COUNT: usize, T: crate::layout::Number<N> + Copy>(
    field: Field,
    place: &mut [u8],
    numbers: &[T; COUNT],
) {
    for (bytes, number) in field.of_mut(place).chunks_exact_mut(N).zip(numbers) {
        bytes.copy_from_slice(&number.to_bytes());
    }
}

fn get_all<const N: usize, const COUNT: usize, T: crate::layout::Number<N> + Copy + Default>(
    field: Field,
    place: &[u8],
) -> [T; COUNT] {
    let mut numbers = [T::default(); COUNT];
    let (parts, _) = field.of(place).as_chunks::<N>();
    for (number, bytes) in numbers.iter_mut().zip(parts) {
        *number = T::from_bytes(*bytes);
    }
    numbers
}

#[cfg(test)]
#[path = "index_page/tests.rs"]
mod tests;
