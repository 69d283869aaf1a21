use super::*;

#[test]
fn a_later_generation_is_newer_whatever_the_sequence() {
    let old = Stamp::new(Generation(1), Stamp::SEQUENCE_MAX);
    let new = Stamp::new(Generation(2), 0);
    assert!(Stamp::NONE < old && old < new);
    assert_eq!((new.generation(), new.sequence()), (Generation(2), 0));
    assert_eq!(Stamp::from_wire(old.get()), old);
}

#[test]
#[should_panic(expected = "sequence does not fit")]
fn a_sequence_that_does_not_fit_stops_the_writer() {
    let _ = Stamp::new(Generation(1), 1 << 40);
}
