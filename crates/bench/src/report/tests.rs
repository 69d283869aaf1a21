use std::time::Duration;

use super::table::{Table, figure, figure_or_dash};
use super::*;
use crate::numbers;
use crate::workload::ALL;

fn rounds(values: &[(&str, [f64; 3])]) -> Vec<Numbers> {
    (0..3)
        .map(|round| values.iter().map(|(name, v)| ((*name).to_owned(), v[round])).collect())
        .collect()
}

fn report() -> Report {
    let (write, read) = (ALL[0], ALL[1]);
    let selection = Selection {
        workloads: vec![write, read],
        targets: vec![Target::ClusterNbd, Target::Raw],
        rounds: 3,
        time: Duration::from_secs(3),
        span: 1 << 30,
    };
    let mut report = Report::new(Machine::default(), "abc123".to_owned(), selection);
    report.series = vec![
        Series {
            workload: write,
            target: Target::ClusterNbd,
            rounds: rounds(&[
                (numbers::IOPS, [1200.0, 1000.0, 1500.0]),
                (numbers::CPU_US_SERVERS, [140.0, 141.0, 139.0]),
                ("cpu_us_server1", [70.0, 70.0, 70.0]),
                ("written_data", [1.0, 1.0, 1.0]),
                ("written_wal", [1.25, 1.25, 1.25]),
            ]),
        },
        Series {
            workload: write,
            target: Target::Raw,
            rounds: rounds(&[(numbers::IOPS, [2400.0, 4000.0, 3000.0])]),
        },
        Series { workload: read, target: Target::ClusterNbd, rounds: rounds(&[]) },
    ];
    report.memory = vec![vec![Memory { resident: 9_000_000, resident_max: 12_000_000 }]];
    report
}

fn row<'a>(text: &'a str, workload: &str, target: &str) -> Vec<&'a str> {
    let mut rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|words| words.starts_with(&[workload, target])).unwrap()
}

#[test]
fn figures_have_the_digits_that_say_something() {
    let cases = [
        (0.0, "0.00"),
        (0.4567, "0.46"),
        (9.999, "10.0"),
        (42.42, "42.4"),
        (99.99, "100"),
        (1234.5, "1,234"),
        (1_234_567.0, "1,234,567"),
        (-1234.0, "-1,234"),
    ];
    for (value, text) in cases {
        assert_eq!(figure(value), text);
    }
    assert_eq!(figure_or_dash(None), "-");
}

#[test]
fn figures_stand_right_and_words_left() {
    let mut table = Table::new("T", &["a", "b", "n"]);
    table.rows.push(["long", "x", "1"].map(str::to_owned).to_vec());
    table.rows.push(["s", "y", "100"].map(str::to_owned).to_vec());
    assert_eq!(table.text(), "T\na     b    n\nlong  x    1\ns     y  100\n"); // A1
    let markdown = table.markdown();
    assert!(markdown.contains("| a | b | n |\n| --- | --- | ---: |\n| long | x | 1 |"));
}

#[test]
fn medians_and_ranges_are_shown_and_what_is_absent_is_a_dash() {
    let text = report().text();
    let speed = row(&text, "write-4k-d1", "cluster-nbd");
    assert_eq!(speed[2..7], ["yes", "1,200", "1,000", "-", "1,500"], "{text}");
    let read = row(&text, "read-4k-d1", "cluster-nbd");
    assert_eq!(read[2..], ["-"; 8], "{text}");
    assert!(text.contains("data 1.00 wal 1.25"), "{text}");
    assert!(text.starts_with("commit abc123\n"), "{text}");
}

#[test]
fn ratios_are_those_of_the_rounds() {
    let text = report().text();
    // 1200/2400, 1000/4000, 1500/3000: not 1200/3000, the ratio of the medians.
    assert!(text.contains("0.50 (0.25 - 0.50)"), "{text}");
}

#[test]
fn json_has_every_round_and_the_ratios() {
    let json: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
    let cell = &json["cells"][0];
    assert_eq!(cell["numbers"]["iops"]["rounds"], serde_json::json!([1200.0, 1000.0, 1500.0]));
    assert_eq!(cell["numbers"]["iops"]["median"], 1200.0);
    assert_eq!(cell["iops_of_floor"]["raw"]["min"], 0.25);
    assert_eq!(json["memory_bytes"][0][0]["resident_max"], 12_000_000);
    assert_eq!(json["disk_bytes"], 1 << 30);
}

#[test]
fn markdown_has_the_same_tables() {
    let (markdown, text) = (report().markdown(), report().text());
    assert_eq!(markdown.matches("**").count() / 2, text.matches("\n\n").count());
    assert!(markdown.contains("| write-4k-d1 | cluster-nbd | yes | 1,200 | 1,000 - 1,500 |"));
}
