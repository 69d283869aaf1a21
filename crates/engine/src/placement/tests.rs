use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const BITS: u8 = 10;

fn herd(weights: &[u32], zones: &[u32]) -> Vec<Candidate> {
    let herd = weights.iter().zip(zones).enumerate();
    herd.map(|(i, (weight, zone))| Candidate {
        node: NodeId(i as u16),
        seed: mix64(i as u64 + 1000),
        zone: *zone,
        weight: *weight,
    })
    .collect()
}

fn place(herd: &[Candidate], copies: usize) -> Vec<Vec<NodeId>> {
    let ring = Ring::new(herd.iter().copied());
    (0..1 << BITS).map(|p| ring.targets(Partition(p), BITS, copies)).collect()
}

#[test]
fn placement_of_a_known_herd_never_changes() {
    let placed = place(&herd(&[128; 5], &[0, 1, 2, 3, 4]), 3);
    let found: Vec<Vec<u16>> =
        placed.iter().step_by(128).map(|t| t.iter().map(|n| n.0).collect()).collect();
    assert_eq!(found, GOLDEN); // P4
}

const GOLDEN: [[u16; 3]; 8] =
    [[2, 3, 4], [3, 1, 4], [3, 1, 2], [4, 1, 0], [1, 2, 4], [2, 1, 4], [4, 1, 0], [3, 2, 1]];

#[test]
fn copies_are_balanced_by_weight() {
    let weights = [256, 256, 512, 256, 256, 512, 256, 256];
    let placed = place(&herd(&weights, &[0, 1, 2, 3, 4, 5, 6, 7]), 1);
    let mut held = BTreeMap::new();
    placed.iter().flatten().for_each(|node| *held.entry(node.0).or_insert(0_u32) += 1);
    let total: u32 = weights.iter().sum();
    for (i, weight) in weights.iter().enumerate() {
        let fair = f64::from(1_u32 << BITS) * f64::from(*weight) / f64::from(total);
        let ratio = f64::from(held[&(i as u16)]) / fair;
        assert!((0.7..1.4).contains(&ratio), "sheep {i} holds {ratio} of its fair share");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn zones_are_respected_and_copies_complete(
        zones in proptest::collection::vec(0_u32..4, 1..9), copies in 1_usize..4,
    ) {
        let distinct = zones.iter().collect::<std::collections::BTreeSet<_>>().len();
        let herd = herd(&vec![64; zones.len()], &zones);
        for targets in place(&herd, copies) {
            prop_assert_eq!(targets.len(), copies.min(distinct));
            let taken: std::collections::BTreeSet<u32> =
                targets.iter().map(|n| herd[usize::from(n.0)].zone).collect();
            prop_assert_eq!(taken.len(), targets.len()); // P1
        }
    }

    #[test]
    fn a_leaving_sheep_moves_only_its_own_copies(count in 4_usize..9, leaving in 0_usize..4) {
        let zones: Vec<u32> = (0..count as u32).collect();
        let before = herd(&vec![128; count], &zones);
        let after: Vec<Candidate> =
            before.iter().copied().filter(|c| usize::from(c.node.0) != leaving).collect();
        for (old, new) in place(&before, 3).iter().zip(place(&after, 3)) {
            let kept: Vec<NodeId> =
                old.iter().copied().filter(|n| usize::from(n.0) != leaving).collect();
            prop_assert!(kept.iter().all(|node| new.contains(node))); // P2
            if kept.len() == old.len() {
                prop_assert_eq!(old, &new);
            }
        }
    }

    #[test]
    fn fewer_copies_are_a_prefix(count in 3_usize..9) {
        let zones: Vec<u32> = (0..count as u32).collect();
        let herd = herd(&vec![64; count], &zones);
        for (two, three) in place(&herd, 2).iter().zip(place(&herd, 3)) {
            prop_assert_eq!(&two[..], &three[..2]); // P3
        }
    }
}
