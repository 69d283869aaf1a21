use std::collections::BTreeSet;

use super::*;

#[test]
fn blocks_name_their_place_and_no_other() {
    let mut bytes = vec![0; 3 * BLOCK_BYTES];
    Payload::new(7).fill(&mut bytes, 40_960);
    assert_eq!(check(&bytes, 40_960), Ok(())); // P2
    assert_eq!(check(&bytes, 0), Err(WrongBlock { offset: 0 }));
    bytes[BLOCK_BYTES] ^= 1;
    assert_eq!(check(&bytes, 40_960), Err(WrongBlock { offset: 40_960 + 4096 }));
}

#[test]
fn zeros_and_half_blocks_are_wrong() {
    assert_eq!(check(&[0; BLOCK_BYTES], 8192), Err(WrongBlock { offset: 8192 }));
    let mut bytes = vec![0; BLOCK_BYTES];
    Payload::new(1).fill(&mut bytes, 0);
    assert_eq!(check(&bytes[..100], 0), Err(WrongBlock { offset: 0 }));
}

#[test]
fn no_two_blocks_are_equal() {
    let mut blocks = BTreeSet::new();
    for seed in 0..4 {
        let mut payload = Payload::new(seed);
        for _ in 0..200 {
            let mut block = vec![0; BLOCK_BYTES];
            payload.fill(&mut block, 0);
            assert!(blocks.insert(block)); // P1
        }
    }
}
