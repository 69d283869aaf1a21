//! The rules of the seam, one by one.

use sheepdog_proto::{BLOCK_BYTES, Generation, Oid, Payload, Stamp, View};
use sheepdog_store::{
    BlockState, Corruption, FakeDisk, Options, Refusal, Reply, Request, Store, StoreError,
    Unstable, UnstableKind,
};

use crate::history::{SHIFT, small_options, stamp, vid, write};
use crate::model::ask;

fn open(disk: &FakeDisk) -> Store {
    Store::open(Box::new(disk.clone()), small_options()).unwrap().0
}

fn fresh() -> (FakeDisk, Store) {
    let disk = FakeDisk::new();
    let store = open(&disk);
    (disk, store)
}

fn object() -> Oid {
    Oid::data(vid(1), 0)
}

fn reset(stamp: Stamp) -> Request {
    Request::Reset { oid: object(), stamp, view: View(1) }
}

fn hole(first_block: u32, count: u32, stamp: Stamp) -> Request {
    let (oid, object_shift, view) = (object(), SHIFT, View(1));
    Request::Hole { oid, object_shift, first_block, count, stamp, view }
}

#[test]
fn a_change_of_what_must_exist_is_refused_where_it_does_not() {
    let (disk, mut store) = fresh();
    let must = |request| Request::Existing(Box::new(request));
    let refused = |store: &mut Store, request| {
        let answer = store.execute(vec![must(request)]).pop().unwrap();
        assert_eq!(answer, Err(Refusal::Missing(object()).into()));
    };
    refused(&mut store, write(object(), 0, 1, stamp(1, 1), 1, 7));
    refused(&mut store, hole(0, 1, stamp(1, 1)));
    // What is remembered of a reset is no object.
    ask(&mut store, reset(stamp(1, 1)));
    refused(&mut store, write(object(), 0, 1, stamp(1, 2), 1, 7));
    ask(&mut store, write(object(), 0, 1, stamp(1, 2), 1, 7));
    ask(&mut store, must(write(object(), 1, 1, stamp(1, 3), 1, 7)));
    drop(store);
    let mut store = open(&disk);
    ask(&mut store, must(hole(1, 1, stamp(1, 4))));
    // In one batch: the object is not there yet, but will be, or not any more.
    let next = Oid::data(vid(1), 1);
    let both =
        vec![write(next, 0, 1, stamp(1, 5), 1, 7), must(write(next, 1, 1, stamp(1, 6), 1, 7))];
    assert!(store.execute(both).iter().all(Result::is_ok));
    let gone = vec![reset(stamp(1, 7)), must(hole(0, 1, stamp(1, 8)))];
    assert!(store.execute(gone)[1].is_err());
}

/// Stamp and state of the first `count` blocks.
fn stamps(store: &mut Store, count: u32) -> Vec<(u64, &'static str)> {
    let Reply::Stamps { blocks, .. } =
        ask(store, Request::Stamps { oid: object(), first_block: 0, count })
    else {
        panic!("no stamps");
    };
    let state = |state| match state {
        BlockState::Absent => "absent",
        BlockState::Hole => "hole",
        BlockState::Data { .. } => "data",
    };
    blocks.iter().map(|block| (block.stamp.sequence(), state(block.state))).collect()
}

fn unstable(store: &mut Store) -> Vec<(u64, UnstableKind)> {
    let Reply::Unstable(list) = ask(store, Request::Unstable { vid: vid(1) }) else {
        panic!("no list");
    };
    list.iter().map(|change: &Unstable| (change.stamp.get(), change.kind)).collect()
}

fn modified(store: &mut Store) -> Option<View> {
    let Reply::List(listing) = ask(store, Request::List { after: None, limit: 1 }) else {
        panic!("no list");
    };
    listing.objects.first().map(|object| object.modified)
}

#[test]
fn older_and_equal_stamps_are_acknowledged_and_ignored() {
    let (_, mut store) = fresh();
    assert_eq!(
        ask(&mut store, write(object(), 0, 2, stamp(1, 5), 1, 1)),
        Reply::Done { blocks: 2 }
    );
    let before = ask(&mut store, Request::Read { oid: object(), first_block: 0, count: 4 });
    for old in [stamp(1, 5), stamp(1, 4)] {
        let again = write(object(), 0, 2, old, 1, 2);
        assert_eq!(ask(&mut store, again), Reply::Done { blocks: 0 });
    }
    let after = ask(&mut store, Request::Read { oid: object(), first_block: 0, count: 4 });
    assert_eq!(before, after);
    // Where nothing newer is, the older one is new.
    assert_eq!(
        ask(&mut store, write(object(), 1, 2, stamp(1, 3), 1, 3)),
        Reply::Done { blocks: 1 }
    );
    assert_eq!(stamps(&mut store, 4), [(5, "data"), (5, "data"), (3, "data"), (0, "absent")]);
}

#[test]
fn a_duplicate_under_a_newer_view_raises_the_view_durably() {
    let (disk, mut store) = fresh();
    ask(&mut store, write(object(), 0, 1, stamp(1, 5), 3, 1));
    ask(&mut store, write(object(), 0, 1, stamp(1, 5), 9, 1));
    assert_eq!(modified(&mut store), Some(View(9)));
    drop(store);
    disk.power_cycle(1);
    assert_eq!(modified(&mut open(&disk)), Some(View(9)));
}

#[test]
fn a_batch_is_one_commit() {
    let (disk, mut store) = fresh();
    let batch = |sequence| {
        let write = |block| write(object(), block, 1, stamp(1, sequence), 1, sequence);
        (0..8).map(write).collect::<Vec<_>>()
    };
    // The first one begins a segment, beside which a file of the log is made.
    store.execute(batch(1));
    store.turn(true);
    let before = (disk.syncs(), store.statistics().batches);
    assert!(store.execute(batch(2)).iter().all(Result::is_ok));
    assert_eq!((disk.syncs(), store.statistics().batches), (before.0 + 1, before.1 + 1));
}

#[test]
fn questions_and_watermarks_touch_no_disk() {
    let (disk, mut store) = fresh();
    ask(&mut store, write(object(), 0, 1, stamp(1, 1), 1, 1));
    store.turn(true);
    let before = disk.operations();
    ask(&mut store, Request::Read { oid: object(), first_block: 0, count: 2 });
    ask(&mut store, Request::Unstable { vid: vid(1) });
    for sequence in 0..200 {
        ask(&mut store, Request::Watermark { vid: vid(1), stable: stamp(1, sequence) });
    }
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_read_sees_the_changes_before_it_in_its_batch_and_no_later_one() {
    let (_, mut store) = fresh();
    let first = write(object(), 0, 1, stamp(1, 1), 1, 1);
    let second = write(object(), 0, 1, stamp(1, 2), 1, 2);
    let read = Request::Read { oid: object(), first_block: 0, count: 1 };
    let batch =
        vec![read.clone(), first, read.clone(), second, read.clone(), reset(stamp(1, 3)), read];
    let replies = store.execute(batch);
    let seen: Vec<u64> = [0, 2, 4, 6]
        .into_iter()
        .map(|place| match &replies[place] {
            Ok(Reply::Read(read)) => read.blocks[0].stamp.sequence(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, [0, 1, 2, 3]);
}

#[test]
fn a_reset_takes_the_older_blocks_and_no_newer_one() {
    let (disk, mut store) = fresh();
    ask(&mut store, write(object(), 0, 1, stamp(1, 2), 1, 1));
    ask(&mut store, hole(1, 1, stamp(1, 3)));
    ask(&mut store, write(object(), 2, 1, stamp(1, 9), 1, 1));
    assert_eq!(ask(&mut store, reset(stamp(1, 5))), Reply::Done { blocks: 2 });
    assert_eq!(stamps(&mut store, 3), [(5, "absent"), (5, "absent"), (9, "data")]);
    // What is older than the base stays away, what is equal belongs to the same create.
    assert_eq!(
        ask(&mut store, write(object(), 0, 1, stamp(1, 4), 1, 2)),
        Reply::Done { blocks: 0 }
    );
    assert_eq!(
        ask(&mut store, write(object(), 0, 1, stamp(1, 5), 1, 2)),
        Reply::Done { blocks: 1 }
    );
    assert_eq!(ask(&mut store, reset(stamp(1, 20))), Reply::Done { blocks: 2 });
    assert_eq!(store.object_count(), 0);
    drop(store);
    disk.power_cycle(1);
    assert_eq!(open(&disk).object_count(), 0);
}

#[test]
fn an_unstable_reset_is_remembered_without_an_object_and_across_a_crash() {
    let (disk, mut store) = fresh();
    ask(&mut store, write(object(), 0, 1, stamp(1, 2), 1, 1));
    ask(&mut store, reset(stamp(1, 5)));
    store.checkpoint().unwrap();
    drop(store);
    disk.power_cycle(3);
    let mut store = open(&disk);
    assert_eq!(stamps(&mut store, 1), [(5, "absent")]);
    assert_eq!(
        ask(&mut store, write(object(), 0, 1, stamp(1, 4), 1, 1)),
        Reply::Done { blocks: 0 }
    );
    ask(&mut store, Request::Watermark { vid: vid(1), stable: stamp(1, 5) });
    assert_eq!(stamps(&mut store, 1), [(5, "absent")]);
    store.checkpoint().unwrap();
    assert_eq!(stamps(&mut store, 1), [(0, "absent")]);
}

#[test]
fn a_watermark_covers_its_own_generation_only() {
    let (disk, mut store) = fresh();
    ask(&mut store, write(object(), 0, 1, stamp(1, 7), 1, 1));
    ask(&mut store, write(object(), 1, 1, stamp(2, 3), 1, 1));
    ask(&mut store, write(object(), 2, 1, stamp(2, 4), 1, 1));
    ask(&mut store, Request::Watermark { vid: vid(1), stable: stamp(2, 3) });
    let (old, new) = (stamp(1, 7).get(), stamp(2, 4).get());
    let both = [(old, UnstableKind::Write), (new, UnstableKind::Write)];
    assert_eq!(unstable(&mut store), both);
    store.checkpoint().unwrap();
    drop(store);
    disk.power_cycle(1);
    let mut store = open(&disk);
    assert_eq!(unstable(&mut store), both);
    let other = Oid::data(vid(1), 9);
    let settle =
        |oid, below| Request::Settle { vid: vid(1), below: Generation(below), oids: vec![oid] };
    ask(&mut store, settle(other, 2));
    ask(&mut store, settle(object(), 1));
    assert_eq!(unstable(&mut store), both);
    ask(&mut store, settle(object(), 2));
    assert_eq!(unstable(&mut store), [(new, UnstableKind::Write)]);
}

#[test]
fn a_watermark_that_came_before_a_write_is_kept_by_its_commit() {
    let (disk, mut store) = fresh();
    ask(&mut store, write(object(), 0, 1, stamp(1, 1), 1, 1));
    ask(&mut store, Request::Watermark { vid: vid(1), stable: stamp(1, 1) });
    ask(&mut store, write(object(), 0, 1, stamp(1, 2), 1, 1));
    drop(store);
    disk.power_cycle(1);
    assert_eq!(unstable(&mut open(&disk)), [(stamp(1, 2).get(), UnstableKind::Write)]);
}

/// Requests that no store takes, with what it says, if `oid` has 2^20 bytes.
fn wrong_requests(oid: Oid) -> Vec<(Request, Refusal)> {
    let good = write(oid, 4, 2, stamp(1, 2), 1, 1);
    let change = |change: fn(&mut Request)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let set_data = change(|request| {
        if let Request::Write { data, .. } = request {
            *data = data.slice(0..BLOCK_BYTES + 1);
        }
    });
    let set_checksum = change(|request| {
        if let Request::Write { checksums, .. } = request {
            checksums[1] ^= 1;
        }
    });
    let set_place = change(|request| {
        if let Request::Write { first_block, .. } = request {
            *first_block = 5;
        }
    });
    let set_shift = |shift| {
        let mut request = good.clone();
        if let Request::Write { object_shift, .. } = &mut request {
            *object_shift = shift;
        }
        request
    };
    let empty = change(|request| {
        if let Request::Write { data, checksums, .. } = request {
            (*data, *checksums) = (Payload::empty(), Vec::new());
        }
    });
    let range = |first_block, count| Refusal::Range { oid, first_block, count };
    vec![
        (set_data, Refusal::Length { bytes: BLOCK_BYTES + 1, checksums: 2 }),
        (set_checksum, Refusal::Checksum { oid, block: 5 }),
        (set_place, Refusal::Checksum { oid, block: 5 }),
        (set_shift(19), Refusal::Shift(19)),
        (set_shift(27), Refusal::Shift(27)),
        (set_shift(22), Refusal::ShiftMismatch { oid, have: 20, want: 22 }),
        (empty, range(4, 0)),
        (write(oid, 255, 2, stamp(1, 2), 1, 1), range(255, 2)),
        (hole(u32::MAX, 2, stamp(1, 2)), range(u32::MAX, 2)),
        (hole(0, u32::MAX, stamp(1, 2)), range(0, u32::MAX)),
        (hole(0, 0, stamp(1, 2)), range(0, 0)),
        (hole(0, 1, Stamp::NONE), Refusal::NoStamp),
        (reset(Stamp::NONE), Refusal::NoStamp),
        (Request::Read { oid, first_block: 250, count: 7 }, range(250, 7)),
        (
            Request::Read { oid: Oid::data(vid(3), 0), first_block: 0, count: 20_000 },
            Refusal::Range { oid: Oid::data(vid(3), 0), first_block: 0, count: 20_000 },
        ),
        (Request::Stamps { oid, first_block: 1, count: 0 }, range(1, 0)),
    ]
}

#[test]
fn wrong_requests_are_refused_and_change_nothing() {
    let (disk, mut store) = fresh();
    let oid = object();
    ask(&mut store, write(oid, 0, 1, stamp(1, 1), 1, 1));
    let before = (stamps(&mut store, 8), unstable(&mut store));
    for (request, refusal) in wrong_requests(oid) {
        let replies = store.execute(vec![request.clone()]);
        assert_eq!(replies, [Err(StoreError::Refused(refusal))], "{request:?}");
    }
    assert_eq!((stamps(&mut store, 8), unstable(&mut store)), before);
    drop(store);
    disk.power_cycle(1);
    let mut store = open(&disk);
    assert_eq!((stamps(&mut store, 8), unstable(&mut store)), before);
}

#[test]
fn the_largest_object_works_at_both_ends() {
    let (disk, mut store) = fresh();
    let mut last = write(object(), 0, 1, stamp(1, 1), 1, 1);
    if let Request::Write { object_shift, .. } = &mut last {
        *object_shift = 26;
    }
    ask(&mut store, last);
    let blocks = 1 << 14;
    let mut request = hole(blocks - 1, 1, stamp(1, 2));
    if let Request::Hole { object_shift, .. } = &mut request {
        *object_shift = 26;
    }
    ask(&mut store, request);
    drop(store);
    disk.power_cycle(5);
    let states = stamps(&mut open(&disk), blocks);
    assert_eq!(states[0], (1, "data"));
    assert_eq!(states[blocks as usize - 1], (2, "hole"));
    assert!(states[1..blocks as usize - 1].iter().all(|state| *state == (0, "absent")));
}

#[test]
fn an_object_can_come_back_in_another_size() {
    let (disk, mut store) = fresh();
    let mut larger = write(object(), 0, 3, stamp(1, 3), 1, 2);
    if let Request::Write { object_shift, .. } = &mut larger {
        *object_shift = 22;
    }
    ask(&mut store, write(object(), 0, 200, stamp(1, 1), 1, 1));
    // Once in one batch, with a file that has a name and with one that has none yet.
    let shrink = write(object(), 7, 1, stamp(1, 5), 1, 1);
    let batch = vec![reset(stamp(1, 2)), larger.clone(), reset(stamp(1, 4)), shrink];
    assert!(store.execute(batch).iter().all(Result::is_ok));
    drop(store);
    disk.power_cycle(2);
    let mut store = open(&disk);
    let expected: Vec<_> =
        (0..8).map(|block| if block == 7 { (5, "data") } else { (4, "absent") }).collect();
    assert_eq!(stamps(&mut store, 8), expected);
}

#[test]
fn open_files_and_memory_are_bounded() {
    let disk = FakeDisk::new();
    let options = Options { metadata_bytes_max: 4 << 12, ..small_options() };
    let (mut store, _) = Store::open(Box::new(disk.clone()), options).unwrap();
    for index in 0..40 {
        ask(&mut store, write(Oid::data(vid(1), index), 0, 1, stamp(1, 1), 1, 1));
    }
    store.checkpoint().unwrap();
    for round in 1..3 {
        for index in 0..40 {
            let read = Request::Read { oid: Oid::data(vid(1), index), first_block: 0, count: 1 };
            assert!(matches!(ask(&mut store, read), Reply::Read(_)));
            // One slab, metadata, index, two checkpoints, five files of the log.
            assert!(disk.open_files() <= 10);
        }
        let read = store.statistics().read_pages;
        assert!(read >= 30 * round, "round {round}: {read} pages of 40 were read");
    }
}

#[test]
fn a_list_is_read_page_by_page() {
    let (_, mut store) = fresh();
    for index in 0..7 {
        ask(&mut store, write(Oid::data(vid(1), index), 0, index + 1, stamp(1, 1), 1, 1));
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let Reply::List(page) = ask(&mut store, Request::List { after, limit: 3 }) else {
            panic!("no list");
        };
        seen.extend(page.objects.iter().map(|object| (object.oid.index(), object.blocks)));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (0..7).map(|index| (index, index + 1)).collect::<Vec<_>>());
}

#[test]
fn strange_files_are_left_alone_and_those_in_the_log_reported() {
    let (disk, mut store) = fresh();
    ask(&mut store, write(object(), 0, 1, stamp(1, 1), 1, 1));
    drop(store);
    let strangers = ["wal/00010", "wal/old"];
    for path in strangers.iter().chain(&["notes", "data/notes", "data/0002"]) {
        disk.plant(path, b"mine");
    }
    let (mut store, report) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
    assert_eq!(report.strangers, strangers);
    assert_eq!(stamps(&mut store, 2), [(1, "data"), (0, "absent")]);
    for path in strangers.iter().chain(&["notes", "data/notes", "data/0002"]) {
        assert_eq!(disk.file_bytes(path).as_deref(), Some(&b"mine"[..]), "{path}");
    }
}

#[test]
fn the_store_of_another_sheep_or_shard_is_refused_and_not_touched() {
    let disk = FakeDisk::new();
    let own = Options { node: 5, shard: 2, ..small_options() };
    drop(Store::open(Box::new(disk.clone()), own).unwrap());
    for other in [Options { node: 6, ..own }, Options { shard: 3, ..own }] {
        let before = disk.operations();
        let error = Store::open(Box::new(disk.clone()), other).err();
        assert_eq!(error, Some(Corruption::OtherOwner { node: 5, shard: 2 }.into()));
        assert_eq!(disk.operations(), before);
    }
    assert!(Store::open(Box::new(disk.clone()), own).is_ok());
}
