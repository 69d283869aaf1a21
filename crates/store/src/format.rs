//! Formats: every byte of a store's files, one module for each kind of file.
//!
//! Why: encoder, decoder and the tables of `docs/formats` name the same fields.
//! Holds:
//!   FM1 bytes from a disk have a `Raw` type or are plain slices; only `verify` makes the type
//!       that the rest of the store uses;
//!   FM2 every checksum but the superblock's is salted with the store's own random number, so
//!       that neither a guest's data nor another store's pages pass for this store's;
//!   FM3 the salted checksum of a page covers its number, so that a page that was written to
//!       the wrong place, or read from it, fails.

pub(crate) mod checkpoint;
pub(crate) mod index_page;
pub(crate) mod meta_page;
pub(crate) mod page;
pub(crate) mod superblock;

use sheepdog_proto::block::checksum;

use crate::layout::Field;

/// CRC-32C of `bytes` with the checksum's own field taken as zeros, salted (FM2).
pub(crate) fn salted_checksum(salt: u64, bytes: &[u8], own: Field) -> u32 {
    let mut sum = checksum(&salt.to_le_bytes());
    for part in [&bytes[..own.offset], &[0_u8; 4], &bytes[own.end()..]] {
        sum = sheepdog_proto::block::checksum_append(sum, part);
    }
    sum
}
