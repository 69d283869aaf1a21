use std::sync::Arc;

use sheepdog_proto::command::{Addresses, Command, Copies};
use sheepdog_proto::{Incarnation, LogIndex, NodeId};

use super::*;

fn apply(state: &ClusterState, command: &Command) -> ClusterState {
    let mut state = state.clone();
    state.apply(LogIndex(state.index.0 + 1), command).unwrap();
    state
}

/// Two sheep, one group, one VDI that the first one owns.
fn cluster() -> ClusterState {
    let mut state = ClusterState::default();
    for uuid in 0..2 {
        let (zone, weight, shards) = (uuid as u32, 16, 1);
        let addresses = Addresses::default();
        state = apply(&state, &Command::Join { uuid, zone, weight, shards, addresses });
    }
    let (cluster, time_ns, partition_bits) = (1, 0, 0);
    let (object_shift, copies) = (20, Copies::Auto);
    let format = Command::Format { cluster, time_ns, partition_bits, object_shift, copies };
    state = apply(&state, &format);
    let (name, size, copies) = ("a".to_owned(), 1 << 20, None);
    let create = Command::CreateVdi { name, size, copies, object_shift: None, time_ns };
    state = apply(&state, &create);
    let vid = state.catalogue.iter().next().unwrap().vid;
    let (node, incarnation) = (NodeId(0), Incarnation(1));
    apply(&state, &Command::Attach { vid, node, incarnation, time_ns })
}

fn gone() -> Command {
    Command::Gone { node: NodeId(0), incarnation: Incarnation(1) }
}

#[test]
fn what_the_state_does_itself_is_in_order() {
    let before = cluster();
    check_entry(&before, &apply(&before, &gone()), &gone()).unwrap();
}

#[test]
fn an_empty_set_and_a_view_that_stands_still_are_noticed() {
    let before = cluster();
    let mut after = before.clone();
    let policies = Arc::make_mut(&mut after.policies);
    Arc::make_mut(&mut policies[0].groups)[0].in_sync.pop();
    after.index = LogIndex(before.index.0 + 1);
    assert!(check_entry(&before, &after, &gone()).unwrap_err().starts_with("VIEW-RISES"));
    let policies = Arc::make_mut(&mut after.policies);
    Arc::make_mut(&mut policies[0].groups)[0].in_sync.clear();
    assert!(check_entry(&before, &after, &gone()).unwrap_err().starts_with("STICKY"));
}

#[test]
fn a_second_owner_of_one_generation_is_noticed() {
    // The same log, but for whom it gave the VDI to.
    let before = cluster();
    let vid = before.catalogue.iter().next().unwrap().vid;
    let freed = apply(&before, &gone());
    let (node, incarnation) = (NodeId(1), Incarnation(2));
    let other = apply(&freed, &Command::Attach { vid, node, incarnation, time_ns: 0 });
    check_entry(&freed, &other, &gone()).unwrap();
    assert!(check_owners(&other, &before).unwrap_err().starts_with("ONE-WRITER"));
    let rolled_back = apply(&freed, &Command::Attach { vid, node, incarnation, time_ns: 9 });
    assert!(check_owners(&other, &rolled_back).unwrap_err().starts_with("ONE-WRITER"));
}

#[test]
fn a_copy_that_is_given_up_too_early_is_noticed() {
    let before = cluster();
    let groups = Vec::from_iter(before.groups().map(|(pg, _)| pg));
    let (node, incarnation) = (NodeId(1), Incarnation(2));
    let demote = Command::Demote { node, incarnation, groups };
    let after = apply(&before, &demote);
    check_entry(&before, &after, &demote).unwrap();
    assert!(check_entry(&before, &after, &gone()).unwrap_err().starts_with("SETTLE"));
}
