use super::*;

#[test]
fn chunks_end_where_objects_may_begin() {
    const MIB: u64 = 1 << 20;
    let table = [
        ((0, 100 * MIB), 4 * MIB),
        ((MIB, 100 * MIB), 3 * MIB),
        ((4 * MIB - 1, 100), 1),
        ((4 * MIB, 1), 1),
        ((5, 10), 10),
        ((0, 0), 0),
    ];
    for ((offset, length), expected) in table {
        assert_eq!(Chunk::first(offset, length), Chunk { offset, length: expected });
    }
}
