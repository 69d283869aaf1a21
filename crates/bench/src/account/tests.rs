use super::*;

const STAT: &str = "4242 (a) b (c d) S 1 4242 4242 0 -1 4194560 900 0 3 0 1234 56 7 8 20 0 4 0 \
                    99 1000 200 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";
const IO: &str = "rchar: 9\nwchar: 8\nsyscr: 7\nsyscw: 6\nread_bytes: 5\nwrite_bytes: 40960\n\
                  cancelled_write_bytes: 3\n";
const STATUS: &str = "Name:\tsheep\nVmPeak:\t  300 kB\nVmHWM:\t    1200 kB\nVmRSS:\t    1100 kB\n";

#[test]
fn times_stand_behind_a_name_with_spaces_and_brackets() {
    assert_eq!(parse_ticks(STAT), Some(1234 + 56));
}

#[test]
fn a_field_is_found_by_its_whole_name() {
    assert_eq!(parse_field(IO, "write_bytes:"), Some(40960));
    assert_eq!(parse_field(STATUS, "VmHWM:"), Some(1200));
    assert_eq!(parse_field(STATUS, "VmSwap:"), None);
}

#[test]
fn sectors_written_are_the_seventh_number() {
    let stat =
        "     100        1     2000       30      400        5    60000       70        0   80";
    assert_eq!(parse_sectors(stat), Some(60_000 * 512));
    assert_eq!(parse_sectors("1 2 3"), None);
    assert_eq!(disk_written(Path::new("/proc")), None);
}

#[test]
fn what_makes_no_sense_is_no_number() {
    assert_eq!(parse_ticks("4242 (sheep) S 1"), None);
    assert_eq!(parse_ticks("nothing"), None);
    assert_eq!(parse_field("write_bytes: many", "write_bytes:"), None);
}

#[test]
fn this_process_has_used_something() {
    let before = Usage::of(std::process::id()).unwrap();
    let after = Usage::of(std::process::id()).unwrap();
    assert!(after.processor >= before.processor);
    assert_eq!(before.since(after).written, 0);
    let memory = Memory::of(std::process::id()).unwrap();
    assert!(memory.resident > 0 && memory.resident_max >= memory.resident);
}
