use super::*;

fn disk(ledger: &Ledger) -> Vec<u8> {
    vec![0; ledger.block_count() * BLOCK_BYTES]
}

fn put(disk: &mut [u8], first: usize, bytes: &[u8]) {
    disk[first * BLOCK_BYTES..][..bytes.len()].copy_from_slice(bytes);
}

#[test]
fn what_was_acknowledged_must_be_there() {
    let mut ledger = Ledger::new(5, 8 * BLOCK_BYTES as u64);
    let mut image = disk(&ledger);
    let (sequence, bytes) = ledger.begin(2, 2, false);
    assert_eq!(ledger.check(0, &image, u64::MAX).unwrap(), Looked { blocks: 8, old: 2, new: 0 });
    ledger.end(sequence, 2, 2);
    assert!(ledger.check(0, &image, u64::MAX).is_err());
    put(&mut image, 2, &bytes);
    assert_eq!(ledger.check(0, &image, u64::MAX).unwrap().blocks, 8);
    image[2 * BLOCK_BYTES + 700] ^= 1;
    assert!(ledger.check(0, &image, u64::MAX).is_err());
}

#[test]
fn contents_of_other_blocks_and_disks_are_foreign() {
    let mut ledger = Ledger::new(5, 8 * BLOCK_BYTES as u64);
    let mut other = Ledger::new(6, 8 * BLOCK_BYTES as u64);
    let (sequence, bytes) = ledger.begin(0, 2, false);
    let (_, foreign) = other.begin(0, 2, false);
    ledger.end(sequence, 0, 2);
    let mut image = disk(&ledger);
    put(&mut image, 0, &foreign);
    assert!(ledger.check(0, &image, u64::MAX).is_err());
    put(&mut image, 0, &bytes[BLOCK_BYTES..]);
    put(&mut image, 1, &bytes[..BLOCK_BYTES]);
    assert!(ledger.check(0, &image, u64::MAX).is_err());
}

#[test]
fn the_past_can_be_checked() {
    let mut ledger = Ledger::new(5, BLOCK_BYTES as u64).keeping_all();
    let mut image = disk(&ledger);
    let begun = recorder::now();
    let (first, old) = ledger.begin(0, 1, false);
    ledger.end(first, 0, 1);
    let (second, _) = ledger.begin(0, 1, true);
    ledger.end(second, 0, 1);
    let zeros = image.clone();
    put(&mut image, 0, &old);
    assert!(ledger.was_acknowledged_between(begun, u64::MAX));
    assert!(ledger.check(0, &image, begun).is_ok());
    assert!(ledger.check(0, &image, u64::MAX).is_err());
    assert!(ledger.check(0, &zeros, u64::MAX).is_ok());
}

#[test]
fn a_look_settles_what_was_in_doubt() {
    let mut ledger = Ledger::new(5, BLOCK_BYTES as u64);
    let zeros = disk(&ledger);
    let (_, bytes) = ledger.begin(0, 1, false);
    assert_eq!(ledger.settle(&bytes).unwrap(), Looked { blocks: 1, old: 0, new: 1 });
    assert!(ledger.check(0, &zeros, u64::MAX).is_err(), "seen once, it stays");
    let _ = ledger.begin(0, 1, true);
    assert_eq!(ledger.settle(&bytes).unwrap(), Looked { blocks: 1, old: 1, new: 0 });
    assert!(ledger.check(0, &zeros, u64::MAX).is_err(), "not seen, it is forgotten");
}
