use super::*;

fn with(events: impl Fn(&mut Register)) -> Register {
    let mut register = Register::default();
    events(&mut register);
    register
}

#[test]
fn a_read_sees_nothing_that_was_not_written() {
    let mut register = Register::default();
    assert!(register.read(0));
    assert!(!register.read(1));
}

#[test]
fn a_write_in_flight_may_be_seen_or_not() {
    let register = with(|r| r.start(1));
    assert!(register.clone().read(0));
    assert!(register.clone().read(1));
}

#[test]
fn what_was_read_once_is_not_taken_back() {
    let mut register = with(|r| r.start(1));
    assert!(register.read(1));
    assert!(!register.read(0));
}

#[test]
fn an_acknowledged_write_is_in_every_later_read() {
    let mut register = with(|r| {
        r.start(1);
        r.finish(1);
    });
    assert!(!register.read(0));
    assert!(register.read(1));
}

#[test]
fn an_unacknowledged_write_may_take_effect_after_a_later_one() {
    let mut register = with(|r| {
        r.start(1);
        r.start(2);
        r.finish(2);
    });
    assert!(register.read(2));
    assert!(register.read(1));
    assert!(!register.read(2)); // R1: once
}

#[test]
fn a_write_seen_before_its_late_acknowledgement_may_be_overwritten_by_then() {
    let mut register = with(|r| {
        r.start(1);
        r.start(2);
        r.finish(2);
    });
    assert!(register.read(1));
    register.finish(1);
    assert!(register.read(1));
    let mut overwritten = with(|r| {
        r.start(1);
        assert!(r.read(1));
        r.start(2);
        r.finish(2);
        r.finish(1);
    });
    assert!(!overwritten.read(1));
    assert!(overwritten.read(2));
}

#[test]
fn a_refused_read_changes_nothing() {
    let mut register = with(|r| r.start(1));
    let before = register;
    assert!(!register.read(2));
    assert_eq!(register, before);
}
