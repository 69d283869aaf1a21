//! Objects that the map names and no member has (`gateway::anew`).

use sheepdog_proto::peer::RequestBody;
use sheepdog_proto::{NodeId, Oid};

use super::stage::{A, B, C, Stage, changes_data};

impl Stage {
    /// Object 1 is in the map and on no member; C is away and has an earlier life of it. B owns the
    /// VDI.
    fn half_made() -> Self {
        let mut stage = Self::written();
        for block in 256..258 {
            let write = stage.write(A, block, 3);
            stage.rest();
            assert!(stage.is_done(write));
        }
        stage.lose(C);
        let discard = stage.discard(A, 1);
        stage.rest();
        assert!(stage.is_done(discard));
        // Its data finds no room, so only the entry of the map becomes durable.
        stage.herd.refused = Some(Box::new(|_, request| changes_data(request)));
        stage.write(A, 258, 4);
        stage.rest();
        stage.herd.kill(A);
        stage.herd.gone(A);
        stage.herd.refused = None;
        stage.restart(A);
        stage.attach(B);
        stage.rest();
        assert_eq!((stage.kept(A, 258), stage.kept(B, 258)), (None, None));
        assert!([A, B].into_iter().all(|node| stage.names(node, 1)));
        stage
    }

    /// Whether a member's copy of the map names an object.
    fn names(&mut self, node: NodeId, index: usize) -> bool {
        let map = Oid::map(self.vid, 0);
        let page = self.herd.store_of(node, map).block(map, 0).and_then(|(_, bytes)| bytes);
        page.is_some_and(|page| page[4 * index..][..4] != [0; 4])
    }

    fn until_in_sync(&mut self) {
        for _ in 0..10 {
            if self.herd.is_complete() {
                return;
            }
            self.rest();
        }
        panic!("a copy that never comes in sync");
    }
}

#[test]
fn an_object_without_a_copy_begins_anew() {
    let mut stage = Stage::half_made();
    let writes = [stage.write(B, 259, 5), stage.write(B, 260, 6), stage.write_part(B, 261, 7)];
    stage.rest();
    assert!(
        writes.iter().all(|write| stage.is_done(*write)),
        "all of them are newer than the reset"
    );
    stage.restart(C);
    stage.until_in_sync();
    assert_eq!((stage.kept(C, 256), stage.kept(C, 257)), (None, None), "of an earlier life");
    let seen = [259, 260].map(|block| stage.kept(C, block).map(|kept| kept.1));
    assert_eq!(seen, [Some(5), Some(6)]);
    stage.check_rest();
}

#[test]
fn a_hole_in_it_hides_nothing_of_an_earlier_life() {
    let mut stage = Stage::half_made();
    let operation = crate::volume::Operation::Zero { offset: 300 << 12, len: 4096, discard: false };
    let hole = stage.submit(B, operation);
    stage.rest();
    assert!(stage.is_done(hole));
    stage.restart(C);
    stage.until_in_sync();
    assert_eq!((stage.see(B, 256), stage.kept(C, 256)), (Some(0), None));
    stage.check_rest();
}

#[test]
fn what_one_member_has_is_not_thrown_away_because_another_lacks_it() {
    let mut stage = Stage::written();
    let oid = Oid::data(stage.vid, 0);
    stage.herd.store_of(B, oid).lose(|lost| lost == oid);
    let write = stage.write(A, 1, 2);
    stage.rest();
    assert!(!stage.is_done(write), "B does not have what it is said to have");
    assert_eq!(stage.kept(A, 0).map(|kept| kept.1), Some(1));
    assert_eq!(stage.kept(C, 0).map(|kept| kept.1), Some(1));
}

#[test]
fn an_owner_that_ends_in_the_middle_of_it_leaves_nothing_half() {
    for stopped in [A, B] {
        let mut stage = Stage::half_made();
        stage.stop(move |node, request| node == stopped && changes_data(request));
        stage.write(B, 259, 5);
        stage.rest();
        stage.go();
        stage.lose(B);
        stage.attach(A);
        stage.restart(B);
        stage.rest();
        let write = stage.write(A, 260, 6);
        stage.rest();
        assert!(stage.is_done(write), "{stopped:?}");
        stage.restart(C);
        stage.until_in_sync();
        assert_eq!(stage.kept(C, 256), None);
        stage.check_rest();
    }
}

#[test]
fn whoever_joins_does_not_make_an_object_that_nobody_else_has() {
    let mut stage = Stage::half_made();
    stage.stop(|_, request| {
        matches!(request.body, RequestBody::List { .. } | RequestBody::Reset { .. })
    });
    stage.restart(C);
    stage.rest();
    let joins = |group: &crate::state::Group| group.joined(C).is_some();
    assert!(stage.herd.newest().groups().all(|(_, group)| joins(group)));
    let write = stage.write(B, 259, 5);
    stage.rest();
    assert!(!stage.is_done(write), "it begins with a reset");
    assert_eq!(stage.kept(C, 259), None, "AN4");
    stage.lose(B);
    stage.go();
    stage.attach(A);
    stage.restart(B);
    stage.until_in_sync();
    assert_eq!(stage.see(A, 259), Some(0));
    stage.check_rest();
}
