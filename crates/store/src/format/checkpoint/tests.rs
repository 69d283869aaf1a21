use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SALT: u64 = 0x5a17;

fn checkpoint() -> Checkpoint {
    Checkpoint { segment: 12, versions: vec![3, 0, 12, u32::MAX] }
}

/// A checkpoint whose header was changed by somebody who knows the salt.
fn changed(change: impl FnOnce(&mut [u8])) -> Result<Checkpoint, WireError> {
    let mut bytes = checkpoint().encode(SALT);
    change(&mut bytes);
    let sum = salted_checksum(SALT, &bytes[..HEADER_BYTES], field::CHECKSUM);
    field::CHECKSUM.put(&mut bytes, sum);
    Checkpoint::verify(SALT, &bytes)
}

#[test]
fn what_is_encoded_is_verified() {
    for versions in [Vec::new(), checkpoint().versions, vec![1; 1008], vec![1; 1009]] {
        let checkpoint = Checkpoint { segment: 1, versions };
        let bytes = checkpoint.encode(SALT);
        assert_eq!(bytes.len() % 4096, 0);
        assert_eq!(Checkpoint::verify(SALT, &bytes), Ok(checkpoint));
    }
    // A longer file than it needs is left over from nothing that counts.
    let mut longer = checkpoint().encode(SALT);
    longer.extend([0; 4096]);
    assert_eq!(Checkpoint::verify(SALT, &longer), Ok(checkpoint()));
}

#[test]
fn no_flipped_bit_is_taken_for_a_checkpoint() {
    let bytes = checkpoint().encode(SALT);
    for bit in 0..(HEADER_BYTES + 4 * 4) * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Checkpoint::verify(SALT, &bad).is_err(), "bit {bit}");
    }
}

#[test]
fn a_checkpoint_of_another_store_is_refused() {
    let bytes = checkpoint().encode(SALT);
    assert_eq!(Checkpoint::verify(SALT + 1, &bytes), Err(WireError::Checksum("checkpoint")));
}

#[test]
fn a_checkpoint_that_was_cut_is_refused_at_every_byte() {
    let bytes = checkpoint().encode(SALT);
    for end in 0..HEADER_BYTES + 4 * 4 {
        assert_eq!(Checkpoint::verify(SALT, &bytes[..end]), Err(WireError::Short), "{end}");
    }
    assert!(Checkpoint::verify(SALT, &bytes[..HEADER_BYTES + 4 * 4]).is_ok());
}

#[test]
fn the_error_says_what_is_wrong() {
    let invalid = |what| Err(WireError::Invalid(what));
    assert_eq!(changed(|_| {}), Ok(checkpoint()));
    assert_eq!(changed(|bytes| bytes[0] = 0), invalid("magic of a checkpoint"));
    assert_eq!(changed(|bytes| field::VERSION.put(bytes, 2_u16)), Err(WireError::Version(2)));
    let reserved = "reserved bytes of a checkpoint";
    assert_eq!(changed(|bytes| bytes[field::ZERO.offset] = 1), invalid(reserved));
    assert_eq!(changed(|bytes| bytes[field::RESERVED.end() - 1] = 1), invalid(reserved));
    let versions = Err(WireError::Checksum("versions of a checkpoint"));
    assert_eq!(changed(|bytes| bytes[HEADER_BYTES] ^= 1), versions);
    assert_eq!(changed(|bytes| field::PAGES.put(bytes, 3_u32)), versions);
}

#[test]
fn a_table_that_the_header_only_claims_is_never_allocated() {
    assert_eq!(changed(|bytes| field::PAGES.put(bytes, PAGES_MAX)), Err(WireError::Short));
    let too_many = Err(WireError::Invalid("index pages of a checkpoint"));
    assert_eq!(changed(|bytes| field::PAGES.put(bytes, PAGES_MAX + 1)), too_many);
    assert_eq!(changed(|bytes| field::PAGES.put(bytes, u32::MAX)), too_many);
}

proptest! {
    #[test]
    fn every_checkpoint_comes_back(
        segment: u32,
        versions in vec(any::<u32>(), 0..2000),
        salt: u64,
    ) {
        let checkpoint = Checkpoint { segment, versions };
        let bytes = checkpoint.encode(salt);
        prop_assert_eq!(Checkpoint::verify(salt, &bytes), Ok(checkpoint));
    }

    #[test]
    fn no_bytes_make_the_check_panic(mut bytes: Vec<u8>, pages: u32) {
        if bytes.len() >= HEADER_BYTES {
            field::MAGIC.set(&mut bytes, &MAGIC);
            field::VERSION.put(&mut bytes, VERSION);
            field::PAGES.put(&mut bytes, pages);
            let sum = salted_checksum(SALT, &bytes[..HEADER_BYTES], field::CHECKSUM);
            field::CHECKSUM.put(&mut bytes, sum);
        }
        let _ = Checkpoint::verify(SALT, &bytes);
    }
}
