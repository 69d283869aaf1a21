//! A small seeded generator, so that a run is a function of its seed.

use sheepdog_proto::id::mix64;

/// Where all chance of a run comes from.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(mix64(seed ^ 0x5ee9_d061))
    }

    pub(super) const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix64(self.0)
    }

    /// 0 .. `end`; zero if that is empty.
    pub(super) const fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.roll() % end }
    }

    /// `low` .. `high`.
    pub(super) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// True `count` times out of a thousand.
    pub(super) const fn chance(&mut self, count: u64) -> bool {
        self.below(1000) < count
    }

    pub(super) const fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.index(list.len())]
    }

    /// `low` .. `high`, and now and then twenty times as long.
    pub(super) const fn delay(&mut self, (low, high): (u64, u64)) -> u64 {
        let usual = self.between(low, high);
        if self.chance(15) { usual * 20 } else { usual }
    }
}
