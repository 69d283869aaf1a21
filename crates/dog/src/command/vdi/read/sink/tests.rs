use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Piece {
    Bytes(u8, usize),
    Zeros(u64),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let bytes = (0_u8..3, 0_usize..20_000).prop_map(|(value, count)| Piece::Bytes(value, count));
    let zeros = (0_u64..150_000).prop_map(Piece::Zeros);
    proptest::collection::vec(prop_oneof![bytes, zeros], 0..8)
}

/// Feeds `pieces`; returns what they amount to.
fn feed(sink: &mut Sink, pieces: &[Piece]) -> Vec<u8> {
    let mut expected = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(value, count) => {
                let bytes = vec![*value; *count];
                sink.write(&bytes).unwrap();
                expected.extend(bytes);
            }
            Piece::Zeros(count) => {
                sink.zeros(*count).unwrap();
                expected.resize(expected.len() + *count as usize, 0);
            }
        }
    }
    sink.finish().unwrap();
    expected
}

proptest! {
    #[test]
    fn a_file_holds_exactly_what_was_written(
        pieces in pieces(), old in 0_usize..60_000, append: bool, start in 0_u64..3,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, vec![9; old]).unwrap();
        let mut file = OpenOptions::new().write(true).append(append).open(&path).unwrap();
        let target = SeekFrom::Start(start * 9000);
        let start = if append { old as u64 } else { file.seek(target).unwrap() };
        let mut sink = Sink::new(file).unwrap();
        let written = feed(&mut sink, &pieces);
        drop(sink);
        let mut expected = vec![9; old];
        let (start, end) = (start as usize, start as usize + written.len());
        if !written.is_empty() {
            expected.resize(expected.len().max(end), 0);
            expected[start..end].copy_from_slice(&written);
        }
        prop_assert_eq!(std::fs::read(&path).unwrap(), expected); // K1
    }
}

#[test]
fn zeros_in_a_new_file_use_no_space() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let mut sink = Sink::new(File::create(&path).unwrap()).unwrap();
    sink.write(&[0; 1 << 20]).unwrap();
    sink.write(&[1; 4096]).unwrap();
    sink.zeros(64 << 20).unwrap();
    sink.finish().unwrap();
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(meta.len(), (65 << 20) + 4096);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
}

#[test]
fn a_pipe_gets_the_zeros_themselves() {
    let (mut reader, writer) = io::pipe().unwrap();
    let thread = std::thread::spawn(move || {
        let mut all = Vec::new();
        io::Read::read_to_end(&mut reader, &mut all).unwrap();
        all
    });
    let mut sink = Sink::new(File::from(std::os::fd::OwnedFd::from(writer))).unwrap();
    let expected = feed(&mut sink, &[Piece::Zeros(100_000), Piece::Bytes(2, 5), Piece::Zeros(7)]);
    drop(sink);
    assert_eq!(thread.join().unwrap(), expected);
}
