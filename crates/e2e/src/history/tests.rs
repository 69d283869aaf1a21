use super::*;

const CELL: usize = 512;

fn history() -> History {
    History::new(2 * BLOCK_BYTES, CELL, 7)
}

const fn span(first: usize, count: usize) -> Span {
    Span { first, count }
}

/// Puts the bytes of a write into an image.
fn put(image: &mut [u8], first: usize, bytes: &[u8]) {
    image[first * CELL..][..bytes.len()].copy_from_slice(bytes);
}

#[test]
fn a_lost_acknowledged_write_is_found() {
    let mut history = history();
    let (id, bytes) = history.begin_write(span(1, 2));
    let mut image = vec![0; 2 * BLOCK_BYTES];
    assert!(history.check(&image).is_ok(), "it was not acknowledged yet");
    history.end_write(id);
    assert!(history.check(&image).is_err(), "G1");
    put(&mut image, 1, &bytes);
    assert_eq!(history.check(&image).unwrap(), Checked { acknowledged: 2, in_doubt: 0 });
}

#[test]
fn an_old_write_is_found_and_a_concurrent_one_is_not() {
    let mut history = history();
    let (first, first_bytes) = history.begin_write(span(0, 1));
    let (second, second_bytes) = history.begin_write(span(0, 1));
    history.end_write(first);
    history.end_write(second);
    let mut image = vec![0; 2 * BLOCK_BYTES];
    for bytes in [&first_bytes, &second_bytes] {
        put(&mut image, 0, bytes);
        assert!(history.check(&image).is_ok());
    }
    let (third, third_bytes) = history.begin_write(span(0, 1));
    history.end_write(third);
    assert!(history.check(&image).is_err(), "G1");
    put(&mut image, 0, &third_bytes);
    assert!(history.check(&image).is_ok());
}

#[test]
fn what_was_read_once_must_stay() {
    let mut history = history();
    let (_, bytes) = history.begin_write(span(3, 1));
    let mut image = vec![0; 2 * BLOCK_BYTES];
    assert!(history.check(&image).is_ok());
    let start = history.begin_read();
    history.end_read(start, span(3, 1), &bytes).unwrap();
    assert!(history.check(&image).is_err(), "G1");
    put(&mut image, 3, &bytes);
    assert!(history.check(&image).is_ok());
}

#[test]
fn a_read_need_not_show_what_was_acknowledged_after_it_began() {
    let mut history = history();
    let start = history.begin_read();
    let (id, _) = history.begin_write(span(0, 1));
    history.end_write(id);
    assert!(history.end_read(start, span(0, 1), &[0; CELL]).is_ok());
    let start = history.begin_read();
    assert!(history.end_read(start, span(0, 1), &[0; CELL]).is_err(), "G1");
}

#[test]
fn half_a_write_in_one_block_is_found() {
    let mut history = history();
    let (id, bytes) = history.begin_write(span(0, 4));
    history.end_write(id);
    let (_, more) = history.begin_write(span(2, 2));
    let mut image = vec![0; 2 * BLOCK_BYTES];
    put(&mut image, 0, &bytes);
    put(&mut image, 2, &more[..CELL]);
    assert!(history.check(&image).is_err(), "G1");
    put(&mut image, 2, &more);
    assert_eq!(history.check(&image).unwrap(), Checked { acknowledged: 4, in_doubt: 2 });
}

#[test]
fn a_write_may_take_effect_in_one_of_two_blocks() {
    let mut history = history();
    let (_, bytes) = history.begin_write(span(7, 2));
    let mut image = vec![0; 2 * BLOCK_BYTES];
    put(&mut image, 7, &bytes[..CELL]);
    assert!(history.check(&image).is_ok());
}

#[test]
fn strange_and_torn_bytes_are_found() {
    let mut history = history();
    let (id, bytes) = history.begin_write(span(0, 1));
    history.end_write(id);
    let mut image = vec![0; 2 * BLOCK_BYTES];
    put(&mut image, 0, &bytes);
    put(&mut image, 5, &bytes);
    assert!(history.check(&image).is_err(), "G10: in the wrong place");
    put(&mut image, 5, &[0; CELL]);
    assert!(history.check(&image).is_ok());
    image[9] ^= 1;
    assert!(history.check(&image).is_err(), "G10");
    put(&mut image, 0, &bytes);
    image[CELL / 2..CELL].fill(0);
    assert!(history.check(&image).is_err(), "G1: torn");
}

#[test]
fn zeros_may_come_from_any_zeroing_that_was_not_overwritten() {
    let mut history = history();
    let (id, bytes) = history.begin_write(span(0, 1));
    history.end_write(id);
    let mut image = vec![0; 2 * BLOCK_BYTES];
    assert!(history.check(&image).is_err(), "G1");
    let zero = history.begin_zero(span(0, 1));
    assert!(history.check(&image).is_ok());
    history.end_write(zero);
    assert!(history.check(&image).is_ok());
    put(&mut image, 0, &bytes);
    assert!(history.check(&image).is_err(), "G1");
}
