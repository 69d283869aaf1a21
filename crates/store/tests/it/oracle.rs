//! The power-cut oracle: many requests under way, everything in any order, and a crash before
//! every change and sync of the disk.
//!
//! Why: each crash must leave every block as some change made it that is not older than the
//!      newest one that was acknowledged, or that a reader has seen.
//! Way: one history runs once (`run`); before every change and sync the fake disk makes a copy
//!      of itself; to each copy a power cut (or a kill) happens, the store is opened on it, and
//!      everything is compared with what was issued and acknowledged until then (`known`). Some
//!      copies crash again while they are opened; some go on, with a checkpoint and new data in
//!      units that seem to be free. Now and then a crash happens to the history itself, which
//!      goes on with what survived.
//! Holds (of the store, checked here): ST1 to ST4, ST6, RD1, RD2, PL1 to PL3, CT3, CT4.

mod known;
mod run;

use std::cell::Cell;

use sheepdog_proto::Oid;
use sheepdog_store::Options;

use crate::history::vid;
use crate::seeds::{for_each_seed, is_ordinary};
use run::Run;

/// Histories of an ordinary run: more than 100,000 crashes.
const SEEDS: u64 = 165;

/// What a seed makes of a history.
#[derive(Clone, Copy, Debug)]
struct Profile {
    seed: u64,
    /// Everything happens to few blocks of few units.
    is_narrow: bool,
    /// The disk fills up now and then.
    is_full: bool,
}

impl Profile {
    fn new(seed: u64) -> Self {
        Self { seed, is_narrow: seed % 3 == 1, is_full: seed % 5 == 4 }
    }

    fn options(&self) -> Options {
        let seed = self.seed;
        Options {
            segment_bytes: 0,
            segments_max: 4 + (seed % 3) as u32,
            dirty_bytes_max: [96 << 10, 400 << 10, 2 << 20][(seed / 2 % 3) as usize],
            metadata_bytes_max: [1 << 12, 4 << 12, 64 << 12][(seed / 3 % 3) as usize],
            warm_units_max: (seed % 2) as usize * 3,
            reserve_bytes: 0,
            salt: 7,
            ..Options::default()
        }
    }
}

/// Objects of 1, 4, 8 and 64 MiB.
fn objects() -> [(Oid, u8); 4] {
    [
        (Oid::data(vid(1), 0), 20),
        (Oid::data(vid(1), 1), 22),
        (Oid::data(vid(2), 0), 23),
        (Oid::data(vid(2), 1), 26),
    ]
}

/// Says how many crashes there were, also when one of them was too much.
#[derive(Default)]
struct Crashes(Cell<u64>);

impl Drop for Crashes {
    fn drop(&mut self) {
        println!("{} crashes", self.0.get());
    }
}

#[test]
fn a_crash_anywhere_leaves_each_block_old_or_new() {
    let crashes = Crashes::default();
    for_each_seed(SEEDS, |seed| Run::new(seed, &crashes.0).run());
    if is_ordinary() {
        assert!(crashes.0.get() >= 100_000, "{} crashes: raise SEEDS", crashes.0.get());
    }
}
