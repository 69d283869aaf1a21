use std::time::Duration;

use sheepdog_proto::NodeId;

use super::*;
use crate::opener::Origin;

#[test]
fn a_moment_is_a_date_and_a_time_of_day() {
    let known = [
        (0, "1970-01-01 00:00:00 UTC"),
        (68_169_599, "1972-02-28 23:59:59 UTC"),
        (68_169_600, "1972-02-29 00:00:00 UTC"),
        (951_868_800, "2000-03-01 00:00:00 UTC"),
        (1_700_000_000, "2023-11-14 22:13:20 UTC"),
        (4_107_542_399, "2100-02-28 23:59:59 UTC"),
        (4_107_542_400, "2100-03-01 00:00:00 UTC"),
    ];
    for (seconds, text) in known {
        assert_eq!(utc(seconds), text);
    }
}

#[test]
fn a_held_vdi_names_its_holder_and_since_when() {
    let address = "10.0.0.2:7002".to_owned();
    let locked = Refusal::Locked { node: NodeId(3), address, since_ns: 1_700_000_000 << 30 };
    let denied = Denied::refused("a", &locked);
    assert_eq!(denied.kind, reply::ERR_POLICY);
    assert!(denied.text.contains("node 3 (10.0.0.2:7002) since 20"), "{}", denied.text);
    let now = Instant::now();
    let busy =
        Busy { face: Face::Legacy, origin: Origin::Process(77), since: now, is_barred: false };
    let denied = Denied::busy("a", &busy, now + Duration::from_secs(5));
    assert_eq!(denied.kind, reply::ERR_POLICY);
    assert!(denied.text.contains("process 77 through the legacy protocol since 2"));
}

#[test]
fn every_refusal_has_an_error_number_of_the_protocol() {
    let locked = Refusal::Locked { node: NodeId(0), address: String::new(), since_ns: 0 };
    let all = [
        (Refusal::NoVdi, 5),
        (locked, 1),
        (Refusal::Invalid("range"), 22),
        (Refusal::Fenced, 1),
        (Refusal::Io("disk".to_owned()), 5),
        (Refusal::NoSpace, 28),
        (Refusal::NotFormatted, 5),
        (Refusal::Stopping, 108),
    ];
    for (refusal, errno) in all {
        assert_eq!(Fault::from(refusal).errno, errno);
    }
}

#[test]
fn a_strange_name_is_shown_harmlessly() {
    let denied = Denied::unknown(b"a\x1b[2J\xff");
    assert_eq!(denied.kind, reply::ERR_UNKNOWN);
    assert!(denied.text.is_ascii() || !denied.text.contains('\u{1b}'));
    assert!(!denied.text.contains('\u{1b}'));
}
