//! Races: a few requests under way together, in every order that a seed can draw.
//!
//! Why: what two changes of one unit and a checkpoint do to each other shows only when they
//!      meet; each scenario brings them together in a few steps, many times.
//! Way: a scenario submits changes and lets the store go on or not, as the seed says; then all
//!      are awaited, and every block must be as the newest change left it: at once, after
//!      checkpoints, after free units were used again, and after a power cut.
//! Holds (of the store, checked here): PL1 to PL3, CT4, SP1, CK2.

use std::collections::BTreeMap;

use sheepdog_proto::{BLOCK_BYTES, Oid, Payload, Stamp, View};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{BlockState, FakeDisk, Options, ReadReply, Reply, Request, Store, StoreError};

use crate::history::{SHIFT, stamp, vid, write};
use crate::model::ask;
use crate::seeds::for_each_seed;

const BLOCKS: u32 = 256;

fn options() -> Options {
    Options {
        segment_bytes: 0,
        segments_max: 6,
        reserve_bytes: 0,
        warm_units_max: 8,
        salt: 7,
        ..Options::default()
    }
}

fn object(index: u32) -> Oid {
    Oid::data(vid(1), index)
}

/// A store, and what it should hold.
struct Race {
    dice: Dice,
    disk: FakeDisk,
    store: Store,
    sequence: u64,
    token: u64,
    unanswered: u64,
    /// Newest change of each block, and whether it wrote data.
    expected: BTreeMap<(Oid, u32), (Stamp, bool)>,
}

impl Race {
    fn new(seed: u64) -> Self {
        let disk = FakeDisk::new();
        let (store, _) = Store::open(Box::new(disk.clone()), options()).unwrap();
        disk.shuffle(seed);
        let (dice, expected) = (Dice::new(seed ^ 0xace), BTreeMap::new());
        Self { dice, disk, store, sequence: 0, token: 0, unanswered: 0, expected }
    }

    fn next_stamp(&mut self) -> Stamp {
        self.sequence += 1;
        stamp(1, self.sequence)
    }

    fn submit(&mut self, request: Request) {
        self.store.submit(self.token, request);
        self.token += 1;
        self.unanswered += 1;
    }

    fn write(&mut self, oid: Oid, first: u32, count: u32) {
        let stamp = self.next_stamp();
        self.submit(write(oid, first, count, stamp, 1, stamp.get()));
        for block in first..first + count {
            self.expected.insert((oid, block), (stamp, true));
        }
    }

    fn hole(&mut self, oid: Oid, first_block: u32, count: u32) {
        let stamp = self.next_stamp();
        let (object_shift, view) = (SHIFT, View(1));
        self.submit(Request::Hole { oid, object_shift, first_block, count, stamp, view });
        for block in first_block..first_block + count {
            self.expected.insert((oid, block), (stamp, false));
        }
    }

    fn reset(&mut self, oid: Oid) {
        let stamp = self.next_stamp();
        self.submit(Request::Reset { oid, stamp, view: View(1) });
        self.expected.retain(|(own, _), _| *own != oid);
    }

    /// Lets the store go on a little, or not.
    fn stir(&mut self) {
        for _ in 0..self.dice.below(4) {
            self.turn(false);
        }
    }

    fn turn(&mut self, wait: bool) {
        self.store.turn(wait);
        for (_, reply) in self.store.take_replies() {
            assert!(matches!(reply, Ok(Reply::Done { .. })), "{reply:?}");
            self.unanswered -= 1;
        }
    }

    /// Waits for all replies.
    fn finish(&mut self) {
        for _ in 0..1000 {
            if self.unanswered == 0 {
                return;
            }
            self.turn(true);
        }
        panic!("nothing goes on: {:?}", self.store);
    }

    /// Makes the next commit begin a checkpoint.
    fn want_checkpoint(&mut self) {
        (0..600).for_each(|_| self.store.tick());
    }

    fn checkpoint(&mut self) {
        self.finish();
        self.store.checkpoint().unwrap();
    }

    /// Every block of every object is as the newest change left it.
    fn check(&mut self, when: &str) {
        let oids: std::collections::BTreeSet<Oid> =
            self.expected.keys().map(|(oid, _)| *oid).chain([object(0)]).collect();
        for oid in oids {
            let read = Request::Read { oid, first_block: 0, count: BLOCKS };
            let Reply::Read(reply) = ask(&mut self.store, read) else { panic!("no read") };
            for (number, block) in (0..).zip(&reply.blocks) {
                let place = number as usize * BLOCK_BYTES;
                let bytes = &reply.data[place..place + BLOCK_BYTES];
                match self.expected.get(&(oid, number)) {
                    Some((stamp, true)) => {
                        assert_eq!(block.stamp, *stamp, "block {number} of {oid} {when}");
                        assert!(bytes == &content(oid, number, *stamp)[..], "{number} {when}");
                    }
                    Some((stamp, false)) => {
                        assert_eq!(block.stamp, *stamp, "block {number} of {oid} {when}");
                        assert_eq!(block.state, BlockState::Hole, "{number} {when}");
                    }
                    None => assert_eq!(block.state, BlockState::Absent, "{number} {when}"),
                }
            }
        }
    }

    /// Uses units that are free, so that one that is not free in truth is missed.
    fn use_units(&mut self) {
        for index in 10..13 {
            for unit in 0..3 {
                self.write(object(index), unit * 64, 64);
            }
            self.finish();
        }
    }

    fn check_all(&mut self) {
        self.finish();
        self.check("at once");
        self.checkpoint();
        self.check("after a checkpoint");
        self.use_units();
        self.check("after units were used");
        self.write(object(20), 0, 1);
        self.checkpoint();
        self.use_units();
        self.check("after a second checkpoint");
        self.disk.power_cycle(self.dice.roll());
        self.store = Store::open(Box::new(self.disk.clone()), options()).unwrap().0;
        self.check("after a power cut");
        self.use_units();
        self.checkpoint();
        self.use_units();
        self.check("after everything");
    }
}

fn content(oid: Oid, block: u32, stamp: Stamp) -> Payload {
    match write(oid, block, 1, stamp, 1, stamp.get()) {
        Request::Write { data, .. } => data,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_checkpoint_gives_back_no_space_that_a_large_write_has_filled() {
    for_each_seed(60, |seed| {
        let mut race = Race::new(seed);
        race.write(object(0), 0, 4);
        race.write(object(0), 8, 3);
        race.checkpoint();
        race.hole(object(0), 8, 40);
        race.finish();
        race.want_checkpoint();
        race.write(object(0), 12, 32);
        race.stir();
        race.write(object(1), 0, 1);
        race.stir();
        race.write(object(1), 1, 1);
        race.check_all();
    });
}

#[test]
fn a_large_write_does_not_go_where_a_checkpoint_gives_space_back() {
    for_each_seed(200, |seed| {
        let mut race = Race::new(seed);
        race.write(object(0), 0, 4);
        race.write(object(0), 8, 40);
        race.checkpoint();
        race.hole(object(0), 8, 40);
        race.finish();
        race.want_checkpoint();
        race.write(object(1), 0, 1);
        race.stir();
        race.write(object(0), 12, 32);
        race.stir();
        race.write(object(1), 1, 1);
        race.check_all();
    });
}

#[test]
fn a_checkpoint_gives_back_no_space_that_the_one_before_has_filled() {
    for_each_seed(60, |seed| {
        let mut race = Race::new(seed);
        race.write(object(0), 0, 12);
        race.checkpoint();
        race.hole(object(0), 4, 3);
        race.finish();
        race.write(object(0), 5, 1);
        race.finish();
        race.write(object(0), 16, 40);
        race.stir();
        race.want_checkpoint();
        race.write(object(1), 0, 1);
        race.stir();
        race.check_all();
    });
}

#[test]
fn a_unit_that_a_hole_empties_is_not_filled_on() {
    for_each_seed(60, |seed| {
        let mut race = Race::new(seed);
        race.write(object(0), 3, 1);
        race.checkpoint();
        race.write(object(1), 0, 1);
        race.stir();
        race.hole(object(0), 3, 1);
        race.write(object(0), 3, 1);
        race.write(object(0), 16, 40);
        race.stir();
        race.write(object(1), 1, 1);
        race.check_all();
    });
}

#[test]
fn a_part_of_a_unit_and_the_whole_meet_a_checkpoint() {
    for_each_seed(200, |seed| {
        let mut race = Race::new(seed);
        race.write(object(0), 2, 2);
        race.finish();
        race.want_checkpoint();
        race.write(object(0), 16, 24);
        race.stir();
        race.write(object(0), 0, 64);
        race.stir();
        race.write(object(1), 0, 1);
        race.stir();
        race.write(object(1), 0, 1);
        race.check_all();
    });
}

#[test]
fn a_unit_that_two_writes_share_is_not_free_when_one_comes_late() {
    for_each_seed(2000, |seed| {
        let mut race = Race::new(seed);
        race.write(object(0), 0, 16);
        race.write(object(0), 16, 16);
        race.write(object(0), 32, 16);
        race.stir();
        race.write(object(0), 0, 64);
        race.stir();
        race.write(object(1), 0, 1);
        race.stir();
        race.check_all();
    });
}

#[test]
fn a_read_sees_the_large_write_before_it() {
    for_each_seed(20, |seed| {
        let mut race = Race::new(seed);
        let first = race.next_stamp();
        let second = race.next_stamp();
        let (oid, read) =
            (object(0), |count| Request::Read { oid: object(0), first_block: 0, count });
        let replies = race.store.execute(vec![
            write(oid, 0, 100, first, 1, 1),
            read(120),
            write(oid, 64, 64, second, 1, 2),
            Request::Stamps { oid, first_block: 64, count: 64 },
            read(128),
        ]);
        let blocks = |place: usize| match &replies[place] {
            Ok(Reply::Read(ReadReply { blocks, .. }) | Reply::Stamps { blocks, .. }) => blocks,
            other => panic!("{other:?}"),
        };
        assert!(blocks(1)[..100].iter().all(|block| block.stamp >= first));
        assert!(blocks(3).iter().all(|block| block.stamp == second));
        assert!(blocks(4)[64..].iter().all(|block| block.stamp == second));
    });
}

fn sized(mut request: Request, shift: u8) -> Request {
    match &mut request {
        Request::Write { object_shift, .. } | Request::Hole { object_shift, .. } => {
            *object_shift = shift;
        }
        _ => {}
    }
    request
}

#[test]
fn an_object_has_one_size_whatever_is_faster() {
    for_each_seed(20, |seed| {
        let mut race = Race::new(seed);
        let (first, second) = (race.next_stamp(), race.next_stamp());
        let large = sized(write(object(0), 1024, 64, first, 1, 1), 23);
        let replies = race.store.execute(vec![large, write(object(0), 0, 1, second, 1, 2)]);
        assert!(replies[0].is_ok(), "{replies:?}");
        assert!(matches!(replies[1], Err(StoreError::Refused(_))), "{replies:?}");
        race.store.checkpoint().unwrap();
        race.disk.restart();
        assert!(Store::open(Box::new(race.disk.clone()), options()).is_ok());
    });
}

#[test]
fn an_object_comes_back_in_another_size_at_once() {
    for_each_seed(20, |seed| {
        let mut race = Race::new(seed);
        ask(&mut race.store, write(object(0), 0, 70, stamp(1, 1), 1, 1));
        let oid = object(0);
        let reset = |sequence| Request::Reset { oid, stamp: stamp(1, sequence), view: View(1) };
        let replies = race.store.execute(vec![
            reset(2),
            sized(write(oid, 1024, 64, stamp(1, 3), 1, 2), 23),
            reset(4),
            write(oid, 7, 1, stamp(1, 5), 1, 3),
            reset(6),
            write(oid, 9, 1, stamp(1, 7), 1, 3),
        ]);
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
        race.expected.insert((oid, 9), (stamp(1, 7), true));
        race.disk.power_cycle(seed);
        race.store = Store::open(Box::new(race.disk.clone()), options()).unwrap().0;
        let Reply::Stamps { blocks, .. } =
            ask(&mut race.store, Request::Stamps { oid, first_block: 0, count: BLOCKS })
        else {
            panic!("no stamps");
        };
        let present = blocks.iter().filter(|block| block.state != BlockState::Absent).count();
        assert_eq!((present, blocks[9].stamp), (1, stamp(1, 7)));
    });
}

#[test]
fn many_changes_of_one_unit_leave_the_newest() {
    for_each_seed(200, |seed| {
        let mut race = Race::new(seed);
        for _ in 0..60 {
            let first = race.dice.below(48) as u32;
            let oid = object(race.dice.below(2) as u32);
            match race.dice.below(12) {
                0..3 => race.write(oid, first, 1 + first % 3),
                3..6 => race.write(oid, first, 16),
                6 => race.write(oid, 0, 64),
                7..9 => race.hole(oid, first, 1 + first % 12),
                9 => race.hole(oid, 0, 64),
                10 => race.reset(oid),
                _ => race.want_checkpoint(),
            }
            race.stir();
            if race.unanswered > 6 {
                race.finish();
            }
        }
        race.check_all();
    });
}
