use super::*;

#[test]
fn missing_packages_are_named_once_and_present_ones_not_at_all() {
    let needs = [
        need("sh", "dash"),
        need("no-such-program-a", "package-b"),
        need("no-such-program-b", "package-b"),
        need("lib:no-such-library", "package-a"),
    ];
    assert_eq!(missing(&needs), ["package-a", "package-b"]);
}

#[test]
fn nothing_is_run_when_nothing_is_missing() {
    assert!(install(&[]).is_ok());
}
