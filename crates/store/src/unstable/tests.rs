use super::*;
use crate::request::UnstableKind;

fn vid() -> Vid {
    Vid::new(1).unwrap()
}

fn change(generation: u32, sequence: u64, index: u32, kind: UnstableKind) -> Unstable {
    let (stamp, oid) = (Stamp::new(Generation(generation), sequence), Oid::data(vid(), index));
    Unstable { stamp, oid, first_block: 0, kind, count: 1 }
}

fn list(changes: &[Unstable]) -> UnstableList {
    let mut list = UnstableList::default();
    for change in changes {
        list.insert(*change);
    }
    list
}

#[test]
fn a_watermark_takes_its_own_generation_up_to_itself() {
    let all = [(1, 1), (1, 9), (2, 4), (2, 5), (2, 6), (3, 1)];
    let all =
        all.map(|(generation, sequence)| change(generation, sequence, 0, UnstableKind::Write));
    let mut list = list(&all);
    list.watermark(vid(), Stamp::new(Generation(2), 5)); // U1
    assert_eq!(list.of(vid()), [all[0], all[1], all[4], all[5]]);
    list.watermark(Vid::new(2).unwrap(), Stamp::new(Generation(3), 5));
    assert_eq!((list.of(vid()).len(), list.len()), (4, 4));
}

#[test]
fn a_settlement_takes_older_generations_of_its_objects() {
    let all = [(1, 0), (1, 1), (2, 0)];
    let all = all.map(|(generation, index)| change(generation, 1, index, UnstableKind::Write));
    let mut list = list(&all);
    list.settle(vid(), Generation(2), &[Oid::data(vid(), 0)]);
    assert_eq!(list.of(vid()), [all[1], all[2]]);
    list.insert(all[1]);
    assert_eq!(list.len(), 2);
    list.settle(vid(), Generation(9), &[Oid::data(vid(), 0), Oid::data(vid(), 1)]);
    assert_eq!(list.of(vid()), []);
    assert_eq!((list.iter().count(), list.len()), (0, 0));
}
