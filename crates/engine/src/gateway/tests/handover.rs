//! Scenarios of owners that die: what the next one finds, and what it must not serve.

use sheepdog_proto::Oid;
use sheepdog_proto::peer::{Request, RequestBody};

use super::stage::{A, B, C, Stage, changes_data, changes_map, stamp};

/// The owner A dies while a write of 2 over 1 has reached exactly these members.
fn write_reached(nodes: &'static [sheepdog_proto::NodeId]) -> Stage {
    let mut stage = Stage::written();
    stage.stop(move |node, request| !nodes.contains(&node) && changes_data(request));
    stage.write(A, 0, 2);
    stage.settle();
    stage
}

#[test]
fn the_next_owner_makes_copies_equal_after_a_write_that_reached_one() {
    let mut stage = write_reached(&[B]);
    stage.lose(A);
    stage.go();
    stage.attach(C);
    assert_eq!(stage.see(C, 0), Some(2));
    assert_eq!(stage.kept(B, 0), stage.kept(C, 0));
    stage.check_rest();
}

#[test]
fn a_write_that_only_lost_members_hold_is_dead_once_the_act_is_in_the_log() {
    let mut stage = write_reached(&[A]);
    stage.lose(A);
    stage.go();
    stage.attach(B);
    assert_eq!(stage.see(B, 0), Some(1), "the read asks for the act");
    assert_eq!(stage.in_sync(), [B, C]);
    stage.restart(A);
    stage.rest();
    assert_eq!(stage.see(B, 0), Some(1));
    stage.check_rest();
}

#[test]
fn a_group_with_a_lost_member_is_not_read_before_the_act() {
    let mut stage = write_reached(&[A]);
    stage.lose(A);
    stage.herd.stopped = None;
    stage.herd.log_stops = true; // no act is possible
    stage.attach(B);
    let read = stage.read(B, 0);
    stage.rest();
    assert_eq!(stage.answer(read), None, "A may return with a newer value"); // RECONCILE-FIRST
    stage.herd.log_stops = false;
    stage.settle();
    assert_eq!(stage.bytes(read).map(|bytes| bytes.0), Some(1));
}

#[test]
fn a_member_that_returns_without_an_act_brings_its_write_to_all() {
    let mut stage = write_reached(&[A]);
    stage.lose(A);
    stage.lose(B);
    stage.go();
    stage.attach(C);
    let read = stage.read(C, 0);
    stage.rest();
    assert_eq!(stage.answer(read), None, "one of three may not decide");
    stage.restart(A);
    stage.rest();
    assert_eq!(stage.bytes(read).map(|bytes| bytes.0), Some(2), "listed by A");
    assert_eq!(stage.in_sync(), [A, C], "B was taken out");
    stage.restart(B);
    stage.check_rest();
}

#[test]
fn a_member_that_returns_alone_serves_nothing_that_the_others_do_not_know() {
    let mut stage = write_reached(&[B]);
    for node in [A, B, C] {
        stage.lose(node);
    }
    stage.herd.stopped = None;
    stage.restart(B);
    stage.attach(B);
    let read = stage.read(B, 0);
    stage.rest();
    assert_eq!(stage.answer(read), None, "its unacknowledged write is not settled");
    stage.lose(B);
    stage.restart(C);
    stage.attach(C);
    let other = stage.read(C, 0);
    stage.rest();
    assert_eq!(stage.answer(other), None);
    stage.restart(B);
    stage.rest();
    let value = stage.bytes(other).map(|bytes| bytes.0);
    assert_eq!(value, Some(2), "listed by B and settled with C, A taken out");
    stage.check_rest();
}

#[test]
fn an_acknowledged_write_is_there_through_every_sheep() {
    let mut stage = Stage::written();
    stage.lose(A);
    for node in [B, C, B] {
        stage.attach(node);
        assert_eq!(stage.see(node, 0), Some(1));
        stage.detach(node);
    }
    stage.restart(A);
    stage.attach(A);
    assert_eq!(stage.see(A, 0), Some(1));
    stage.check_rest();
}

#[test]
fn the_first_read_after_a_hand_over_sees_what_the_second_sees() {
    // Object 0 exists on two members, its map entry nowhere.
    let mut stage = Stage::attached();
    stage.stop(|node, request| node == C || changes_map(request));
    stage.write(A, 0, 1);
    stage.settle();
    stage.herd.kill(A);
    stage.herd.stopped = None;
    stage.herd.start(A);
    let command = stage.herd.attach_command(stage.vid, B).unwrap();
    stage.herd.append(command);
    let to = stage.herd.log.len();
    stage.herd.advance(stage.place(B), to, false);
    let first = stage.read(B, 0);
    stage.settle();
    let first = stage.bytes(first).map(|bytes| bytes.0);
    stage.rest();
    assert_eq!(stage.see(B, 0), first); // G1: once seen, never older, and never a surprise
    stage.check_rest();
}

#[test]
fn what_is_not_in_the_map_is_gone_before_the_object_is_written_again() {
    for reaches_all in [false, true] {
        let mut stage = Stage::attached();
        stage.stop(move |node, request| node == C && changes_data(request) && !reaches_all);
        stage.herd.refused = Some(Box::new(|_, request| changes_map(request)));
        stage.write(A, 0, 1);
        stage.rest();
        assert!(stage.listed(B) > 0, "Q2: without its map entry the write is not complete");
        stage.herd.kill(A);
        (stage.herd.stopped, stage.herd.refused) = (None, None);
        stage.restart(A);
        stage.attach(B);
        assert_eq!(stage.see(B, 0), Some(0)); // N3
        let write = stage.write(B, 1, 5);
        stage.settle();
        assert!(stage.is_done(write));
        assert_eq!((stage.see(B, 0), stage.see(B, 1)), (Some(0), Some(5)));
        stage.check_rest();
    }
}

#[test]
fn a_first_write_waits_until_what_is_not_in_the_map_is_gone() {
    let mut stage = Stage::attached();
    stage.stop(|node, request| changes_map(request) || node == C && changes_data(request));
    stage.write(A, 0, 1);
    stage.settle();
    stage.herd.kill(A);
    stage.herd.stopped = None;
    stage.restart(A);
    stage.stop(|_, request| matches!(request.body, RequestBody::Reset { .. }));
    stage.attach(B);
    let write = stage.write(B, 1, 5);
    stage.settle();
    assert_eq!((stage.kept(A, 1), stage.kept(C, 1)), (None, None)); // N4
    stage.go();
    assert!(stage.is_done(write));
    assert_eq!((stage.see(B, 0), stage.see(B, 1)), (Some(0), Some(5)));
    stage.check_rest();
}

#[test]
fn a_discard_that_reached_nobody_leaves_the_map_entry() {
    let mut stage = Stage::written();
    stage.stop(|_, request| matches!(request.body, RequestBody::Reset { .. }));
    stage.discard(A, 0);
    stage.rest();
    stage.herd.kill(A);
    stage.herd.stopped = None;
    stage.restart(A);
    stage.attach(B);
    assert_eq!(stage.see(B, 0), Some(1));
    stage.write(B, 1, 2);
    assert_eq!(stage.see(B, 0), Some(1), "an object without entry would come back here");
    stage.check_rest();
}

#[test]
fn what_a_stranger_lists_counts_for_nothing() {
    // A discard reached A only; A dies and is taken out; 1 was seen since.
    let mut stage = Stage::written();
    stage.stop(|node, request| node != A && matches!(request.body, RequestBody::Reset { .. }));
    stage.discard(A, 0);
    stage.settle();
    stage.lose(A);
    stage.go();
    stage.attach(B);
    assert_eq!(stage.see(B, 0), Some(1));
    stage.restart(A);
    stage.rest();
    assert_eq!(stage.see(B, 0), Some(1)); // N1
    stage.detach(B);
    stage.attach(C);
    assert_eq!(stage.see(C, 0), Some(1));
    stage.check_rest();
}

#[test]
fn a_discard_that_reached_one_member_is_rolled_forward() {
    let mut stage = Stage::written();
    stage.stop(|node, request| node != B && matches!(request.body, RequestBody::Reset { .. }));
    stage.discard(A, 0);
    stage.settle();
    stage.herd.kill(A);
    stage.herd.stopped = None;
    stage.restart(A);
    stage.attach(C);
    assert_eq!(stage.see(C, 0), Some(0));
    stage.check_rest();
    for node in [A, B, C] {
        assert_eq!(stage.kept(node, 0), None);
    }
}

#[test]
fn a_discard_that_is_listed_again_leaves_what_was_written_after_it() {
    let mut stage = Stage::written();
    let discard = stage.discard(A, 0);
    let after = stage.write(A, 1, 2);
    stage.rest();
    assert!(stage.is_done(discard) && stage.is_done(after));
    stage.herd.weakness.forgets = 1000;
    for node in [A, B, C] {
        stage.herd.kill(node);
        stage.herd.start(node);
    }
    stage.settle();
    assert!(stage.listed(B) > 0);
    stage.attach(B);
    assert_eq!((stage.see(B, 0), stage.see(B, 1)), (Some(0), Some(2))); // N2
    stage.check_rest();
}

#[test]
fn a_copy_that_could_not_be_read_cannot_come_back_with_its_value() {
    let mut stage = write_reached(&[B]);
    stage.herd.kill(A);
    stage.restart(A);
    // B's answer to the comparison is damaged on its way.
    stage.herd.stopped = None;
    let oid = sheepdog_proto::Oid::data(stage.vid, 0);
    assert!(stage.herd.store_of(B, oid).rot(oid, 0));
    stage.attach(C);
    assert_eq!(stage.see(C, 0), Some(1));
    stage.rest();
    for node in [A, B, C] {
        assert_eq!(stage.kept(node, 0).map(|kept| kept.1), Some(1)); // N2
    }
    assert!(stage.kept(B, 0).unwrap().0 > stamp(1, 3), "newer than what could not be read");
    stage.check_rest();
}

#[test]
fn a_member_lost_while_copies_are_compared_or_repaired_is_waited_for_or_taken_out() {
    for stops_read in [true, false] {
        let mut stage = write_reached(&[B]);
        stage.herd.kill(A);
        stage.herd.stopped = None;
        stage.restart(A);
        let oid = sheepdog_proto::Oid::data(stage.vid, 0);
        stage.stop(move |node, request| {
            let stopped = match request.body {
                RequestBody::Read { .. } => stops_read,
                RequestBody::Write { .. } => !stops_read,
                _ => false,
            };
            node == B && stopped && request.body.oid() == Some(oid)
        });
        stage.attach(C);
        let read = stage.read(C, 0);
        stage.settle();
        assert_eq!(stage.answer(read), None);
        stage.lose(B);
        stage.go();
        let expect = if stops_read { 1 } else { 2 };
        assert_eq!(stage.bytes(read).map(|bytes| bytes.0), Some(expect), "{stops_read}");
        assert_eq!(stage.in_sync(), [A, C]);
        stage.restart(B);
        stage.rest();
        assert_eq!(stage.see(C, 0), Some(expect));
        stage.check_rest();
    }
}

#[test]
fn an_owner_that_dies_while_it_repairs_leaves_it_to_the_next() {
    let mut stage = write_reached(&[B]);
    stage.herd.kill(A);
    stage.herd.stopped = None;
    stage.restart(A);
    stage.stop(|node, request| node == A && changes_data(request));
    stage.attach(C);
    stage.settle();
    stage.herd.kill(C);
    stage.herd.stopped = None;
    stage.restart(C);
    stage.attach(A);
    assert_eq!(stage.see(A, 0), Some(2));
    stage.rest();
    for node in [A, B, C] {
        assert_eq!(stage.kept(node, 0).map(|kept| kept.1), Some(2));
    }
    stage.check_rest();
}

#[test]
fn a_fenced_owner_is_not_answered_for_what_the_next_one_does_not_see() {
    // The log takes A for dead, A does not know and goes on.
    let mut stage = Stage::written();
    stage.herd.gone(A);
    let command = stage.herd.attach_command(stage.vid, B).unwrap();
    stage.herd.append(command);
    let to = stage.herd.log.len();
    for node in [B, C] {
        stage.herd.advance(stage.place(node), to, false);
    }
    let late = stage.write(A, 0, 2);
    for _ in 0..8 {
        (0..stage.herd.links.all.len()).for_each(|at| {
            stage.herd.deliver_request(at);
            stage.herd.deliver_reply(at);
        });
        for node in [A, B, C] {
            stage.herd.execute(stage.place(node), false);
        }
    }
    stage.look();
    assert_eq!(stage.answer(late), None); // FENCE
    stage.settle();
    assert!(stage.is_live(B));
    assert_eq!(stage.see(B, 0), Some(1));
}

#[test]
fn the_map_is_not_repaired_again_under_the_writes_of_the_new_owner() {
    // The group of the map waits for the repair of one of its objects, another group is ready.
    let mut stage = Stage::new(3, 3);
    let state = stage.herd.newest().clone();
    let group = |oid| state.group_of(oid).unwrap().0;
    let (vid, map) = (stage.vid, Oid::map(stage.vid, 0));
    let object = |beside: bool| {
        let data = |index: &u32| (group(Oid::data(vid, *index)) == group(map)) == beside;
        (0..16).find(data).expect("objects in both groups")
    };
    let (beside, apart) = (object(true), object(false));
    let block = |index: u32| u64::from(index) * 256;
    stage.attach(A);
    stage.write(A, block(beside), 1);
    stage.settle();
    stage.stop(|node, request| node == C && changes_data(request));
    stage.write(A, block(beside), 2);
    stage.settle();
    stage.herd.kill(A);
    stage.herd.stopped = None;
    stage.restart(A);
    stage.stop(move |node, request| {
        let repair = matches!(request.body, RequestBody::Write { .. });
        node == A && repair && request.body.oid() == Some(Oid::data(vid, beside))
    });
    stage.attach(C);
    assert!(stage.is_live(C));
    // A member returns that lists an older write of the map, and cannot read its copy.
    stage.herd.weakness.forgets = 1000;
    stage.herd.kill(B);
    assert!(stage.herd.store_of(B, map).rot(map, 0));
    stage.stop(move |node, request| {
        let oid = request.body.oid();
        match request.body {
            RequestBody::Read { .. } => oid == Some(map),
            RequestBody::Write { .. } => node == A && oid == Some(Oid::data(vid, beside)),
            _ => false,
        }
    });
    stage.restart(B);
    let first = stage.write(C, block(apart), 3);
    stage.settle();
    stage.go();
    assert!(stage.is_done(first));
    stage.check_rest();
    stage.detach(C);
    stage.attach(A);
    assert_eq!(stage.see(A, block(apart)), Some(3)); // MAP-WITH-DATA
    assert_eq!(stage.see(A, block(beside)), Some(2));
}

#[test]
fn each_loss_of_a_member_is_followed_by_an_act_of_its_own() {
    let mut stage = Stage::written();
    for fill in 2..5 {
        stage.lose(C);
        let write = stage.write(A, 0, fill);
        stage.rest();
        assert!(stage.is_done(write), "{fill}");
        assert_eq!(stage.in_sync(), [A, B]);
        stage.restart(C);
        while !stage.herd.is_complete() {
            stage.rest();
        }
    }
    stage.check_rest();
}

#[test]
fn what_only_a_joiner_has_of_a_dead_owner_is_settled_too() {
    let mut stage = Stage::written();
    stage.lose(C);
    let write = stage.write(A, 0, 2);
    stage.rest();
    assert!(stage.is_done(write));
    let lists = |request: &Request| matches!(request.body, RequestBody::List { .. });
    stage.stop(move |_, request| lists(request));
    stage.restart(C);
    stage.rest();
    let joins = |group: &crate::state::Group| group.joined(C).is_some();
    assert!(stage.herd.newest().groups().all(|(_, group)| joins(group)));
    for fill in 3..5 {
        // By the second one it is known that the object exists (AN4).
        let write = stage.write(A, 0, fill);
        stage.rest();
        assert!(stage.is_done(write));
    }
    stage.stop(move |node, request| lists(request) || (node != C && changes_data(request)));
    stage.write(A, 0, 5);
    stage.rest();
    assert_eq!(stage.kept(C, 0).map(|kept| kept.1), Some(5));
    stage.lose(A);
    stage.stop(move |_, request| lists(request));
    stage.restart(A);
    stage.attach(B);
    let seen = stage.see(B, 0);
    assert!(matches!(seen, Some(4 | 5)), "{seen:?}");
    let kept = [A, B, C].map(|node| stage.kept(node, 0));
    assert!(kept[0] == kept[1] && kept[1] == kept[2], "before the joiner fetches: {kept:?}");
    stage.go();
    while !stage.herd.is_complete() {
        stage.rest();
    }
    stage.check_rest();
}
