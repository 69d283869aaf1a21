use proptest::prelude::*;

use super::*;

#[test]
fn sizes_are_read_exactly() {
    let table: &[(&str, u64)] = &[
        ("0", 0),
        ("1", 1),
        ("67108864", 64 << 20),
        ("7B", 7),
        ("64M", 64 << 20),
        ("64m", 64 << 20),
        ("1.5G", 3 << 29),
        ("0.5k", 512),
        ("0.1K", 102),
        ("1.9", 1),
        ("4KiB", 4096),
        ("10TiB", 10 << 40),
        ("3P", 3 << 50),
        ("8192P", 1 << 63),
        ("000000000000000000000001K", 1024),
        ("1.0000000000000000000000000000000000000001K", 1024),
    ];
    for (text, bytes) in table {
        assert_eq!(parse(text).as_ref(), Ok(bytes), "{text}");
    }
}

#[test]
fn what_is_no_size_is_refused_with_an_example() {
    let wrong = [
        "", " ", "M", ".5M", "5.", "1..2", "-1", "+1", "1e6", "0x10", "1 M", "1MB", "1Bi", "1BiB",
        "1X", "1E", "1KK", "1kib", "١", "1M ", "∞",
    ];
    for text in wrong {
        let message = parse(text).unwrap_err();
        assert!(message.contains("such as 512M"), "{text}: {message}");
    }
    for text in ["8192.1P", "9223372036854775809", "99999999999999999999999999999999999999999P"] {
        assert!(parse(text).unwrap_err().contains("largest"), "{text}");
    }
}

#[test]
fn sizes_are_shown_as_the_first_sheepdog_did() {
    let table: &[(u64, &str)] = &[
        (0, "0.0 MB"),
        (4 << 20, "4.0 MB"),
        (64 << 20, "64 MB"),
        (10 << 20, "10 MB"),
        ((10 << 20) - 1, "10 MB"),
        (73_921_261_568, "69 GB"),
        (8 << 40, "8.0 TB"),
        (u64::MAX, "16 EB"),
    ];
    for (bytes, text) in table {
        assert_eq!(human(*bytes), *text);
    }
}

proptest! {
    #[test]
    fn every_number_of_bytes_reads_back(bytes in 0..=1_u64 << 63) {
        prop_assert_eq!(parse(&bytes.to_string()), Ok(bytes));
    }

    #[test]
    fn a_unit_is_a_shift(number in 0_u64..8192, power in 0_usize..6) {
        let letter = UNITS[power];
        prop_assert_eq!(parse(&format!("{number}{letter}")), Ok(number << (10 * power)));
    }

    #[test]
    fn a_fraction_is_cut_not_rounded(whole in 0_u64..1000, thousandths in 0_u64..1000) {
        let expected = (u128::from(whole * 1000 + thousandths) << 40) / 1000;
        prop_assert_eq!(parse(&format!("{whole}.{thousandths:03}T")), Ok(expected as u64));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn sizes_compare_as_their_numbers_do(a in 0_u64..1 << 40, b in 0_u64..1 << 40) {
        let size = |number: u64| parse(&format!("{number}K")).unwrap();
        prop_assert_eq!(size(a).cmp(&size(b)), a.cmp(&b));
    }
}
