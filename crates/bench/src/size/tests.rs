use super::parse;

#[test]
fn letters_are_powers_of_1024() {
    assert_eq!(parse("512"), Ok(512));
    assert_eq!(parse("64K"), Ok(64 << 10));
    assert_eq!(parse("3m"), Ok(3 << 20));
    assert_eq!(parse("1G"), Ok(1 << 30));
}

#[test]
fn what_is_no_size_is_refused() {
    for text in ["", "G", "1.5G", "-1", "1T", "99999999999999G"] {
        assert!(parse(text).is_err(), "{text}");
    }
}
