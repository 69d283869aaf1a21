use super::*;
use crate::tidy::length::measure;
use crate::tidy::source::Source;

fn long_function(lines: usize) -> BTreeMap<Measured, usize> {
    let text = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2));
    measure(&[Source::new("crates/a/src/x.rs", &text)])
}

fn check(ratchet: &str, lengths: &BTreeMap<Measured, usize>) -> Vec<String> {
    let mut findings = Findings::default();
    Ratchet::parse(ratchet).unwrap().check(lengths, &mut findings);
    findings.lines
}

fn check_against(now: &str, before: &str) -> Vec<String> {
    let mut findings = Findings::default();
    let before = Ratchet::parse(before).unwrap();
    Ratchet::parse(now).unwrap().check_against(&before, "HEAD", &mut findings);
    findings.lines
}

#[test]
fn a_function_of_71_lines_is_refused_and_one_of_70_is_not() {
    assert_eq!(check("", &long_function(70)), Vec::<String>::new());
    let refused = check("", &long_function(71));
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains("function `a` has 71 lines, 70 allowed"), "{refused:?}");
}

#[test]
fn a_function_of_a_test_may_be_long() {
    let text = format!("#[test]\nfn a() {{\n{}}}\n", "    b();\n".repeat(100));
    assert_eq!(check("", &measure(&[Source::new("x.rs", &text)])), Vec::<String>::new());
}

#[test]
fn a_file_of_601_lines_is_refused_even_of_tests() {
    let lengths = measure(&[Source::new("crates/a/src/tests.rs", &"//\n".repeat(601))]);
    assert_eq!(check("", &lengths).len(), 1);
    let lengths = measure(&[Source::new("crates/a/src/tests.rs", &"//\n".repeat(600))]);
    assert_eq!(check("", &lengths).len(), 0);
}

#[test]
fn an_entry_allows_its_length_and_not_one_line_more() {
    let entry = "function crates/a/src/x.rs a 80\n";
    assert_eq!(check(entry, &long_function(80)), Vec::<String>::new());
    assert_eq!(check(entry, &long_function(81)).len(), 1);
}

#[test]
fn an_entry_higher_than_needed_must_be_lowered() {
    let entry = "function crates/a/src/x.rs a 80\n";
    assert!(check(entry, &long_function(79))[0].contains("cargo xtask fix"));
    assert!(check(entry, &long_function(60))[0].contains("cargo xtask fix"));
    assert!(check(entry, &BTreeMap::new())[0].contains("cargo xtask fix"));
    let shrunk = Ratchet::parse(entry).unwrap().shrunk(&long_function(79));
    assert_eq!(shrunk.render("# why\nold\n"), "# why\nfunction crates/a/src/x.rs a 79\n");
}

#[test]
fn entries_may_not_be_added_or_raised() {
    assert_eq!(check_against("file a 700\n", "file a 700\n").len(), 0);
    assert_eq!(check_against("file a 650\n", "file a 700\n").len(), 0);
    assert!(check_against("file a 701\n", "file a 700\n")[0].contains("grew since HEAD"));
    assert!(check_against("file b 601\n", "file a 700\n")[0].contains("is new since HEAD"));
}

#[test]
fn a_line_that_is_no_entry_is_an_error() {
    for text in ["file a", "file a b", "folder a 3", "file a 1\nfile a 2"] {
        assert!(Ratchet::parse(text).is_err(), "{text}");
    }
}
