use super::*;
use crate::workload::ALL;

const OUTCOME: Outcome = Outcome {
    operations: 1000,
    seconds: 2.0,
    p50: Some(Duration::from_micros(300)),
    p99: None,
    client: Duration::from_millis(20),
};

fn cost() -> Cost {
    let usage =
        |milliseconds, written| Usage { processor: Duration::from_millis(milliseconds), written };
    let mut counters = StoreCounters { syncs: Some(600.0), ..StoreCounters::default() };
    counters.written.insert("wal".to_owned(), 3.0 * 4096.0 * 1000.0);
    let servers = vec![usage(60, 8_192_000), usage(30, 8_192_000), usage(10, 0)];
    let memory = vec![Memory { resident: 9_000_000, resident_max: 12_000_000 }];
    let (settle, disk_written) = (Duration::from_millis(5), Some(24_576_000));
    Cost { servers, memory, counters, settle, disk_written }
}

#[test]
fn costs_are_for_each_operation_and_each_copy() {
    let numbers = numbers(&ALL[0], Target::ClusterNbd, &OUTCOME, &cost());
    let wanted = [
        (numbers::IOPS, 500.0),
        (numbers::MB_PER_S, 2.048),
        (numbers::P50_US, 300.0),
        (numbers::CLIENT_BUSY, 1.0),
        (numbers::CPU_US_CLIENT, 20.0),
        ("cpu_us_server1", 60.0),
        ("cpu_us_server3", 10.0),
        (numbers::CPU_US_SERVERS, 100.0),
        (numbers::DEVICE_BYTES, 4.0 / 3.0),
        (numbers::DISK_BYTES, 2.0),
        (numbers::SYNCS, 200.0),
        ("written_wal", 1.0),
        ("resident_mb_server1", 9.0),
        ("resident_max_mb_server1", 12.0),
        (numbers::SETTLE_MS, 5.0),
    ];
    for (name, value) in wanted {
        assert!((numbers[name] - value).abs() < 1e-9, "{name}: {} {value}", numbers[name]);
    }
    assert!(!numbers.contains_key(numbers::P99_US) && !numbers.contains_key(numbers::BATCHES));
}

#[test]
fn reads_write_nothing_and_what_has_no_server_costs_none() {
    let read = numbers(&ALL[1], Target::ClusterNbd, &OUTCOME, &cost());
    assert!(!read.contains_key(numbers::DEVICE_BYTES) && !read.contains_key(numbers::SYNCS));
    let raw = numbers(&ALL[0], Target::Raw, &OUTCOME, &Cost::default());
    assert!(!raw.contains_key(numbers::CPU_US_SERVERS));
}

#[test]
fn a_load_that_did_nothing_has_no_quotients() {
    let outcome = Outcome { operations: 0, ..OUTCOME };
    let numbers = numbers(&ALL[0], Target::ClusterNbd, &outcome, &cost());
    assert_eq!(numbers.get(numbers::IOPS), Some(&0.0));
    assert!(!numbers.contains_key(numbers::CPU_US_CLIENT));
}
