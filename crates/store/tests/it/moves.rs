//! A bucket moves from one store to another while changes go on: the copy is the original.
//!
//! Way: clients change a few objects of one bucket, with operations that arrive late, twice and in
//!      any order until they are stable, as the protocol allows; the copy goes on step by step
//!      between them; stores make checkpoints and restart.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{Oid, Stamp, View};
use sheepdog_store::copy::{BucketCopy, Side, Step};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{
    Block, BlockState, FakeDisk, Options, Reply, Request, Store, StoreError, Unstable, bucket_of,
};

use crate::history::{SHIFT, small_options, stamp, vid, write};
use crate::model::ask;
use crate::seeds::for_each_seed;

const BLOCKS: u32 = 256;

/// Objects of one bucket, and one of another.
fn oids() -> (u8, Vec<Oid>) {
    let all = || (0..100_000).map(|index| Oid::data(vid(1), index));
    let bucket = bucket_of(Oid::data(vid(1), 0));
    let mut oids: Vec<Oid> = all().filter(|oid| bucket_of(*oid) == bucket).take(3).collect();
    oids.extend(all().find(|oid| bucket_of(*oid) != bucket));
    (bucket, oids)
}

/// A store and its disk.
struct Place {
    disk: FakeDisk,
    store: Option<Store>,
}

impl Place {
    fn new() -> Self {
        let mut place = Self { disk: FakeDisk::new(), store: None };
        place.open();
        place
    }

    fn open(&mut self) {
        let options = Options { warm_units_max: 1, ..small_options() };
        self.store = Some(Store::open(Box::new(self.disk.clone()), options).unwrap().0);
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn disturb(&mut self, dice: &mut Dice) {
        match dice.below(25) {
            0 => self.store().checkpoint().unwrap(),
            1 => {
                self.store = None;
                self.disk.power_cycle(dice.roll());
                self.open();
            }
            _ => {}
        }
    }
}

/// Clients of one VDI.
struct Clients {
    dice: Dice,
    oids: Vec<Oid>,
    sequence: u64,
    /// Operations that are not stable, and whether they have arrived.
    open: BTreeMap<u64, (Request, bool)>,
}

impl Clients {
    /// The next request: something new, something again, or a watermark.
    fn request(&mut self) -> Request {
        let choice = self.dice.below(100);
        if self.open.len() < 6 && choice < 60 {
            self.sequence += 1;
            let change = self.change();
            self.open.insert(self.sequence, (change, false));
        }
        let at = self.dice.below(self.open.len().max(1) as u64) as usize;
        let Some((sequence, (change, has_arrived))) = self.open.iter_mut().nth(at) else {
            return Request::Watermark { vid: vid(1), stable: self.stable() };
        };
        if *has_arrived && choice >= 75 {
            let sequence = *sequence;
            self.open.remove(&sequence);
            return Request::Watermark { vid: vid(1), stable: self.stable() };
        }
        *has_arrived = true;
        change.clone()
    }

    fn stable(&self) -> Stamp {
        let below = self.open.first_key_value().map_or(self.sequence, |(first, _)| first - 1);
        stamp(1, below)
    }

    fn change(&mut self) -> Request {
        let oid = self.oids[self.dice.below(self.oids.len() as u64) as usize];
        let (stamp, view) = (stamp(1, self.sequence), View(1 + self.sequence / 50));
        let first_block = [0, 3, 60, 128, 250][self.dice.below(5) as usize];
        let count = match self.dice.below(8) {
            0 if first_block == 128 => 64, // a whole unit
            _ => 1 + self.dice.below(6) as u32,
        };
        match self.dice.below(10) {
            0..6 => {
                let tag = self.dice.roll();
                write(oid, first_block, count, stamp, view.0, tag)
            }
            6..8 => Request::Hole { oid, object_shift: SHIFT, first_block, count, stamp, view },
            _ => Request::Reset { oid, stamp, view },
        }
    }
}

/// Everything that is known of the objects of a bucket that exist.
type Known = BTreeMap<Oid, (Stamp, Vec<Block>, Vec<u8>)>;

fn known(store: &mut Store, oids: &[Oid]) -> Known {
    let mut known = Known::new();
    for oid in oids {
        let read = Request::Read { oid: *oid, first_block: 0, count: BLOCKS };
        let Reply::Read(read) = ask(store, read) else { panic!("no blocks") };
        if read.blocks.iter().any(|block| block.state != BlockState::Absent) {
            known.insert(*oid, (read.base, read.blocks, read.data.to_vec()));
        }
    }
    known
}

fn unstable_in(store: &mut Store, bucket: u8) -> BTreeSet<Unstable> {
    match ask(store, Request::UnstableIn { bucket }) {
        Reply::Unstable(list) => list.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

struct Run {
    bucket: u8,
    oids: Vec<Oid>,
    source: Place,
    target: Place,
    clients: Clients,
    copy: BucketCopy,
    is_double: bool,
    dice: Dice,
}

impl Run {
    fn new(seed: u64) -> Self {
        let (bucket, oids) = oids();
        let mut dice = Dice::new(seed);
        let client = Dice::new(dice.roll());
        let (sequence, open) = (0, BTreeMap::new());
        let clients = Clients { dice: client, oids: oids.clone(), sequence, open };
        let (source, target, copy) = (Place::new(), Place::new(), BucketCopy::new(bucket));
        Self { bucket, oids, source, target, clients, copy, is_double: false, dice }
    }

    /// Some requests of clients, none while `step` must not be parted.
    fn clients(&mut self, most: u64) {
        for _ in 0..self.dice.below(most + 1) {
            let request = self.clients.request();
            let oid = match &request {
                Request::Write { oid, .. }
                | Request::Hole { oid, .. }
                | Request::Reset { oid, .. } => Some(*oid),
                _ => None,
            };
            let concerns = oid.is_none_or(|oid| bucket_of(oid) == self.bucket);
            if let (Request::Reset { oid, .. }, true) = (&request, self.is_double && concerns) {
                self.copy.note_reset(*oid);
            }
            ask(self.source.store(), request.clone());
            if self.is_double && concerns || oid.is_none() {
                ask(self.target.store(), request);
            }
            self.source.disturb(&mut self.dice);
            self.target.disturb(&mut self.dice);
        }
    }

    /// Leaves something behind on the target that was there before.
    fn litter(&mut self) {
        for index in 0..self.dice.below(20) {
            let oid = self.oids[self.dice.below(3) as usize];
            let stamp = stamp(1, 1 + self.dice.below(200));
            let request = match self.dice.below(3) {
                0 => Request::Reset { oid, stamp, view: View(1) },
                _ => write(oid, self.dice.below(200) as u32, 2, stamp, 1, index),
            };
            ask(self.target.store(), request);
            self.target.disturb(&mut self.dice);
        }
    }

    fn step(&mut self) -> bool {
        match self.copy.step() {
            Step::Double => self.is_double = true,
            Step::Done => return false,
            Step::Ask(side, requests) => {
                let place = match side {
                    Side::Source => &mut self.source,
                    Side::Target => &mut self.target,
                };
                let replies = place.store().execute(requests);
                // What comes meanwhile is behind it in both stores.
                self.clients(25);
                self.copy.take(replies).unwrap();
            }
        }
        true
    }

    fn compare(&mut self, stable_before: Stamp) {
        let oids = self.oids[..3].to_vec();
        let mut original = known(self.source.store(), &oids);
        let mut copy = known(self.target.store(), &oids);
        assert_eq!(original.keys().collect::<Vec<_>>(), copy.keys().collect::<Vec<_>>());
        for (oid, (base, blocks, bytes)) in &mut original {
            let (copy_base, copy_blocks, copy_bytes) = copy.get_mut(oid).unwrap();
            // A reset that is stable may be forgotten by the one and not by the other.
            let stable = self.clients.stable();
            assert_eq!((*base).max(stable), (*copy_base).max(stable), "{oid}");
            for (number, (block, copied)) in blocks.iter().zip(copy_blocks.iter()).enumerate() {
                let is_absent = block.state == BlockState::Absent;
                assert_eq!(block.state, copied.state, "{oid} block {number}"); // BC1, BC2
                assert!(is_absent || block.stamp == copied.stamp, "{oid} block {number}");
            }
            assert_eq!(bytes, copy_bytes);
        }
        // BC3
        let listed = unstable_in(self.target.store(), self.bucket);
        let junk = listed.iter().find(|change| change.stamp <= stable_before);
        assert_eq!(junk, None, "what was stable is listed");
        let stable = self.clients.stable();
        for (oid, (_, blocks, _)) in &original {
            for (number, block) in (0..).zip(blocks) {
                let must = block.state != BlockState::Absent && block.stamp > stable;
                let covers = |change: &&Unstable| {
                    change.oid == *oid
                        && change.stamp == block.stamp
                        && (change.first_block..change.first_block + change.count).contains(&number)
                };
                assert!(!must || listed.iter().any(|c| covers(&c)), "{oid} block {number}");
            }
        }
    }
}

#[test]
fn a_bucket_that_moves_under_changes_is_the_same_in_its_new_place() {
    for_each_seed(150, |seed| {
        let mut run = Run::new(seed);
        run.clients(120);
        run.litter();
        let stable_before = run.clients.stable();
        while run.step() {
            run.clients(2);
        }
        run.clients(30);
        run.compare(stable_before);
        // The old copies go, and nothing else.
        let other = run.oids[3..].to_vec();
        let before = known(run.source.store(), &other);
        ask(run.source.store(), Request::Forget { bucket: run.bucket });
        for _ in 0..2 {
            let oids = run.oids.clone();
            let left = known(run.source.store(), &oids);
            let content = |known: Known| known.into_iter().map(|(oid, known)| (oid, known.2));
            assert!(content(left).eq(content(before.clone())));
            assert!(unstable_in(run.source.store(), run.bucket).is_empty());
            run.source.store = None;
            run.source.disk.power_cycle(seed);
            run.source.open();
        }
    });
}

#[test]
fn what_is_forgotten_has_never_been() {
    let (bucket, oids) = oids();
    let mut place = Place::new();
    let oid = oids[0];
    for sequence in 1..4 {
        ask(place.store(), write(oid, 0, 64, stamp(2, sequence), 1, sequence));
        ask(place.store(), Request::Reset { oid: oids[1], stamp: stamp(9, 9), view: View(1) });
        ask(place.store(), Request::Forget { bucket });
        let read = Request::Read { oid: oids[1], first_block: 0, count: 1 };
        let Reply::Read(read) = ask(place.store(), read) else { panic!("no blocks") };
        assert_eq!((read.base, read.blocks[0].state), (Stamp::NONE, BlockState::Absent));
        // An older change than what was there is as good as any.
        let older = write(oids[1], 0, 1, stamp(1, 1), 1, 5);
        assert_eq!(ask(place.store(), older), Reply::Done { blocks: 1 });
        if sequence == 2 {
            place.store().checkpoint().unwrap();
        }
    }
    place.store = None;
    place.disk.power_cycle(1);
    place.open();
    assert_eq!(known(place.store(), &oids).into_keys().collect::<Vec<_>>(), [oids[1]]);
}

#[test]
fn a_settled_change_is_durable_and_not_listed() {
    let (bucket, oids) = oids();
    let mut place = Place::new();
    let settled = |request| Request::Settled(Box::new(request));
    let large = write(oids[0], 0, 200, stamp(1, 1), 1, 7);
    let (object_shift, first_block, count, view) = (SHIFT, 210, 3, View(1));
    let oid = oids[0];
    let hole = Request::Hole { oid, object_shift, first_block, count, stamp: stamp(1, 2), view };
    for request in [large.clone(), hole, Request::Reset { oid, stamp: stamp(1, 1), view }] {
        ask(place.store(), settled(request));
    }
    assert!(unstable_in(place.store(), bucket).is_empty());
    // A client's own change, and then a copy of it that changes nothing.
    let own = write(oids[1], 0, 2, stamp(1, 3), 1, 8);
    ask(place.store(), own.clone());
    assert_eq!(ask(place.store(), settled(own)), Reply::Done { blocks: 0 });
    for _ in 0..3 {
        let listed = unstable_in(place.store(), bucket);
        assert_eq!(listed.iter().map(|change| change.oid).collect::<Vec<_>>(), [oids[1]]);
        let all = known(place.store(), &oids);
        assert_eq!((all.len(), all[&oids[0]].0), (2, stamp(1, 1)));
        place.store = None;
        place.disk.power_cycle(3);
        place.open();
    }
}

#[test]
fn what_was_read_before_a_reset_is_not_written_behind_it() {
    let (bucket, oids) = oids();
    let (oid, vid) = (oids[0], oids[0].vid());
    let (mut source, mut target, mut copy) = (Place::new(), Place::new(), BucketCopy::new(bucket));
    ask(source.store(), write(oid, 0, 2, stamp(1, 1), 1, 7));
    let mut has_reset = false;
    loop {
        match copy.step() {
            Step::Double => {}
            Step::Done => break,
            Step::Ask(Side::Target, requests) => {
                let replies = target.store().execute(requests);
                copy.take(replies).unwrap();
            }
            Step::Ask(Side::Source, requests) => {
                let is_read = matches!(requests[0], Request::Read { .. });
                let replies = source.store().execute(requests);
                if is_read && !std::mem::replace(&mut has_reset, true) {
                    copy.note_reset(oid);
                    for place in [&mut source, &mut target] {
                        let reset = Request::Reset { oid, stamp: stamp(1, 2), view: View(1) };
                        ask(place.store(), reset);
                        ask(place.store(), Request::Watermark { vid, stable: stamp(1, 2) });
                        // Now nobody remembers it.
                        place.store().checkpoint().unwrap();
                        place.store().checkpoint().unwrap();
                    }
                }
                copy.take(replies).unwrap();
            }
        }
    }
    assert!(has_reset);
    assert!(known(target.store(), &oids).is_empty()); // BC2
}

#[test]
fn a_source_that_cannot_be_read_ends_the_copy() {
    let (bucket, _) = oids();
    let mut copy = BucketCopy::new(bucket);
    let full = || vec![Err(StoreError::Full)];
    let shown = |copy: &mut BucketCopy| format!("{:?}", copy.step());
    let first = shown(&mut copy);
    assert_eq!(copy.take(full()), Err(StoreError::Full));
    assert_eq!(shown(&mut copy), first, "it is asked again");
    copy.take(vec![Ok(Reply::Done { blocks: 0 })]).unwrap();
    assert!(matches!(copy.step(), Step::Double));
    assert!(matches!(copy.step(), Step::Ask(Side::Source, _)));
    copy.take(vec![Ok(Reply::Unstable(Vec::new()))]).unwrap();
    let oid = oids().1[0];
    let why = sheepdog_store::Corruption::Block { oid, block: 3 };
    let listing = sheepdog_store::Listing {
        rotten: vec![(oid, why.clone())],
        ..sheepdog_store::Listing::default()
    };
    assert_eq!(copy.take(vec![Ok(Reply::List(listing))]), Err(StoreError::Corrupt(why)));
}
