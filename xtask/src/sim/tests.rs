use super::*;

#[test]
fn seeds_come_from_the_words_or_are_a_thousand() {
    assert_eq!(arguments(&[]).unwrap(), ["0", "1000", "2"]);
    assert_eq!(arguments(&["--from", "7", "--seeds", "20"]).unwrap(), ["7", "20", "2"]);
    assert_eq!(arguments(&["--show", "9"]).unwrap(), ["show", "9"]);
}

#[test]
fn words_that_make_no_sense_are_refused() {
    arguments(&["--seeds"]).unwrap_err();
    arguments(&["--seeds", "many"]).unwrap_err();
    arguments(&["--show"]).unwrap_err();
    arguments(&["9"]).unwrap_err();
}
