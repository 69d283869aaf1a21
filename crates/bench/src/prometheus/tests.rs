use super::*;

const NEW: &str = "# HELP sheep_store_syncs_total Syncs.\n\
    sheep_store_syncs_total{shard=\"0\"} 10\n\
    sheep_store_syncs_total{shard=\"1\"} 5\n\
    sheep_store_batches_total 7\n\
    sheep_store_written_bytes_total{file=\"wal\"} 4096\n\
    sheep_store_written_bytes_total{shard=\"1\",file=\"data\"} 8192\n\
    sheep_store_seconds_bucket{le=\"+Inf\"} 3\n";
const OLD: &str = "sheep_store_batches_total 4\nsheep_store_requests_total 40\n";

#[test]
fn series_of_one_counter_are_summed() {
    let counters = StoreCounters::parse(NEW);
    assert_eq!((counters.syncs, counters.batches), (Some(15.0), Some(7.0)));
    let files: Vec<(&str, f64)> =
        counters.written.iter().map(|(file, bytes)| (file.as_str(), *bytes)).collect();
    assert_eq!(files, [("data", 8192.0), ("wal", 4096.0)]);
}

#[test]
fn a_counter_that_is_not_there_is_absent() {
    let counters = StoreCounters::parse(OLD);
    assert_eq!((counters.syncs, counters.batches), (None, Some(4.0))); // M1
    assert_eq!(StoreCounters::parse("no metrics\n"), StoreCounters::default());
}

#[test]
fn differences_and_sums_keep_what_is_absent() {
    let mut sum = StoreCounters::parse(NEW).since(&StoreCounters::parse(NEW));
    assert_eq!((sum.syncs, sum.batches, sum.written["wal"]), (Some(0.0), Some(0.0), 0.0));
    sum.add(&StoreCounters::parse(NEW));
    assert_eq!((sum.syncs, sum.written["data"]), (Some(15.0), 8192.0));
    let mut old = StoreCounters::default();
    old.add(&StoreCounters::parse(OLD));
    assert_eq!((old.syncs, old.batches), (None, Some(4.0))); // M1
}
