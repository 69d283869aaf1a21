use super::*;

#[test]
fn names_with_white_space_and_backslashes_are_escaped() {
    for (name, escaped) in
        [("plain", "plain"), ("a b", "a\\ b"), ("a\\b\t", "a\\\\b\\\t"), ("", "")]
    {
        assert_eq!(escape(name), escaped);
    }
}
