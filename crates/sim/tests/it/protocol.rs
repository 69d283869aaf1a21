//! The whole protocol, every rule obeyed: no fault in any state of the bounds.

use sheepdog_sim::model::property::{
    DEGRADED_ACK, LATE_ACK, LONE_RETURN, MID_WRITE_ATTACH, UNSEEN_ACT,
};
use sheepdog_sim::model::{Bounds, Config, check};

use crate::{is_large, tell};

fn assert_holds(config: Config, unreached: &[&str]) {
    let outcome = check(config);
    tell(&format!("model {}: {outcome}", describe(&config)));
    if let Some(fault) = outcome.faults.first() {
        panic!("{fault}");
    }
    assert_eq!(outcome.unreached, unreached);
}

fn describe(config: &Config) -> String {
    let Bounds { members, writes, downs, attachments, .. } = config.bounds;
    let pull = match (config.pull, config.delta) {
        (true, true) => ", with pull by difference",
        (true, false) => ", with pull",
        _ => "",
    };
    format!("{members} members, {writes} writes, {downs} downs, {attachments} attachments{pull}")
}

fn assert_all_hold(bounds: &[Bounds], large: &[Bounds]) {
    for bounds in bounds.iter().chain(if is_large() { large } else { &[] }) {
        assert_holds(Config::new(*bounds), &[]);
    }
}

#[test]
fn three_copies_keep_every_promise() {
    let large = [Bounds::three(3, 1, 2), Bounds::three(2, 1, 3), Bounds::three(2, 2, 2)];
    assert_all_hold(&[Bounds::three(2, 1, 2)], &large);
}

#[test]
fn two_copies_keep_every_promise() {
    let large = [Bounds::two(3, 2, 2), Bounds::two(3, 1, 3)];
    assert_all_hold(&[Bounds::two(2, 1, 2), Bounds::two(1, 2, 2)], &large);
}

#[test]
fn members_that_come_back_by_pull_keep_every_promise() {
    let one_owner = [MID_WRITE_ATTACH, LONE_RETURN, LATE_ACK];
    assert_holds(Config::new(Bounds::two(1, 2, 1)).with_pull(), &one_owner);
    assert_holds(Config::new(Bounds::two(1, 1, 2)).with_pull(), &[]);
    if is_large() {
        assert_holds(Config::new(Bounds::two(2, 1, 2)).with_pull(), &[]);
        assert_holds(Config::new(Bounds::three(1, 1, 2)).with_pull(), &[]);
    }
}

#[test]
fn members_that_pull_only_what_changed_keep_every_promise() {
    let one_owner = [MID_WRITE_ATTACH, LONE_RETURN, LATE_ACK];
    assert_holds(Config::new(Bounds::two(1, 1, 1)).with_delta(), &one_owner);
    assert_holds(Config::new(Bounds::two(1, 2, 1)).with_delta(), &one_owner);
    assert_holds(Config::new(Bounds::two(1, 1, 2)).with_delta(), &[]);
    if is_large() {
        assert_holds(Config::new(Bounds::two(2, 1, 2)).with_delta(), &[]);
        assert_holds(Config::new(Bounds::two(2, 2, 1)).with_delta(), &one_owner);
        assert_holds(Config::new(Bounds::three(1, 1, 2)).with_delta(), &[]);
    }
}

#[test]
fn without_a_down_no_write_is_degraded_and_nobody_is_removed() {
    let unreached = [DEGRADED_ACK, LONE_RETURN, UNSEEN_ACT];
    assert_holds(Config::new(Bounds::three(2, 0, 2)), &unreached);
}
