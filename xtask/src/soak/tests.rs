use super::*;

#[test]
fn rounds_are_a_number_or_the_usual_ones() {
    assert_eq!(parse(&[]).ok(), Some(ROUNDS));
    assert_eq!(parse(&["--rounds", "7"]).ok(), Some(7));
    for words in [&["--rounds"][..], &["--rounds", "x"], &["7"]] {
        assert!(parse(words).is_err(), "{words:?}");
    }
}
