use super::*;
use crate::layout::documented;

const SUPERBLOCK: DiskSuperblock = DiskSuperblock {
    counter: 3,
    disk: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
    node: 0x8899_aabb_ccdd_eeff_0011_2233_4455_6677,
};

#[test]
fn no_flipped_bit_is_taken_for_a_superblock() {
    let bytes = SUPERBLOCK.encode();
    assert_eq!(DiskSuperblock::verify(&bytes), Ok(SUPERBLOCK));
    for bit in 0..COPY_BYTES * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(DiskSuperblock::verify(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn the_golden_superblock_is_read_and_written() {
    let golden = include_bytes!("../../../golden/v1/disk.bin");
    assert_eq!(SUPERBLOCK.encode(), golden, "the format has changed: make it a new version");
    assert_eq!(DiskSuperblock::verify(golden), Ok(SUPERBLOCK));
}

#[test]
fn the_document_shows_the_fields_of_the_code() {
    documented("disks", "Superblock of a disk", &FIELDS);
}
