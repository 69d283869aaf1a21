use super::*;

#[test]
fn seeds_are_a_number_or_the_usual_ones() {
    assert_eq!(parse(&[]).ok(), Some(SEEDS));
    assert_eq!(parse(&["--seeds", "7"]).ok(), Some(7));
    for words in [&["--seeds"][..], &["--seeds", "x"], &["7"]] {
        assert!(parse(words).is_err(), "{words:?}");
    }
}

#[test]
fn the_oracle_says_how_many_crashes() {
    assert_eq!(crashes("running 1 test\n13040 crashes\ntest a ... ok\n"), Some(13_040));
    assert_eq!(crashes("running 1 test\n"), None);
}

#[test]
fn a_run_goes_on_where_its_commit_stopped() {
    let repository = Repository::open().unwrap();
    let head = format!("{HEAD}| abc | 0 | 1000 | 5 | 1 |\n| abc | 1000 | 500 | 5 | 1 |\n");
    let ledger = Ledger::load(&repository, "docs/ledger/no-such-page.md", &head).unwrap();
    assert_eq!(ledger.next_seed("abc"), 1500);
    assert_eq!(ledger.next_seed("abd"), 0);
    assert_eq!(ledger.seeds("abc"), (1500, 1500));
    assert_eq!(ledger.seeds("abd"), (0, 1500));
}
