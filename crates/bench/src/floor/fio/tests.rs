use super::*;
use crate::workload;

const PRINTED: &str = r#"fio: a note
{ "fio version": "fio-3.33", "jobs": [ { "jobname": "file0", "error": 0,
  "usr_cpu": 1.5, "sys_cpu": 8.5, "job_runtime": 6000,
  "read": { "total_ios": 0, "runtime": 0 },
  "write": { "total_ios": 9000, "runtime": 2000, "clat_ns": { "percentile":
    { "50.000000": 70000, "99.000000": 400000 } } },
  "sync": { "lat_ns": { "percentile": { "50.000000": 350000, "99.000000": 500000 } } } } ] }"#;

fn plan(name: &str) -> Plan {
    let workload = *workload::ALL.iter().find(|workload| workload.name == name).unwrap();
    Plan { workload, span: 1 << 20, time: Duration::from_millis(300), seed: 5 }
}

#[test]
fn what_fio_prints_is_read() {
    let outcome = parse(PRINTED, true, false).unwrap();
    assert_eq!((outcome.operations, outcome.seconds), (9000, 2.0));
    assert_eq!(outcome.p50, Some(Duration::from_micros(70)));
    assert_eq!(outcome.p99, Some(Duration::from_micros(400)));
    // A tenth of the six seconds that the threads ran together.
    assert_eq!(outcome.client, Duration::from_millis(600));
}

#[test]
fn latency_of_a_batch_is_that_of_its_sync() {
    let outcome = parse(PRINTED, true, true).unwrap();
    assert_eq!(outcome.p50, Some(Duration::from_micros(350)));
}

#[test]
fn what_did_not_run_is_an_error() {
    assert!(parse(PRINTED, false, false).is_err());
    assert!(parse(&PRINTED.replace("\"error\": 0", "\"error\": 5"), true, false).is_err());
    assert!(parse("nothing", true, false).is_err());
}

#[test]
fn each_write_is_durable_and_reads_are_not_synced() {
    let job = Job::Direct(vec!["a:b".into(), "c".into()]);
    let write = words(&job, plan("write-4k-d32"));
    for word in ["--rw=randwrite", "--iodepth=32", "--direct=1", "--sync=dsync", "--bs=4096"] {
        assert!(write.iter().any(|found| found == word), "{word} in {write:?}");
    }
    assert_eq!(write.last().map(String::as_str), Some("--filename=c"));
    assert!(write.contains(&"--filename=a\\:b".to_owned()), "{write:?}");
    let read = words(&job, plan("read-1m-seq-d4"));
    assert!(read.contains(&"--rw=read".to_owned()), "{read:?}");
    assert!(!read.iter().any(|word| word.contains("sync")), "{read:?}");
}
