use sheepdog_proto::LogIndex;
use sheepdog_proto::command::{Addresses, Command, Copies};

use super::super::{ClusterState, Outcome};
use super::*;

/// Sheep with the given zones, and a format.
fn herd(zones: &[u32]) -> ClusterState {
    let mut state = ClusterState::default();
    for (node, zone) in zones.iter().enumerate() {
        join(&mut state, node as u128, *zone);
    }
    let format = Command::Format {
        cluster: 1,
        time_ns: 0,
        partition_bits: 2,
        object_shift: 20,
        copies: Copies::Auto,
    };
    push(&mut state, &format);
    state
}

fn push(state: &mut ClusterState, command: &Command) -> Outcome {
    state.apply(LogIndex(state.index.0 + 1), command).unwrap()
}

fn join(state: &mut ClusterState, uuid: u128, zone: u32) {
    let addresses = Addresses::default();
    push(state, &Command::Join { uuid, zone, weight: 64, shards: 1, addresses });
}

fn life(state: &ClusterState, node: u16) -> Incarnation {
    state.members.get(NodeId(node)).unwrap().incarnation
}

fn silent(state: &mut ClusterState, by: u16, about: u16, is_silent: bool) -> Outcome {
    let command = Command::Silent {
        node: NodeId(by),
        incarnation: life(state, by),
        other: NodeId(about),
        other_incarnation: life(state, about),
        is_silent,
    };
    push(state, &command)
}

fn attach(state: &mut ClusterState, name: &str, node: u16) {
    let (name, copies, object_shift) = (name.to_owned(), None, None);
    let create = Command::CreateVdi { name, size: 1 << 20, copies, object_shift, time_ns: 0 };
    let Outcome::Created(vid) = push(state, &create) else { panic!("not created") };
    let incarnation = life(state, node);
    push(state, &Command::Attach { vid, node: NodeId(node), incarnation, time_ns: 0 });
}

fn up(state: &ClusterState) -> Vec<u16> {
    state.members.up().map(|member| member.node.0).collect()
}

#[test]
fn two_complaints_from_two_zones_expel() {
    let mut state = herd(&[0, 1, 2]);
    assert_eq!(silent(&mut state, 0, 2, true), Outcome::Done);
    assert_eq!(up(&state), [0, 1, 2], "SI1");
    let view = state.groups().next().unwrap().1.view;
    silent(&mut state, 1, 2, true);
    assert_eq!(up(&state), [0, 1]);
    let group = state.groups().next().unwrap().1;
    assert!(group.view > view && group.has_lost(&state.members), "as after Gone");
    assert_eq!(silent(&mut state, 0, 2, true), Outcome::Void, "it is out already");
}

#[test]
fn two_of_one_zone_are_one_complaint() {
    let mut state = herd(&[0, 0, 1, 2]);
    silent(&mut state, 0, 3, true);
    silent(&mut state, 1, 3, true);
    assert_eq!(up(&state), [0, 1, 2, 3]);
    silent(&mut state, 2, 3, true);
    assert_eq!(up(&state), [0, 1, 2]);
}

#[test]
fn a_complaint_that_was_taken_back_counts_no_more() {
    let mut state = herd(&[0, 1, 2]);
    silent(&mut state, 0, 2, true);
    silent(&mut state, 0, 2, false);
    silent(&mut state, 1, 2, true);
    assert_eq!(up(&state), [0, 1, 2]);
}

#[test]
fn the_complaints_of_a_life_that_ended_count_no_more() {
    let mut state = herd(&[0, 1, 2]);
    silent(&mut state, 0, 2, true);
    join(&mut state, 0, 0); // another life of sheep 0
    silent(&mut state, 1, 2, true);
    assert_eq!(up(&state), [0, 1, 2]);
    silent(&mut state, 0, 2, true);
    assert_eq!(up(&state), [0, 1]);
}

#[test]
fn of_two_that_do_not_reach_each_other_one_goes() {
    let mut state = herd(&[0, 1]);
    silent(&mut state, 0, 1, true);
    assert_eq!(up(&state), [0, 1], "one alone may be cut off himself");
    silent(&mut state, 1, 0, true);
    assert_eq!(up(&state), [0], "the higher number");

    let mut state = herd(&[0, 1]);
    attach(&mut state, "vm", 1);
    silent(&mut state, 0, 1, true);
    silent(&mut state, 1, 0, true);
    assert_eq!(up(&state), [1], "who owns more stays");
}

#[test]
fn what_an_expelled_sheep_owns_is_freed_when_its_life_has_ended() {
    for is_new_life in [false, true] {
        let mut state = herd(&[0, 1, 2]);
        attach(&mut state, "vm", 2);
        silent(&mut state, 0, 2, true);
        silent(&mut state, 1, 2, true);
        let owner = |state: &ClusterState| {
            state.catalogue.iter().next().unwrap().attachment.as_ref().map(|a| a.node)
        };
        assert_eq!(owner(&state), Some(NodeId(2)), "SI2");
        if is_new_life {
            join(&mut state, 2, 2);
            assert_eq!(up(&state), [0, 1, 2]);
        } else {
            let (node, incarnation) = (NodeId(2), life(&state, 2));
            push(&mut state, &Command::Gone { node, incarnation });
            let again = push(&mut state, &Command::Gone { node, incarnation });
            assert_eq!(again, Outcome::Void);
        }
        assert_eq!(owner(&state), None);
        assert!(!state.members.get(NodeId(2)).unwrap().is_expelled);
    }
}
