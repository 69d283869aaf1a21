//! What the first Sheepdog got wrong (W1 to W12 of the design study), as far as replication decides
//! about it; each test is named after one. Elsewhere: `w07_` in the tests of `state`; `w08_`,
//! `w10_` and `w12_` need real disks and are tests of whole sheep (crates/e2e).

use sheepdog_proto::peer::Request;
use sheepdog_proto::{Generation, NodeId};

use super::stage::{A, B, C, Stage, changes_data, stamp};

impl Stage {
    /// Whoever lacks something fetches it.
    fn until_complete(&mut self) {
        for _ in 0..10 {
            if self.herd.is_complete() {
                return;
            }
            self.rest();
        }
        panic!("a copy that never comes in sync");
    }

    /// Objects and blocks that a member fetched since it started.
    fn fetched(&mut self, node: NodeId) -> (u64, u64) {
        let place = self.place(node);
        let progress = self.herd.unit(place).map(|unit| unit.joiner.progress());
        progress.map_or((0, 0), |progress| (progress.compared, progress.blocks))
    }

    /// Writes that somebody waits for, one after the other.
    fn write_all(&mut self, blocks: std::ops::Range<u64>, fill: u8) {
        self.write_all_by(A, blocks, fill);
    }

    fn write_all_by(&mut self, node: NodeId, blocks: std::ops::Range<u64>, fill: u8) {
        for block in blocks {
            let write = self.write(node, block, fill);
            self.rest();
            assert!(self.is_done(write));
        }
    }
}

#[test]
fn w01_a_gateway_that_dies_between_two_sends_leaves_no_copies_that_differ() {
    let mut stage = Stage::written();
    stage.stop(|node, request| node != B && changes_data(request));
    stage.write(A, 0, 2);
    stage.settle();
    stage.herd.kill(A);
    stage.herd.gone(A);
    stage.go();
    stage.attach(C);
    stage.rest();
    let seen = stage.see(C, 0);
    for _ in 0..4 {
        assert_eq!(stage.see(C, 0), seen, "old and new by turns");
    }
    stage.restart(A);
    stage.until_complete();
    stage.check_rest();
}

#[test]
fn w02_what_has_rotted_reaches_nobody() {
    let mut stage = Stage::written();
    let oid = sheepdog_proto::Oid::data(stage.vid, 0);
    for node in [A, B] {
        assert!(stage.herd.store_of(node, oid).rot(oid, 0));
    }
    assert_eq!(stage.see(A, 0), Some(1));
    stage.check_rest();
}

#[test]
fn w03_that_a_copy_is_there_does_not_make_it_current() {
    let mut stage = Stage::written();
    stage.lose(C);
    stage.write_all(0..1, 2);
    stage.herd.start(C);
    assert_eq!(stage.kept(C, 0).map(|kept| kept.1), Some(1), "it is there, and old");
    assert!(!stage.in_sync().contains(&C));
    stage.until_complete();
    assert_eq!(stage.kept(C, 0).map(|kept| kept.1), Some(2));
    stage.check_rest();
}

#[test]
fn w04_without_a_current_copy_a_read_waits_and_an_old_one_is_not_taken() {
    let mut stage = Stage::written();
    stage.lose(C);
    stage.write_all(0..1, 2);
    stage.lose(B);
    stage.lose(A);
    stage.restart(C);
    stage.attach(C);
    stage.rest();
    assert_eq!(stage.see(C, 0), None, "what C has is undone by what was acknowledged");
    stage.restart(B);
    stage.rest();
    stage.restart(A);
    stage.until_complete();
    stage.rest();
    assert_eq!(stage.see(C, 0), Some(2));
    stage.check_rest();
}

#[test]
fn w05_a_restart_copies_nothing_and_an_absence_only_what_changed() {
    let mut stage = Stage::attached();
    stage.write_all(0..40, 1);
    // Nobody wrote: the member is in sync the moment it is back.
    stage.lose(C);
    stage.restart(C);
    stage.until_complete();
    assert_eq!(stage.fetched(C), (0, 0));
    stage.lose(C);
    stage.write_all(3..5, 2);
    stage.restart(C);
    stage.until_complete();
    assert_eq!(stage.fetched(C), (1, 2), "one object was compared, two blocks were fetched");
    stage.check_rest();
}

#[test]
fn w06_who_is_away_for_a_while_is_not_replaced() {
    let mut stage = Stage::new(5, 3);
    stage.attach(A);
    let targets = |stage: &Stage| {
        let groups = stage.herd.newest().groups().map(|(_, group)| group.targets.clone());
        groups.collect::<Vec<_>>()
    };
    let before = targets(&stage);
    stage.lose(B);
    let write = stage.write(A, 0, 1);
    stage.rest();
    assert!(stage.is_done(write));
    assert_eq!(targets(&stage), before);
    stage.restart(B);
    stage.until_complete();
    assert_eq!(targets(&stage), before);
    stage.check_rest();
}

#[test]
fn w09_what_was_deleted_while_a_member_was_away_does_not_come_back() {
    let mut stage = Stage::written();
    stage.write_all(256..258, 3);
    stage.lose(C);
    let discard = stage.discard(A, 1);
    stage.rest();
    assert!(stage.is_done(discard));
    stage.herd.start(C);
    assert!(stage.kept(C, 256).is_some());
    stage.until_complete();
    assert_eq!((stage.kept(C, 256), stage.kept(C, 257)), (None, None));
    // A new life of the object has nothing of the old one, on any copy.
    stage.write_all(258..259, 4);
    assert_eq!((stage.see(A, 256), stage.see(A, 258)), (Some(0), Some(4)));
    stage.check_rest();
}

#[test]
fn w11_a_dead_owner_keeps_nobody_out_and_what_it_still_sends_is_refused() {
    let mut stage = Stage::written();
    let is_late = |request: &Request| request.generation == Generation(1) && changes_data(request);
    stage.stop(move |node, request| node != A && is_late(request));
    let late = stage.write(A, 0, 2);
    stage.settle();
    stage.herd.gone(A); // it is cut off from the log and goes on
    stage.attach(B);
    stage.write_all_by(B, 0..1, 3);
    stage.go(); // now what A sent arrives
    assert!(!stage.is_done(late), "it is not the owner any more");
    for node in [B, C] {
        assert_eq!(stage.kept(node, 0), Some((stamp(2, 1), 3)));
    }
    stage.herd.kill(A);
    stage.restart(A);
    stage.until_complete();
    assert_eq!(stage.see(B, 0), Some(3));
    stage.check_rest();
}
