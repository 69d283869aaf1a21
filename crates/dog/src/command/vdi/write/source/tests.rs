use super::*;

/// Offsets, lengths and end of what `input` becomes.
fn pieces(
    input: &'static [u8],
    offset: u64,
    length: u64,
    whole: bool,
) -> (Vec<(u64, Bytes)>, &'static str) {
    let (sender, mut receiver) = mpsc::channel(AHEAD);
    let thread = std::thread::spawn(move || pump(input, offset, length, whole, &sender));
    let mut list = Vec::new();
    let mut end = "end";
    while let Some(piece) = receiver.blocking_recv() {
        match piece {
            Piece::Bytes(chunk, bytes) => {
                assert_eq!(chunk.length, bytes.len() as u64);
                list.push((chunk.offset, bytes));
            }
            Piece::Excess => end = "excess",
            Piece::Error(_) => end = "error",
        }
    }
    thread.join().unwrap();
    (list, end)
}

#[test]
fn input_is_cut_at_object_borders_and_nothing_is_lost() {
    static INPUT: [u8; 5 << 20] = [7; 5 << 20];
    let (list, end) = pieces(&INPUT, 1 << 20, 100 << 20, true);
    let places: Vec<_> =
        list.iter().map(|(offset, bytes)| (*offset >> 20, bytes.len() >> 20)).collect();
    assert_eq!((places, end), (vec![(1, 3), (4, 2)], "end"));
}

#[test]
fn too_much_input_is_noticed_only_when_all_of_it_is_wanted() {
    assert_eq!(pieces(b"abcdef", 0, 6, true).1, "end");
    assert_eq!(pieces(b"abcdef", 0, 5, true).1, "excess");
    let (list, end) = pieces(b"abcdef", 9, 5, false);
    assert_eq!((list, end), (vec![(9, Bytes::from_static(b"abcde"))], "end"));
    assert_eq!(pieces(b"a", 0, 0, true).1, "excess");
    assert_eq!(pieces(b"", 0, 0, true), (vec![], "end"));
}
