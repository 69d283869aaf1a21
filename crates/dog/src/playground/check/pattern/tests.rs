use super::*;

const TAG: Tag = Tag { face: 2, block: 77, sequence: 5 };

fn block(tag: Tag) -> Vec<u8> {
    let mut bytes = vec![0xee; BLOCK_BYTES];
    fill(tag, &mut bytes);
    bytes
}

#[test]
fn another_write_place_or_disk_is_never_taken_for_right() {
    assert!(is(TAG, &block(TAG)));
    for other in [
        Tag { face: 1, ..TAG },
        Tag { block: 78, ..TAG },
        Tag { sequence: 4, ..TAG },
        Tag { sequence: 0, ..TAG },
    ] {
        assert!(!is(TAG, &block(other)) && !is(other, &block(TAG)), "{other:?}");
    }
    for byte in 0..BLOCK_BYTES {
        let mut bytes = block(TAG);
        bytes[byte] ^= 1;
        assert!(!is(TAG, &bytes), "B1: byte {byte}");
    }
}

#[test]
fn halves_of_two_writes_are_no_write() {
    let mut bytes = block(TAG);
    bytes[2048..].copy_from_slice(&block(Tag { sequence: 6, ..TAG })[2048..]);
    assert!(!is(TAG, &bytes) && !is(Tag { sequence: 6, ..TAG }, &bytes));
    assert_eq!(describe(&bytes), "write 5 of block 77 of disk 2, torn or damaged");
}

#[test]
fn a_wrong_block_is_described() {
    assert_eq!(describe(&block(TAG)), "write 5 of block 77 of disk 2");
    assert_eq!(describe(&[0; BLOCK_BYTES]), "zeros");
    assert_eq!(describe(&[1; BLOCK_BYTES]), "bytes that no client wrote");
    assert_eq!(describe(&[]), "zeros");
}
