//! What a run leaves behind: a hash of everything that happened, lines for people, and counts.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use sheepdog_proto::id::mix64;

/// How often what happened, by name. The sum over many seeds shows what they reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// Adds to one count.
    pub fn add(&mut self, name: &'static str, count: u64) {
        *self.0.entry(name).or_default() += count;
    }

    /// One count.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, count)| self.add(name, *count));
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }
}

/// Which lines for people a run makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// None; the fastest.
    None,
    /// Each is printed on standard error.
    Printed,
    /// So many of the last are kept.
    Last(usize),
}

/// The lines that were kept, also after a panic.
pub(super) type Kept = Rc<RefCell<VecDeque<String>>>;

#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    lines: Lines,
    kept: Kept,
    pub(super) counts: Counts,
}

impl Trace {
    pub(super) fn new(lines: Lines, kept: Kept) -> Self {
        Self { hash: 0, lines, kept, counts: Counts::default() }
    }

    /// Everything that happens goes into the hash.
    pub(super) fn note(&mut self, words: [u64; 4]) {
        for word in words {
            self.hash = mix64(self.hash.rotate_left(7) ^ word);
        }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn count(&mut self, name: &'static str) {
        self.counts.add(name, 1);
    }

    /// A line for people.
    pub(super) fn say(&self, now: u64, line: impl FnOnce() -> String) {
        if self.lines == Lines::None {
            return;
        }
        let line = format!("{:>6}.{:06} {}", now / 1_000_000, now % 1_000_000, line());
        let Lines::Last(most) = self.lines else {
            eprintln!("{line}");
            return;
        };
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= most {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}
