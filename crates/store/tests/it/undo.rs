//! Changes are taken back and objects dropped: what is left is what was there without them.
//!
//! Way: a writer changes a few objects, some of it becomes stable; then everything unstable is
//!      taken back, with checkpoints and power cuts between; what the rest says is compared with a
//!      model that knows every change.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::{Oid, Stamp, View};
use sheepdog_store::disk::fake::Dice;
use sheepdog_store::{
    BlockState, FakeDisk, Listing, ObjectSummary, Options, Reply, Request, Store, Unstable,
    UnstableKind,
};

use crate::history::{SHIFT, small_options, stamp, vid, write};
use crate::model::ask;
use crate::seeds::for_each_seed;

const BLOCKS: u32 = 256;

struct Place {
    disk: FakeDisk,
    store: Option<Store>,
    dice: Dice,
}

impl Place {
    fn new(seed: u64) -> Self {
        let mut place = Self { disk: FakeDisk::new(), store: None, dice: Dice::new(seed) };
        place.open();
        place
    }

    fn open(&mut self) {
        let options = Options { warm_units_max: 1, ..small_options() };
        self.store = Some(Store::open(Box::new(self.disk.clone()), options).unwrap().0);
    }

    fn ask(&mut self, request: Request) -> Reply {
        ask(self.store.as_mut().unwrap(), request)
    }

    fn disturb(&mut self) {
        match self.dice.below(12) {
            0 => self.store.as_mut().unwrap().checkpoint().unwrap(),
            1 => self.cut_power(),
            _ => {}
        }
    }

    fn cut_power(&mut self) {
        self.store = None;
        self.disk.power_cycle(self.dice.roll());
        self.open();
    }

    fn unstable(&mut self) -> Vec<Unstable> {
        match self.ask(Request::UnstableAll) {
            Reply::Unstable(list) => list,
            other => panic!("{other:?}"),
        }
    }

    fn stamps(&mut self, oid: Oid) -> BTreeMap<u32, Stamp> {
        let read = Request::Read { oid, first_block: 0, count: BLOCKS };
        let Reply::Read(read) = self.ask(read) else { panic!("no blocks") };
        let there = |(_, block): &(u32, sheepdog_store::Block)| block.state != BlockState::Absent;
        (0..).zip(read.blocks).filter(there).map(|(number, block)| (number, block.stamp)).collect()
    }

    fn list(&mut self) -> Vec<ObjectSummary> {
        match self.ask(Request::List { after: None, limit: 100 }) {
            Reply::List(Listing { objects, .. }) => objects,
            other => panic!("{other:?}"),
        }
    }
}

/// Newest stamp of each block, and the objects that were reset.
type Expected = BTreeMap<Oid, BTreeMap<u32, Stamp>>;

fn oids() -> Vec<Oid> {
    (0..4).map(|index| Oid::data(vid(1), index)).collect()
}

/// Changes of one generation; up to `stable` they are known to be everywhere.
fn fill(place: &mut Place, stable: u64, last: u64) -> Expected {
    let mut expected = Expected::new();
    for sequence in 1..=last {
        let oid = oids()[place.dice.below(4) as usize];
        let (stamp, view) = (stamp(1, sequence), View(1 + sequence / 20));
        let first_block = [0, 3, 60, 128, 240][place.dice.below(5) as usize];
        let count = if place.dice.below(6) == 0 { 16 } else { 1 + place.dice.below(4) as u32 };
        let blocks = expected.entry(oid).or_default();
        let request = match place.dice.below(12) {
            0 => {
                blocks.clear();
                Request::Reset { oid, stamp, view }
            }
            1 => Request::Hole { oid, object_shift: SHIFT, first_block, count, stamp, view },
            _ => write(oid, first_block, count, stamp, view.0, sequence),
        };
        if !matches!(request, Request::Reset { .. }) {
            blocks.extend((first_block..first_block + count).map(|block| (block, stamp)));
        }
        place.ask(request);
        if sequence == stable {
            place.ask(Request::Watermark { vid: vid(1), stable: stamp });
        }
        place.disturb();
    }
    expected
}

#[test]
fn what_is_taken_back_has_never_been() {
    for_each_seed(200, |seed| {
        let mut place = Place::new(seed);
        let stable = place.dice.below(60);
        let mut expected = fill(&mut place, stable, 60);
        let list = place.unstable();
        let resets = list.iter().filter(|change| change.kind == UnstableKind::Reset);
        let gone: BTreeSet<Oid> = resets.map(|change| change.oid).collect();
        let listed: BTreeSet<(Oid, Stamp)> = list.iter().map(|c| (c.oid, c.stamp)).collect();
        for (oid, blocks) in &mut expected {
            blocks.retain(|_, stamp| !gone.contains(oid) && !listed.contains(&(*oid, *stamp)));
        }
        for changes in list.chunks(1 + place.dice.below(9) as usize) {
            place.ask(Request::Undo { changes: changes.to_vec() });
            place.disturb();
        }
        let touched: BTreeSet<Oid> = list.iter().map(|change| change.oid).collect();
        for round in 0..3 {
            assert_eq!(place.unstable(), []);
            for (oid, blocks) in &expected {
                assert_eq!(place.stamps(*oid), *blocks, "{oid} round {round}");
            }
            for object in place.list() {
                let is_whole = object.modified > View(0);
                assert_eq!(is_whole, !touched.contains(&object.oid), "{object:?}");
                assert!(object.blocks > 0);
            }
            match round {
                0 => place.store.as_mut().unwrap().checkpoint().unwrap(),
                _ => place.cut_power(),
            }
        }
        // What is fetched anew goes in whatever its age.
        for (oid, _) in expected {
            let request = write(oid, 7, 1, stamp(1, 61), 0, 1);
            place.ask(Request::Settled(Box::new(request)));
            place.ask(Request::Raise { oid, view: View(9) });
            place.disturb();
            assert_eq!(place.stamps(oid).get(&7), Some(&stamp(1, 61)));
            assert!(place.list().iter().any(|object| object.oid == oid && object.modified.0 >= 9));
        }
    });
}

#[test]
fn objects_are_dropped_unless_they_were_changed_meanwhile() {
    for_each_seed(50, |seed| {
        let mut place = Place::new(seed);
        for (view, oid) in (1..).zip(oids()) {
            place.ask(write(oid, 0, 3, stamp(1, view), view, view));
            place.disturb();
        }
        let late = oids()[1];
        place.ask(write(late, 3, 1, stamp(1, 9), 7, 3));
        place.ask(Request::Drop { oids: oids(), before: View(4) });
        for _ in 0..3 {
            let left: Vec<Oid> = place.list().iter().map(|object| object.oid).collect();
            assert_eq!(left, [late, oids()[3]]);
            assert!(place.unstable().iter().all(|change| left.contains(&change.oid)));
            assert!(place.stamps(oids()[0]).is_empty());
            place.cut_power();
        }
        let older = write(oids()[0], 0, 1, stamp(1, 1), 1, 5);
        assert_eq!(place.ask(older), Reply::Done { blocks: 1 });
    });
}
