use super::*;
use proptest::prelude::*;

fn buckets(candidates: &[Candidate]) -> Vec<u8> {
    (0..=u8::MAX).filter_map(|bucket| choose(candidates, bucket)).collect()
}

fn count(buckets: &[u8], slot: u8) -> usize {
    buckets.iter().filter(|on| **on == slot).count()
}

fn candidates(disks: &[(u128, u64)]) -> Vec<Candidate> {
    (0..)
        .zip(disks)
        .map(|(slot, (disk, weight))| Candidate { slot, disk: *disk, weight: *weight })
        .collect()
}

#[test]
fn logarithms_are_right_to_the_last_digit() {
    assert_eq!(log2(1), 0);
    assert_eq!(log2(1 << 63), 63 << FRACTION_BITS);
    for number in [3, 5, 1000, 0x0123_4567_89ab_cdef, u64::MAX] {
        let exact = (number as f64).log2() * (1_u64 << FRACTION_BITS) as f64;
        assert!((exact - log2(number) as f64).abs() < 2.0, "{number}: {exact} {}", log2(number));
    }
}

#[test]
fn the_golden_placement_stays() {
    let disks = [(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff, 1 << 40), (7 << 100, 2 << 40), (1, 3)];
    let found = buckets(&candidates(&disks));
    let shown: String = found.iter().map(u8::to_string).collect();
    let golden = include_str!("../../../golden/v1/buckets.txt").trim();
    assert_eq!(shown, golden, "a sheep that is updated would move its buckets"); // RV3
}

#[test]
fn buckets_are_in_proportion_to_weights() {
    // Of many sheep together; each alone scatters about that.
    let mut counts = [0_usize; 4];
    for seed in 0..400_u128 {
        let disks = [1_u64, 2, 3, 10]
            .map(|weight| (mix64(u64::MAX - weight - seed as u64 * 64).into(), weight << 38));
        let found = buckets(&candidates(&disks));
        assert_eq!(found.len(), 256);
        for (slot, sum) in (0..).zip(&mut counts) {
            *sum += count(&found, slot);
        }
    }
    for (sum, weight) in counts.iter().zip([1.0, 2.0, 3.0, 10.0]) {
        let share = *sum as f64 / (400.0 * 256.0);
        assert!((share * 16.0 / weight - 1.0).abs() < 0.05, "{counts:?}"); // RV1
    }
}

#[test]
fn nobody_means_nowhere_and_one_takes_all() {
    assert_eq!(choose(&[], 3), None);
    let one = candidates(&[(5, 0)]);
    assert!(buckets(&one).iter().all(|slot| *slot == 0));
}

proptest! {
    #[test]
    fn only_the_disk_that_comes_or_goes_moves_buckets(
        disks in proptest::collection::vec((1_u128.., 1_u64..1 << 50), 2..9),
        which in 0..9_usize,
    ) {
        let all = candidates(&disks);
        let which = which % all.len();
        let rest: Vec<_> = all.iter().copied().filter(|c| usize::from(c.slot) != which).collect();
        for (with, without) in buckets(&all).into_iter().zip(buckets(&rest)) {
            prop_assert!(with == without || usize::from(with) == which); // RV2
        }
        let mut turned = all.clone();
        turned.reverse();
        prop_assert_eq!(buckets(&all), buckets(&turned));
    }
}
