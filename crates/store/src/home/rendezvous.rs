//! Rendezvous: which disk each bucket shall be on.
//!
//! Way: a bucket asks every disk for a number between 0 and 1 that depends on nothing but the two
//!      of them; the disk with the smallest -log(number) / weight gets it.
//! Holds:
//!   RV1 a disk gets buckets in proportion to its weight;
//!   RV2 a disk that comes takes buckets only to itself, a disk that goes gives only its own: no
//!       bucket moves between two that stay;
//!   RV3 the result is the same on every machine: no floating point. Golden-tested.

use sheepdog_proto::id::mix64;

/// Binary digits behind the point of a logarithm.
const FRACTION_BITS: u32 = 32;

/// A disk that may hold buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) slot: u8,
    pub(crate) disk: u128,
    /// At least 1.
    pub(crate) weight: u64,
}

/// The disk that shall hold a bucket; `None` if there is none at all.
pub(crate) fn choose(candidates: &[Candidate], bucket: u8) -> Option<u8> {
    let mut best: Option<(u64, &Candidate)> = None;
    for candidate in candidates {
        let distance = distance(candidate.disk, bucket);
        let is_better = best.is_none_or(|(least, than)| {
            // distance / weight < least / than.weight, without a division.
            let own = u128::from(distance) * u128::from(than.weight.max(1));
            let other = u128::from(least) * u128::from(candidate.weight.max(1));
            (own, candidate.disk) < (other, than.disk)
        });
        if is_better {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.slot)
}

/// -log2 of the number that bucket and disk make together.
fn distance(disk: u128, bucket: u8) -> u64 {
    let seed = mix64((disk >> 64) as u64 ^ disk as u64);
    let number = mix64(seed.wrapping_add(u64::from(bucket))).max(1);
    (64 << FRACTION_BITS) - log2(number)
}

/// Logarithm of a number above zero, in units of 2^-32, rounded down.
fn log2(number: u64) -> u64 {
    let zeros = number.leading_zeros();
    let mut log = u64::from(63 - zeros);
    // Between 1 and 2, with 63 digits behind the point: each squaring yields one digit.
    let mut rest = number << zeros;
    for _ in 0..FRACTION_BITS {
        let square = (u128::from(rest) * u128::from(rest)) >> 63;
        let is_two = square >> 64 != 0;
        log = log << 1 | u64::from(is_two);
        rest = if is_two { (square >> 1) as u64 } else { square as u64 };
    }
    log
}

#[cfg(test)]
#[path = "rendezvous/tests.rs"]
mod tests;
