use super::*;

fn words(given: &[&str]) -> Vec<String> {
    arguments(given, "abc", Path::new("build/bench"))
}

#[test]
fn a_directory_is_named_only_when_none_is_given() {
    assert_eq!(words(&["--quick"]), ["cluster", "--commit=abc", "--dir=build/bench", "--quick"]);
    assert_eq!(words(&["--dir", "d"]), ["cluster", "--commit=abc", "--dir", "d"]);
    assert_eq!(words(&["--dir=d"]), ["cluster", "--commit=abc", "--dir=d"]);
}
