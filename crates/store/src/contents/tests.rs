use super::runs;

#[test]
fn neighbours_become_one_run() {
    assert_eq!(runs([]), []);
    assert_eq!(runs([3]).first(), Some(&(3..4)));
    assert_eq!(runs([0, 1, 2, 5, 7, 8]), [0..3, 5..6, 7..9]);
}
