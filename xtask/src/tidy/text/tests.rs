use super::*;

fn found(path: &str, text: &str) -> Vec<String> {
    let mut findings = Findings::default();
    check(&Source::new(path, text), &mut findings);
    findings.lines
}

#[test]
fn a_file_without_a_header_is_refused_unless_it_is_a_tests_file() {
    assert_eq!(found("a/x.rs", "use std::fmt;\n").len(), 1);
    assert_eq!(found("a/x.rs", "// A comment.\n").len(), 1);
    assert_eq!(found("a/x.rs", "\n//! Late.\n").len(), 1);
    assert_eq!(found("a/x.rs", "//! What it is for.\n").len(), 0);
    assert_eq!(found("a/x/tests.rs", "use super::*;\n").len(), 0);
}

#[test]
fn a_header_of_26_lines_is_refused() {
    assert_eq!(found("a/x.rs", &"//! A line.\n".repeat(25)).len(), 0);
    assert_eq!(found("a/x.rs", &"//! A line.\n".repeat(26)).len(), 1);
}

#[test]
fn a_line_of_101_columns_is_refused() {
    assert_eq!(found("a/x.rs", &format!("//! {}\n", "a".repeat(96))).len(), 0);
    assert_eq!(found("a/x.rs", &format!("//! {}\n", "a".repeat(97))).len(), 1);
}

#[test]
fn other_characters_than_ascii_are_refused_outside_strings_of_tests() {
    assert_eq!(found("a/x.rs", "//! A \u{2192} B.\n").len(), 1);
    assert_eq!(found("a/x.rs", "//! A.\nconst A: &str = \"\u{e9}\";\n").len(), 1);
    assert_eq!(found("a/x/tests.rs", "const A: &str = \"\u{e9}\";\n").len(), 0);
    assert_eq!(found("a/x/tests.rs", "const A: &str = \"\u{e9}\"; // \u{e9}\n").len(), 1);
}
