//! Scenarios of one attachment: writes, discards and reads while members come and go.

use sheepdog_proto::peer::RequestBody;
use sheepdog_proto::{Oid, Payload};

use super::stage::{A, B, C, Stage, changes_data, changes_map, stamp};
use crate::volume::{Answer, Operation};

#[test]
fn a_first_write_is_answered_when_data_and_map_entry_are_durable() {
    let mut stage = Stage::attached();
    stage.stop(|node, request| node == C && changes_map(request));
    let data_only = stage.write(A, 0, 1);
    stage.settle();
    assert_eq!(stage.answer(data_only), None); // MAP-WITH-DATA
    stage.go();
    assert!(stage.is_done(data_only));
    stage.stop(|node, request| node == C && changes_data(request));
    let map_only = stage.write(A, 256, 2);
    stage.settle();
    assert_eq!(stage.answer(map_only), None); // ALL-ACK
    stage.go();
    assert!(stage.is_done(map_only));
    stage.check_rest();
}

#[test]
fn concurrent_first_writes_share_a_write_of_the_map_page() {
    let mut stage = Stage::attached();
    stage.stop(|_, request| changes_map(request));
    let writes = [0, 256, 512, 513].map(|block| stage.write(A, block, 7));
    stage.settle();
    assert!(writes.iter().all(|write| stage.answer(*write).is_none()));
    stage.go();
    assert!(writes.iter().all(|write| stage.is_done(*write)));
    let map = stage.submit(A, Operation::ReadMap { offset: 0, len: 16 });
    let own = stage.vid.get().to_le_bytes();
    let expect = [own, own, own, [0; 4]].concat();
    assert_eq!(stage.answer(map), Some(Ok(Answer::Data(Payload::from(&expect[..])))));
    stage.check_rest();
    // One page for the first of them, one for all that came meanwhile.
    let page = stage.herd.store_of(B, sheepdog_proto::Oid::map(stage.vid, 0));
    let list = page.blocks(stage.vid);
    let map_stamp = list.iter().find(|(oid, ..)| *oid == sheepdog_proto::Oid::map(stage.vid, 0));
    assert_eq!(map_stamp.map(|block| block.2), Some(stamp(1, 9))); // three resets, four writes
}

#[test]
fn a_write_waits_for_the_act_of_a_lost_member_and_goes_on_with_two() {
    let mut stage = Stage::written();
    stage.stop(|node, request| node == C && changes_data(request));
    let write = stage.write(A, 0, 2);
    stage.settle();
    stage.herd.kill(C);
    stage.settle();
    assert_eq!(stage.answer(write), None, "the log does not know that C is lost");
    stage.herd.gone(C);
    let to = stage.herd.log.len();
    stage.herd.advance(stage.place(A), to, false);
    stage.look();
    assert_eq!(stage.answer(write), None); // ACTIVATE
    stage.settle();
    assert!(stage.is_done(write));
    assert_eq!(stage.in_sync(), [A, B]);
    stage.restart(C);
    assert_eq!(stage.see(A, 0), Some(2));
    stage.check_rest();
}

#[test]
fn a_member_that_returns_before_the_act_gets_the_write_again() {
    let mut stage = Stage::written();
    stage.stop(|node, request| node == C && changes_data(request));
    let write = stage.write(A, 0, 2);
    stage.settle();
    stage.herd.kill(C);
    stage.herd.start(C);
    stage.go();
    assert!(stage.is_done(write));
    assert_eq!(stage.in_sync().len(), 3);
    assert_eq!(stage.kept(C, 0).map(|kept| kept.1), Some(2));
    stage.check_rest();
}

#[test]
fn with_two_of_three_lost_writes_wait_and_reads_go_on() {
    let mut stage = Stage::written();
    stage.lose(B);
    stage.lose(C);
    let write = stage.write(A, 1, 2);
    stage.rest();
    assert_eq!(stage.answer(write), None); // copies_min
    assert_eq!(stage.see(A, 0), Some(1));
    assert_eq!(stage.in_sync().len(), 3, "nobody may be taken out");
    stage.restart(B);
    assert!(stage.is_done(write));
    assert_eq!(stage.kept(B, 1).map(|kept| kept.1), Some(2));
    stage.check_rest();
}

#[test]
fn a_request_sent_again_is_not_applied_over_a_newer_write() {
    let mut stage = Stage::written();
    stage.herd.mute.insert(B);
    let old = stage.write(A, 0, 2);
    stage.settle();
    let to_b = |stage: &Stage| {
        let b = stage.place(B);
        let link = stage.herd.links.all.iter().position(|l| l.to == b && l.is_up);
        link.expect("A is connected to B")
    };
    let at = to_b(&stage);
    stage.herd.links.cut(at, true);
    stage.herd.mute.clear();
    stage.settle();
    assert!(stage.is_done(old), "sent again and acknowledged as a duplicate");
    let new = stage.write(A, 0, 3);
    stage.settle();
    assert!(stage.is_done(new));
    for node in [A, B, C] {
        assert_eq!(stage.kept(node, 0), Some((stamp(1, 5), 3)));
    }
    stage.check_rest();
}

#[test]
fn a_partial_write_survives_a_change_of_view_at_each_of_its_steps() {
    for stops_read in [true, false] {
        let mut stage = Stage::written();
        stage.stop(move |_, request| match request.body {
            RequestBody::Read { .. } => stops_read,
            RequestBody::Write { .. } => !stops_read,
            _ => false,
        });
        let part = stage.write_part(A, 0, 9);
        stage.settle();
        assert_eq!(stage.answer(part), None);
        stage.lose(B);
        stage.go();
        assert!(stage.is_done(part), "stopped at the read: {stops_read}");
        let read = stage.read(A, 0);
        stage.settle();
        assert_eq!(stage.bytes(read), Some((1, 9)));
        stage.check_rest();
    }
}

#[test]
fn a_discard_and_writes_of_the_same_object_take_their_turns() {
    let mut stage = Stage::written();
    stage.stop(|node, request| node == B && changes_data(request));
    let before = stage.write(A, 1, 2);
    let discard = stage.discard(A, 0);
    let after = stage.write(A, 2, 3);
    stage.settle();
    stage.go();
    assert!([before, discard, after].iter().all(|token| stage.is_done(*token)));
    assert_eq!((stage.see(A, 0), stage.see(A, 1), stage.see(A, 2)), (Some(0), Some(0), Some(3)));
    for node in [A, B, C] {
        assert_eq!((stage.kept(node, 0), stage.kept(node, 1)), (None, None));
    }
    stage.check_rest();
}

#[test]
fn discarded_data_does_not_return_with_the_next_first_write() {
    let mut stage = Stage::written();
    let discard = stage.discard(A, 0);
    stage.rest();
    assert!(stage.is_done(discard));
    let map = stage.submit(A, Operation::ReadMap { offset: 0, len: 4 });
    assert_eq!(stage.answer(map), Some(Ok(Answer::Data(Payload::from(&[0_u8; 4][..])))));
    stage.write(A, 1, 2);
    assert_eq!(stage.see(A, 0), Some(0));
    stage.check_rest();
}

#[test]
fn a_read_goes_to_another_copy_when_one_is_bad() {
    let mut stage = Stage::written();
    let oid = sheepdog_proto::Oid::data(stage.vid, 0);
    for node in [A, B] {
        assert!(stage.herd.store_of(node, oid).rot(oid, 0));
    }
    stage.lose(C);
    let read = stage.read(A, 0);
    stage.rest();
    assert_eq!(stage.answer(read), None, "C may have a good copy");
    stage.restart(C);
    assert_eq!(stage.bytes(read), Some((1, 1)));
}

#[test]
fn a_bad_copy_is_healed_by_the_read_that_finds_it() {
    let mut stage = Stage::written();
    let oid = sheepdog_proto::Oid::data(stage.vid, 0);
    let before = stage.kept(A, 0);
    assert!(stage.herd.store_of(A, oid).rot(oid, 0));
    assert_eq!(stage.see(A, 0), Some(1));
    // Nobody else has what A could not read a moment ago.
    for node in [B, C] {
        assert!(stage.herd.store_of(node, oid).rot(oid, 0));
    }
    assert_eq!(stage.see(A, 0), Some(1));
    assert!(stage.kept(A, 0) > before, "HE1: under a newer stamp");
    stage.check_rest();
}

#[test]
fn healing_does_not_undo_a_write_that_came_meanwhile() {
    let mut stage = Stage::written();
    let oid = sheepdog_proto::Oid::data(stage.vid, 0);
    assert!(stage.herd.store_of(A, oid).rot(oid, 0));
    let read = stage.read(A, 0);
    let write = stage.write(A, 0, 2);
    let again = stage.read(A, 0);
    stage.settle();
    assert!(stage.is_done(write));
    assert_eq!((stage.bytes(read), stage.bytes(again)), (Some((1, 1)), Some((2, 2))), "HE1");
    assert_eq!(stage.see(A, 0), Some(2));
    stage.check_rest();
}

#[test]
fn a_block_without_a_good_copy_is_an_error_and_never_old_data() {
    let mut stage = Stage::written();
    let oid = sheepdog_proto::Oid::data(stage.vid, 0);
    for node in [A, B, C] {
        assert!(stage.herd.store_of(node, oid).rot(oid, 0));
    }
    let read = stage.read(A, 0);
    stage.settle();
    assert!(matches!(stage.answer(read), Some(Err(crate::volume::Refusal::Io(_)))));
    let write = stage.write(A, 0, 2);
    stage.settle();
    assert!(stage.is_done(write));
    assert_eq!(stage.see(A, 0), Some(2));
    stage.check_rest();
}

#[test]
fn a_full_disk_makes_writes_wait_until_there_is_room() {
    let mut stage = Stage::attached();
    stage.herd.weakness.full = 1000;
    let write = stage.write(A, 0, 1);
    stage.rest();
    assert_eq!(stage.answer(write), None);
    stage.herd.weakness.full = 0;
    stage.rest();
    assert!(stage.is_done(write));
    assert_eq!(stage.kept(C, 0), Some((stamp(1, 2), 1))); // after its reset
    stage.check_rest();
}

#[test]
fn writes_wait_when_too_many_were_done_beyond_one_that_waits() {
    // The two groups have different members, one of them too few.
    let mut stage = Stage::new(5, 3);
    let state = stage.herd.newest().clone();
    let members = |object| state.group_of(Oid::data(stage.vid, object)).unwrap().1.in_sync.clone();
    let map = state.group_of(Oid::map(stage.vid, 0)).unwrap().1.in_sync.clone();
    let waiting = (0..16)
        .find(|object| members(*object).iter().filter(|node| !map.contains(node)).count() == 2);
    let waiting = waiting.expect("a group that shares one member with the map's");
    let lost = members(waiting).into_iter().filter(|node| !map.contains(node)).collect::<Vec<_>>();
    let free = (0..16)
        .find(|object| members(*object).iter().filter(|node| lost.contains(node)).count() < 2);
    let free = u64::from(free.expect("a group that keeps two members")) * 256;
    let owner = map[0];
    stage.attach(owner);
    stage.write(owner, free, 1);
    stage.rest();
    lost.iter().for_each(|node| stage.lose(*node));
    let (place, vid) = (stage.place(owner), stage.vid);
    let gateway = &mut stage.herd.unit(place).unwrap().gateway;
    gateway.attachments.get_mut(&vid).unwrap().sequencer.window = 8;
    let stuck = stage.write(owner, u64::from(waiting) * 256, 2);
    let others: Vec<u64> = (0..20).map(|block| stage.write(owner, free + block, 3)).collect();
    stage.rest();
    assert_eq!(stage.answer(stuck), None);
    let done = others.iter().filter(|other| stage.is_done(**other)).count();
    assert!((1..=8).contains(&done), "{done}"); // W1
    assert_eq!(stage.see(owner, free + 19), None, "a read waits for the write before it");
    stage.restart(lost[0]);
    stage.rest();
    assert!(stage.is_done(stuck) && others.iter().all(|other| stage.is_done(*other)));
    stage.check_rest();
}
