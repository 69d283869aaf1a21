use super::*;

#[test]
fn the_line_fits_the_terminal_and_tells_the_share() {
    let half = line(28 << 20, Some(64 << 20), 80);
    assert!(half.starts_with("  43.8 % [=====================>"), "{half}");
    assert!(half.trim_end().ends_with("] 28 MB / 64 MB"), "{half}");
    assert_eq!(half.chars().count(), 79);
    assert!(
        line(5, Some(5), 80)
            .contains(" 100.0 % [==================================================")
    );
    assert!(line(9, Some(5), 80).contains("100.0 %"), "more than everything is everything");
    assert_eq!(line(3 << 20, None, 40).trim(), "3.0 MB done");
    assert_eq!(line(0, Some(0), 40).trim(), "0.0 MB done");
}
