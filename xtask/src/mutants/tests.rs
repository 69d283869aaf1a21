use super::{failed_tests, list, parse};
use crate::repository::Repository;

const LIST: &str = "\
# words
== one
rule R1
file crates/a/src/b.rs
-     x();
+ 
== two
rule R2
file crates/a/src/b.rs
- y
- z
+ z
";

#[test]
fn a_list_is_read_and_each_fault_replaces_its_lines() {
    let mutants = list::parse(LIST).unwrap();
    assert_eq!(mutants[0].put_into("a\n    x();\nb\n").unwrap(), "a\n\nb\n");
    assert_eq!(mutants[1].put_into("y\nz\n").unwrap(), "z\n");
    assert!(mutants[0].put_into("a\n").unwrap_err().to_string().contains("0 times"));
    assert!(mutants[1].put_into("y\nz\ny\nz\n").is_err());
}

#[test]
fn what_is_wrong_in_a_list_is_said() {
    for bad in ["rule R", "== a\nrule R\nfile f", "== a\nwhat\n", "== a\n== a\n"] {
        assert!(list::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_fault_of_the_list_still_fits_its_file() {
    let repository = Repository::open().unwrap();
    assert!(list::load(&repository, false).unwrap().len() >= 25);
    assert!(list::load(&repository, true).unwrap().len() >= 20);
}

#[test]
fn tests_that_failed_are_named() {
    let output = "test a::b ... ok\ntest c ... FAILED\ntest d ... FAILED\ntest e ... FAILED\n";
    assert_eq!(failed_tests(output), "`c`, `d` and 1 more");
    assert_eq!(failed_tests("test c ... FAILED"), "`c`");
}

#[test]
fn only_some_can_be_asked_for() {
    assert_eq!(parse(&["--only", "a", "--only", "b"]).unwrap(), ["a", "b"]);
    assert!(parse(&["--fast"]).is_err());
}
