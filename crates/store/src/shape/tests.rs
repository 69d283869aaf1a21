use super::*;

#[test]
fn neighbours_become_one_run() {
    assert_eq!(runs([]), []);
    assert_eq!(runs([3]).first(), Some(&(3..4)));
    assert_eq!(runs([0, 1, 2, 5, 7, 8]), [0..3, 5..6, 7..9]);
}

#[test]
fn ranges_are_cut_where_units_begin() {
    let cut = |range| cut_at_units(range).collect::<Vec<_>>();
    assert_eq!(cut(3..3), []);
    assert_eq!(cut(60..70), [60..64, 64..70]);
    assert_eq!(cut(64..192), [64..128, 128..192]);
}

#[test]
fn every_block_has_one_place() {
    assert_eq!(unit_of(0), (0, 0));
    assert_eq!(unit_of(1023), (0, 15));
    assert_eq!(unit_of(1024 + 64), (1, 1));
    assert_eq!(place_of_page(7), (1, 3));
    assert_eq!(pages_of(255, 2), 0..2);
    assert_eq!(Shape::new(20).map(Shape::fragments), Some(1));
    assert_eq!(Shape::LARGEST.fragments(), 16);
}
