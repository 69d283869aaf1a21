use super::*;

use sheepdog_proto::{Generation, Stamp, Vid};

fn in_unit(unit: u32, block: u32) -> Known {
    let stamp = Stamp::new(Generation(1), 1);
    Known { stamp, state: BlockState::Data { checksum: 0 }, spot: Spot::Slab(unit, block) }
}

#[test]
fn a_unit_of_two_owners_is_a_fault_once() {
    let oid = |index| Oid::data(Vid::new(1).unwrap(), index);
    let (mut owners, mut faults) = (BTreeMap::new(), Vec::new());
    let blocks = |unit| (0..3).map(|block| (block, in_unit(unit, block))).collect();
    own_units(oid(0), &blocks(7), &mut owners, &mut faults);
    own_units(oid(1), &blocks(8), &mut owners, &mut faults);
    assert_eq!(faults, []);
    own_units(oid(2), &blocks(7), &mut owners, &mut faults);
    let kind = FaultKind::UnitTwice { unit: 7, oid: oid(2), other: oid(0) };
    assert_eq!(faults, [Fault::new("data/0000", 7 << 18, kind)]);
    // Two parts of one object.
    let twice = BTreeMap::from([(0, in_unit(9, 0)), (UNIT_BLOCKS, in_unit(9, 0))]);
    own_units(oid(3), &twice, &mut owners, &mut faults);
    assert_eq!(faults.len(), 2);
}
