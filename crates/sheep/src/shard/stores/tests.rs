use sheepdog_proto::{Stamp, Vid, View};
use sheepdog_store::{Corruption, ObjectSummary, Unstable, UnstableKind};

use super::*;

/// Object `index` of one VDI.
fn oid(index: u32) -> Oid {
    Oid::data(Vid::new(5).unwrap(), index)
}

/// Even buckets are on disk 1, odd ones on disk 2.
fn halves() -> Buckets {
    std::array::from_fn(|bucket| 1 + (bucket % 2) as u8)
}

fn of_disk(slot: u8) -> Vec<Oid> {
    (0..200).map(oid).filter(|oid| halves()[usize::from(bucket_of(*oid))] == slot).collect()
}

fn change(oid: Oid) -> Unstable {
    let stamp = Stamp::from_wire(oid.get() + 1);
    Unstable { stamp, oid, first_block: 0, kind: UnstableKind::Write, count: 1 }
}

fn summary(oid: Oid) -> ObjectSummary {
    ObjectSummary { oid, object_shift: 22, base: Stamp::NONE, modified: View(1), blocks: 1 }
}

fn failed() -> StoreError {
    failure("gone")
}

#[test]
fn lists_of_changes_are_joined_and_leftovers_are_not_seen() {
    let (mut first, second) = (of_disk(1), of_disk(2));
    let wanted: BTreeSet<Unstable> = first.iter().chain(&second).copied().map(change).collect();
    first.extend(second[..3].iter().copied()); // left there by a move
    let list = |oids: Vec<Oid>| Ok(Reply::Unstable(oids.into_iter().map(change).collect()));
    let found = whole(&halves(), vec![(1, list(first)), (2, list(second.clone()))]);
    assert_eq!(found, Ok(Reply::Unstable(wanted.into_iter().collect()))); // SS2
    assert_eq!(whole(&halves(), vec![(1, list(second))]), Ok(Reply::Unstable(Vec::new())));
}

#[test]
fn one_error_is_the_error_of_all_and_a_failure_comes_first() {
    let done = || Ok(Reply::Done { blocks: 3 });
    let full = || Err(StoreError::Full);
    assert_eq!(whole(&halves(), vec![(1, done()), (2, full())]), full());
    assert_eq!(whole(&halves(), vec![(1, full()), (2, Err(failed()))]), Err(failed()));
    assert_eq!(whole(&halves(), vec![(1, done()), (2, Ok(Reply::Done { blocks: 0 }))]), done());
}

/// Pages of one disk, at most `limit` objects each.
fn page(all: &[Oid], after: Option<Oid>, limit: usize) -> StoreResult {
    let left: Vec<Oid> = all.iter().copied().filter(|oid| Some(*oid) > after).collect();
    let shown = &left[..left.len().min(limit)];
    let next = if left.len() > limit { shown.last().copied() } else { None };
    let rotten = Vec::new();
    let objects = shown.iter().copied().map(summary).collect();
    Ok(Reply::List(Listing { objects, rotten, next }))
}

#[test]
fn pages_of_several_disks_make_one_list_in_order() {
    let mut first = of_disk(1);
    let second = of_disk(2);
    first.extend(&second[..5]);
    first.sort_unstable();
    for limit in [1, 3, 1000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let pages = vec![(1, page(&first, after, limit)), (2, page(&second, after, limit))];
            let Ok(Reply::List(listing)) = whole(&halves(), pages) else { panic!("no list") };
            found.extend(listing.objects.iter().map(|object| object.oid));
            after = listing.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, (0..200).map(oid).collect::<Vec<_>>(), "limit {limit}");
    }
}

#[test]
fn rotten_objects_are_listed_once() {
    let rotten = |slot: u8| {
        let rotten = (0..9).map(|n| (oid(n), Corruption::NoSuperblock)).collect();
        (slot, Ok(Reply::List(Listing { objects: Vec::new(), rotten, next: None })))
    };
    let Ok(Reply::List(listing)) = whole(&halves(), vec![rotten(1), rotten(2)]) else {
        panic!("no list")
    };
    let found: Vec<Oid> = listing.rotten.into_iter().map(|(oid, _)| oid).collect();
    assert_eq!(found, (0..9).map(oid).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_is_said_once_and_everything_else_each_time() {
    let stores = Stores::new(BTreeMap::new(), halves());
    let rot = StoreError::from(Corruption::NoSuperblock);
    assert!(stores.is_news(&rot) && stores.is_news(&rot));
    assert!(stores.is_news(&StoreError::Full));
    assert!(!stores.is_news(&StoreError::Full));
    assert!(stores.is_news(&rot) && !stores.is_news(&failed()));
}
