//! Objects that are known to exist: one bit each.

/// A set of object numbers below 2^20.
#[derive(Debug, Default)]
pub(super) struct Allocated {
    words: Vec<u64>,
}

impl Allocated {
    const fn place(index: u32) -> (usize, u64) {
        (index as usize / 64, 1 << (index % 64))
    }

    pub(super) fn has(&self, index: u32) -> bool {
        let (word, bit) = Self::place(index);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    pub(super) fn set(&mut self, index: u32) {
        let (word, bit) = Self::place(index);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Forgets `count` objects from `first` on.
    pub(super) fn unset(&mut self, first: u32, count: u32) {
        let known = self.words.len() as u32 * 64;
        for index in first.min(known)..first.saturating_add(count).min(known) {
            let (word, bit) = Self::place(index);
            self.words[word] &= !bit;
        }
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
    }
}
