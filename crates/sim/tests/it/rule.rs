//! Each rule taken out by itself: the checker finds the fault that the rule prevents.
//!
//! Way: the same bounds with the rule in place are walked too and must show no fault, so that
//!      a test fails both when the rule does nothing and when the model is broken anyway.

use sheepdog_sim::model::property::{FENCED, INSYNC_HOLDS, NO_LOST_WRITE, NO_TURNS};
use sheepdog_sim::model::{Bounds, Config, Rule, check, find};

use crate::{is_large, tell};

fn assert_needed(config: Config, rule: Rule, property: &'static str) {
    let kept = check(config);
    assert!(kept.faults.is_empty(), "a fault although every rule is obeyed: {:?}", kept.faults);
    let outcome = find(config.without(rule), property);
    let fault = outcome.faults.iter().find(|fault| fault.property == property);
    let Some(fault) = fault else { panic!("no fault without {rule:?}: {outcome}") };
    tell(&format!("without {rule:?} (with it: {kept})\n{fault}"));
}

fn assert_not_needed(bounds: &[Bounds], rule: Rule, pull: bool) {
    for bounds in bounds {
        let config = Config { pull, symmetry: true, ..Config::new(*bounds).without(rule) };
        let outcome = check(config);
        tell(&format!("without {rule:?}, pull {pull}, {bounds:?}: {outcome}"));
        assert!(outcome.faults.is_empty(), "{rule:?} is needed after all: {:?}", outcome.faults);
    }
}

#[test]
fn a_new_owner_must_reconcile() {
    assert_needed(Config::new(Bounds::two(1, 0, 2)), Rule::Reconcile, NO_TURNS);
}

#[test]
fn replicas_must_refuse_older_generations() {
    assert_needed(Config::new(Bounds::two(2, 0, 2)), Rule::Fence, FENCED);
    assert_needed(Config::new(Bounds::two(2, 0, 2)), Rule::Fence, NO_LOST_WRITE);
}

#[test]
fn the_barrier_must_wait_for_the_attach_entry() {
    assert_needed(Config::new(Bounds::two(2, 0, 2)), Rule::BarrierAfterAttach, NO_LOST_WRITE);
}

#[test]
fn act_must_come_before_the_first_degraded_acknowledgement() {
    assert_needed(Config::new(Bounds::two(1, 1, 1)), Rule::ActFirst, NO_LOST_WRITE);
}

#[test]
fn reconcile_must_wait_for_lost_members_that_are_still_in_sync() {
    assert_needed(Config::new(Bounds::two(1, 1, 2)), Rule::AllInSync, NO_TURNS);
}

#[test]
fn a_returned_member_must_answer_the_barrier_before_it_is_used() {
    assert_needed(Config::new(Bounds::two(1, 1, 2)), Rule::BarrierReturned, NO_TURNS);
}

#[test]
fn a_watermark_must_not_cover_older_generations() {
    assert_needed(Config::new(Bounds::two(1, 0, 3)), Rule::OwnWatermark, NO_TURNS);
}

#[test]
fn the_unstable_list_must_survive_a_crash() {
    assert_needed(Config::new(Bounds::two(1, 1, 2)), Rule::DurableList, NO_TURNS);
}

#[test]
fn reads_must_wait_for_the_write_in_flight() {
    assert_needed(Config::new(Bounds::two(1, 0, 1)), Rule::RangeLock, NO_TURNS);
}

// A member that learned the new generation refuses the read anyway; the others must be lost.
#[test]
fn a_gateway_without_its_session_must_not_read() {
    assert_needed(Config::new(Bounds::two(1, 1, 2)), Rule::ReadLease, NO_LOST_WRITE);
}

// While members only leave the in-sync set, every older view asks for more members than the
// newer one, so that an acknowledgement by all of an older view is one by all of the newer too.
#[test]
fn replicas_must_refuse_older_views_once_members_come_back_by_pull() {
    let config = Config::new(Bounds::two(1, 1, 1)).with_pull();
    assert_needed(config, Rule::RefuseOlderView, NO_LOST_WRITE);
    assert_not_needed(&without_pull(), Rule::RefuseOlderView, false);
}

#[test]
fn acknowledgements_of_earlier_views_must_not_count_once_members_come_back_by_pull() {
    let config = Config::new(Bounds::two(1, 1, 1)).with_pull();
    assert_needed(config, Rule::AcksOfThisView, NO_LOST_WRITE);
    assert_not_needed(&without_pull(), Rule::AcksOfThisView, false);
}

// A copy newer than the chosen one can only be on a member that was removed; without pull it
// never comes back, so that the chosen copy's own stamp is the newest anyway.
#[test]
fn reconcile_must_use_fresh_stamps_once_members_come_back_by_pull() {
    let config = Config::new(Bounds::two(1, 1, 2)).with_pull();
    assert_needed(config, Rule::FreshStamp, NO_TURNS);
    assert_not_needed(&without_pull(), Rule::FreshStamp, false);
}

// Its loss hides a write that was applied before the member was lost, and acknowledged after.
#[test]
fn a_duplicate_must_raise_the_view_of_the_object_once_members_pull_by_difference() {
    let config = Config::new(Bounds::two(1, 1, 1)).with_delta();
    assert_needed(config, Rule::RaiseModified, NO_LOST_WRITE);
    assert_needed(config, Rule::RaiseModified, INSYNC_HOLDS);
    for bounds in [Bounds::two(1, 1, 1), Bounds::two(1, 1, 2)] {
        let outcome = check(Config::new(bounds).with_pull().without(Rule::RaiseModified));
        assert!(outcome.faults.is_empty(), "needed without it, too: {:?}", outcome.faults);
    }
}

// What comes early differs from what comes in time only in the view noted with the object
// (delta resync), which the model does not keep.
#[test]
fn holding_a_newer_view_is_not_needed_for_the_block_itself() {
    assert_not_needed(&without_pull(), Rule::HoldNewerView, false);
    let pull = [Bounds::two(1, 1, 1), Bounds::two(1, 1, 2)];
    assert_not_needed(&pull[..if is_large() { 2 } else { 1 }], Rule::HoldNewerView, true);
}

fn without_pull() -> Vec<Bounds> {
    let small = Bounds::two(1, 1, 2);
    if is_large() { vec![small, Bounds::three(2, 1, 2), Bounds::two(2, 2, 2)] } else { vec![small] }
}
