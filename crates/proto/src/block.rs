//! The block: 4 KiB, the unit of atomicity, stamping and checksums.

use crate::Oid;

/// Bytes of one block.
pub const BLOCK_BYTES: usize = 4096;

/// CRC-32C of a block's bytes, seeded with where the block belongs, so that a block that was
/// delivered or stored in the wrong place fails its check as a flipped bit does (CRC-E2E).
#[must_use]
pub fn block_checksum(oid: Oid, block: u32, bytes: &[u8]) -> u32 {
    let mut place = [0_u8; 12];
    place[..8].copy_from_slice(&oid.get().to_le_bytes());
    place[8..].copy_from_slice(&block.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), bytes)
}

/// CRC-32C of plain bytes (headers, records).
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The checksum of some bytes behind others whose checksum is `before`.
#[must_use]
pub fn checksum_append(before: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(before, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vid;

    #[test]
    fn the_same_bytes_elsewhere_have_another_checksum() {
        let vid = Vid::new(1).unwrap();
        let bytes = [7_u8; BLOCK_BYTES];
        let here = block_checksum(Oid::data(vid, 0), 0, &bytes);
        assert_ne!(here, block_checksum(Oid::data(vid, 0), 1, &bytes));
        assert_ne!(here, block_checksum(Oid::data(vid, 1), 0, &bytes));
    }

    #[test]
    fn plain_checksum_is_crc32c() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }
}
