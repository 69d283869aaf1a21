//! Scenarios of what must end: grants, drains, lists, watermarks, answers that are lost.

use sheepdog_proto::command::Command;
use sheepdog_proto::peer::{PeerError, Reply, RequestBody};
use sheepdog_proto::{Generation, ObjectKind};

use super::super::Action;
use super::herd::Event;
use super::stage::{A, B, C, Stage, changes_data};
use crate::volume::{Answer, Refusal};

#[test]
fn a_grant_may_be_told_before_or_after_the_state_that_has_it() {
    for grants_first in [true, false] {
        let mut stage = Stage::new(3, 0);
        let command = stage.herd.attach_command(stage.vid, B).unwrap();
        stage.herd.append(command);
        let (place, to) = (stage.place(B), stage.herd.log.len());
        stage.herd.advance(place, to, grants_first);
        let write = stage.write(B, 0, 1);
        stage.settle();
        assert!(stage.is_done(write), "grants first: {grants_first}"); // A1
    }
}

#[test]
fn a_state_older_than_the_grant_does_not_end_the_attachment() {
    let mut stage = Stage::new(3, 0);
    let command = stage.herd.attach_command(stage.vid, B).unwrap();
    stage.herd.append(command);
    let newest = stage.herd.newest().clone();
    let owner = newest.catalogue.get(stage.vid).unwrap().attachment.clone().unwrap();
    let (place, vid, before) = (stage.place(B), stage.vid, stage.herd.log.len() - 1);
    let older = stage.herd.states[before].clone();
    let gateway = &mut stage.herd.unit(place).unwrap().gateway;
    gateway.handle_granted(vid, &owner);
    gateway.handle_state(older);
    assert!(!gateway.take_actions().iter().any(|action| matches!(action, Action::Lost(_)))); // A1
    gateway.handle_state(newest);
    assert_eq!(gateway.attached().count(), 1);
}

#[test]
fn a_grant_that_was_given_up_since_is_not_taken() {
    let mut stage = Stage::attached();
    let state = stage.herd.newest().clone();
    let owner = state.catalogue.get(stage.vid).unwrap().attachment.clone().unwrap();
    stage.detach(A);
    let (place, vid) = (stage.place(A), stage.vid);
    let gateway = &mut stage.herd.unit(place).unwrap().gateway;
    gateway.handle_granted(vid, &owner);
    assert_eq!(gateway.attached().count(), 0);
    assert!(matches!(gateway.take_actions()[..], [Action::Lost(of)] if of == vid));
}

#[test]
fn an_attachment_without_operations_is_drained_at_once_in_every_phase() {
    for stopped in [ObjectKind::Map, ObjectKind::Data] {
        let mut stage = Stage::new(3, 0);
        stage.stop(move |_, request| match request.body {
            RequestBody::Barrier { .. } => stopped == ObjectKind::Data,
            _ => request.body.oid().is_some_and(|oid| oid.kind() == stopped),
        });
        stage.attach(A);
        assert!(!stage.is_live(A));
        stage.detach(A);
        stage.go();
        stage.attach(B);
        assert!(stage.is_live(B));
        stage.check_rest();
    }
}

#[test]
fn a_drain_ends_when_everything_submitted_has_ended() {
    let mut stage = Stage::new(3, 0);
    stage.stop(|node, request| node == C && matches!(request.body, RequestBody::Barrier { .. }));
    stage.attach(A);
    let write = stage.write(A, 0, 1);
    let place = stage.place(A);
    stage.herd.drain(place, stage.vid);
    let late = stage.write(A, 1, 1);
    stage.settle();
    assert_eq!(stage.answer(late), Some(Err(Refusal::Fenced)));
    assert_eq!(stage.answer(write), None);
    let drained = |event: &Event| matches!(event, Event::Drained(..));
    assert!(!stage.events.iter().any(drained));
    stage.go();
    assert_eq!(stage.answer(write), Some(Ok(Answer::Done)));
    assert_eq!(stage.events.iter().filter(|event| drained(event)).count(), 1);
}

#[test]
fn a_watermark_that_was_lost_is_told_again() {
    let mut stage = Stage::attached();
    stage.stop(|node, request| node == B && request.body == RequestBody::Watermark);
    stage.write(A, 0, 1);
    stage.rest();
    assert_eq!((stage.listed(A), stage.listed(C)), (0, 0));
    assert!(stage.listed(B) > 0);
    let at = stage.herd.links.all.iter().position(|l| l.to.node == B && l.is_up).unwrap();
    stage.herd.links.cut(at, false);
    stage.herd.stopped = None;
    stage.check_rest(); // A2
}

#[test]
fn a_settlement_that_was_lost_is_told_again() {
    let mut stage = Stage::written();
    stage.stop(|node, request| node == C && changes_data(request));
    stage.write(A, 0, 2);
    stage.settle();
    stage.herd.kill(A);
    stage.herd.stopped = None;
    stage.restart(A);
    stage.stop(|node, request| node == C && matches!(request.body, RequestBody::Settle { .. }));
    stage.attach(B);
    stage.rest();
    let at = stage.herd.links.all.iter();
    let at = at.clone().position(|l| l.from.node == B && l.to.node == C && l.is_up).unwrap();
    stage.herd.links.cut(at, false);
    stage.herd.stopped = None;
    stage.check_rest(); // A2
}

#[test]
fn a_member_that_forgets_a_watermark_in_a_crash_is_told_again() {
    let mut stage = Stage::written();
    stage.rest();
    assert_eq!(stage.listed(C), 0);
    stage.herd.weakness.forgets = 1000;
    stage.herd.kill(C);
    assert!(stage.listed(C) > 0);
    stage.restart(C);
    stage.check_rest(); // A2
    stage.herd.kill(C);
    stage.restart(C);
    stage.detach(A);
    stage.attach(B);
    stage.herd.kill(C);
    stage.restart(C);
    stage.check_rest(); // of an older generation, by a settlement
}

#[test]
fn a_barrier_that_is_refused_is_asked_again() {
    let mut stage = Stage::new(3, 0);
    let is_barrier = |request: &sheepdog_proto::peer::Request| {
        matches!(request.body, RequestBody::Barrier { .. })
    };
    stage.stop(move |node, request| node == B && is_barrier(request));
    stage.attach(A);
    let (place, from) = (stage.place(A), stage.place(B));
    let link = stage.herd.links.all.iter().find(|l| l.from == place && l.to == from).unwrap();
    let id = link.requests.front().unwrap().id;
    let gateway = &mut stage.herd.unit(place).unwrap().gateway;
    gateway.handle_reply(from, Reply { id, result: Err(PeerError::Invalid) });
    stage.herd.stopped = None;
    stage.rest();
    assert!(stage.is_live(A));
    stage.check_rest();
}

#[test]
fn the_barrier_answer_of_a_dead_life_does_not_count_for_the_next() {
    let mut stage = Stage::new(3, 0);
    stage.stop(|node, request| node == B && matches!(request.body, RequestBody::Barrier { .. }));
    stage.attach(A);
    let (place, from) = (stage.place(A), stage.place(B));
    let link = stage.herd.links.all.iter().find(|l| l.from == place && l.to == from).unwrap();
    let id = link.requests.front().unwrap().id;
    stage.herd.kill(B);
    stage.restart(B);
    let gateway = &mut stage.herd.unit(place).unwrap().gateway;
    let result = Ok(sheepdog_proto::peer::ReplyBody::Unstable(Vec::new()));
    gateway.handle_reply(from, Reply { id, result });
    stage.settle();
    assert!(!stage.is_live(A)); // B1
    stage.go();
    assert!(stage.is_live(A));
}

#[test]
fn a_map_that_nobody_can_read_is_asked_for_until_somebody_can() {
    let mut stage = Stage::written();
    stage.detach(A);
    stage.herd.weakness.unreadable = 1000;
    stage.attach(A);
    stage.rest();
    assert!(!stage.is_live(A));
    stage.herd.weakness.unreadable = 0;
    stage.rest();
    assert!(stage.is_live(A));
    assert_eq!(stage.see(A, 0), Some(1));
    stage.check_rest();
}

#[test]
fn a_group_that_must_wait_does_not_hold_up_the_others() {
    // Five sheep, so that groups have different members.
    let mut stage = Stage::new(5, 3);
    stage.attach(A);
    let blocks = [0, 256, 512, 768];
    for block in blocks {
        stage.write(A, block, 1);
    }
    stage.rest();
    let groups = |stage: &Stage| {
        blocks.map(|block| {
            let oid = sheepdog_proto::Oid::data(stage.vid, (block / 256) as u32);
            stage.herd.newest().group_of(oid).unwrap().1.in_sync.clone()
        })
    };
    let map = sheepdog_proto::Oid::map(stage.vid, 0);
    let map_members = stage.herd.newest().group_of(map).unwrap().1.in_sync.clone();
    let (waiting, members) = groups(&stage)
        .into_iter()
        .enumerate()
        .find(|(_, members)| members.iter().filter(|node| !map_members.contains(node)).count() == 2)
        .expect("a group that shares one member with the map");
    let strangers: Vec<_> =
        members.into_iter().filter(|node| !map_members.contains(node)).collect();
    // A change of the group is listed by the member that stays.
    let oid = sheepdog_proto::Oid::data(stage.vid, waiting as u32);
    let lost = strangers.clone();
    stage.stop(move |node, request| lost.contains(&node) && request.body.oid() == Some(oid));
    stage.write(A, blocks[waiting], 2);
    stage.settle();
    let owner = *map_members.iter().find(|node| **node != A).unwrap();
    stage.herd.kill(A);
    stage.herd.start(A);
    for node in strangers {
        stage.lose(node);
    }
    stage.go();
    stage.attach(owner);
    assert!(stage.is_live(owner));
    let others: Vec<u64> = (0..4).filter(|at| *at != waiting).map(|at| blocks[at]).collect();
    let served = others.iter().filter(|block| stage.see(owner, **block) == Some(1)).count();
    assert!(served > 0, "groups with two living members are served");
    let read = stage.read(owner, blocks[waiting]);
    stage.rest();
    assert_eq!(stage.answer(read), None, "one of three may not decide");
}

#[test]
fn an_attachment_that_is_over_answers_everything_as_fenced() {
    let mut stage = Stage::written();
    stage.stop(|node, request| node == C && changes_data(request));
    let write = stage.write(A, 0, 2);
    stage.settle();
    let (vid, generation) = (stage.vid, Generation(1));
    stage.herd.append(Command::Detach { vid, generation });
    stage.settle();
    assert_eq!(stage.answer(write), Some(Err(Refusal::Fenced)));
    let lost = |event: &&Event| matches!(event, Event::Lost(..));
    assert_eq!(stage.events.iter().filter(lost).count(), 1);
    let after = stage.write(A, 0, 3);
    assert_eq!(stage.answer(after), Some(Err(Refusal::Fenced)));
}

#[test]
fn what_was_read_is_told_only_under_the_lease() {
    let mut stage = Stage::written();
    let place = stage.place(A);
    let lease = |stage: &mut Stage, lasts| {
        stage.herd.set_lease(place, lasts);
        stage.settle();
    };
    lease(&mut stage, false);
    let (read, write) = (stage.read(A, 0), stage.write(A, 1, 2));
    stage.settle();
    assert!(stage.is_done(write), "members refuse it if they know better");
    assert_eq!(stage.answer(read), None); // LEASE
    lease(&mut stage, true);
    assert_eq!(stage.bytes(read), Some((1, 1)));

    lease(&mut stage, false);
    let read = stage.read(A, 0);
    stage.settle();
    stage.herd.gone(A); // it does not know
    stage.attach(B);
    let write = stage.write(B, 0, 3);
    stage.settle();
    assert!(stage.is_done(write));
    assert!(!matches!(stage.answer(read), Some(Ok(_))), "the older value");
}

#[test]
fn a_drain_waits_for_an_answer_that_is_kept_back() {
    let mut stage = Stage::written();
    let (place, vid) = (stage.place(A), stage.vid);
    stage.herd.set_lease(place, false);
    let read = stage.read(A, 0);
    stage.settle();
    stage.herd.drain(place, vid);
    stage.settle();
    let is_drained = |stage: &Stage| stage.events.iter().any(|e| matches!(e, Event::Drained(..)));
    assert!(!is_drained(&stage)); // LE1
    stage.herd.set_lease(place, true);
    stage.settle();
    assert_eq!(stage.bytes(read), Some((1, 1)));
    assert!(is_drained(&stage));
}
