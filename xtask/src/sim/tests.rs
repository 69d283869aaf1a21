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

#[test]
fn the_figures_of_a_run_are_found_in_what_it_says() {
    let line = "2000 seeds in 18.1 s (110.6 a second), 7.9 virtual hours, 411474 operations \
                answered; hash b2aa70ef76e61df3";
    let said = format!("   7  something\n{line}\nnothing was wrong\n");
    assert_eq!(figures(&said), Some(Figures { operations: "411474", hours: "7.9" }));
    assert_eq!(figures("nothing"), None);
}
