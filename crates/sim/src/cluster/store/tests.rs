use sheepdog_proto::{Generation, Stamp, View};
use sheepdog_store::{FakeDisk, ObjectSummary, Options};

use super::*;

fn object(index: u32) -> ObjectSummary {
    let oid = Oid::data(Vid::new(7).unwrap(), index);
    ObjectSummary { oid, object_shift: 20, base: Stamp::NONE, modified: View(1), blocks: 1 }
}

fn listing(indexes: &[u32], next: Option<u32>) -> Listing {
    let objects = indexes.iter().map(|index| object(*index)).collect();
    Listing { objects, next: next.map(|index| object(index).oid), ..Listing::default() }
}

#[test]
fn lists_of_two_disks_are_one_as_far_as_both_have_looked() {
    let one = one_listing(vec![listing(&[1, 5], Some(5)), listing(&[2, 9], None)]);
    assert_eq!(one, listing(&[1, 2, 5], Some(5)));
    let error = whole(vec![Ok(Reply::Unstable(Vec::new())), Err(StoreError::Full)]);
    assert_eq!(error, Err(StoreError::Full));
}

#[test]
fn a_failed_disk_answers_nothing_with_success_and_the_other_goes_on() {
    let disks = [FakeDisk::new(), FakeDisk::new()];
    let options = Options { segment_bytes: 0, reserve_bytes: 0, ..Options::default() };
    let open = |disk: &FakeDisk| Store::open(Box::new(disk.clone()), options).unwrap().0;
    let mut stores = Stores::new(disks.iter().map(open).collect());
    let of_slot = |slot| (0..).map(object).find(|o| slot_of(o.oid, 2) == slot).unwrap().oid;
    disks[1].fail(sheepdog_store::disk::fake::Fault::Write, 0);
    for slot in 0..2 {
        let (oid, object_shift, view) = (of_slot(slot), 20, View(1));
        let (first_block, count, stamp) = (0, 1, Stamp::new(Generation(1), 1));
        let hole = Request::Hole { oid, object_shift, first_block, count, stamp, view };
        stores.push(hole, Then::Reply { reply_to: ReplyTo::Gateway, id: slot as u64 });
    }
    let (mut replies, mut failed) = (Vec::new(), Vec::new());
    while replies.len() < 2 {
        let turned = stores.turn();
        replies.extend(turned.replies);
        failed.extend(turned.failures.into_iter().map(|(slot, _)| slot));
    }
    assert_eq!(failed, [1]);
    for (then, result) in replies {
        let Then::Reply { id, .. } = then else { panic!("{then:?}") };
        assert_eq!(result.is_ok(), id == 0, "{result:?}");
    }
}
