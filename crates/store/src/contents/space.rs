//! Space: which units of the slabs and which slots of the index are free.
//!
//! Holds:
//!   SP1 a unit or slot that left use in segment n is free only after a checkpoint of a later
//!       segment (CT4), and only when nothing is being written into it;
//!   SP2 free units are warm while the file system still has space allocated for them, cold
//!       when it has been given back.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_proto::Oid;

/// Units.
#[derive(Debug, Default)]
pub(crate) struct Units {
    warm: BTreeSet<u32>,
    cold: BTreeSet<u32>,
    /// Every unit from here on is cold.
    end: u32,
    /// Units that left use, and in which segment.
    leaving: BTreeMap<u32, u32>,
    /// Units into which something is being written in place, and how often.
    busy: BTreeMap<u32, u32>,
}

impl Units {
    /// Units as they are after replay: those in use are known. The others may have space.
    ///
    /// One that left use is in use again if replay began with the older checkpoint, because the
    /// newer one, which had set it free, has rotted.
    pub(crate) fn rebuild(&mut self, used: &BTreeSet<u32>) {
        self.leaving.retain(|unit, _| !used.contains(unit));
        let leaving = &self.leaving;
        self.end = used.iter().chain(leaving.keys()).max().map_or(0, |last| last + 1);
        let is_free = |unit: &u32| !used.contains(unit) && !leaving.contains_key(unit);
        self.warm = (0..self.end).filter(is_free).collect();
    }

    /// No unit from here on was ever used.
    pub(crate) const fn end(&self) -> u32 {
        self.end
    }

    /// A free unit, and whether it has space.
    pub(crate) fn take(&mut self) -> (u32, bool) {
        if let Some(unit) = self.warm.pop_first() {
            return (unit, true);
        }
        if let Some(unit) = self.cold.pop_first() {
            return (unit, false);
        }
        self.end += 1;
        (self.end - 1, false)
    }

    pub(crate) fn warm(&self) -> usize {
        self.warm.len()
    }

    /// A unit that was taken and never used.
    pub(crate) fn give_back(&mut self, unit: u32) {
        self.warm.insert(unit);
    }

    /// A unit leaves use (SP1).
    pub(crate) fn leave(&mut self, segment: u32, unit: u32) {
        self.leaving.insert(unit, segment);
    }

    pub(crate) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    pub(crate) fn is_leaving(&self, unit: u32) -> bool {
        self.leaving.contains_key(&unit)
    }

    /// A checkpoint of `segment` is durable: what left use before is free, and warm.
    pub(crate) fn release(&mut self, segment: u32) {
        let busy = &self.busy;
        let is_free = |unit: &u32, left: &mut u32| *left < segment && !busy.contains_key(unit);
        self.warm.extend(self.leaving.extract_if(.., is_free).map(|(unit, _)| unit));
    }

    /// Warm units beyond `keep`, whose space goes back; they are nobody's until `cool`.
    pub(crate) fn take_surplus(&mut self, keep: usize) -> Vec<u32> {
        let mut surplus = Vec::new();
        while self.warm.len() > keep {
            surplus.extend(self.warm.pop_last());
        }
        surplus
    }

    /// The space of a surplus unit has been given back.
    pub(crate) fn cool(&mut self, unit: u32) {
        self.cold.insert(unit);
    }

    pub(crate) fn begin_write(&mut self, unit: u32) {
        *self.busy.entry(unit).or_default() += 1;
    }

    pub(crate) fn end_write(&mut self, unit: u32) {
        if let Some(count) = self.busy.get_mut(&unit) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&unit);
            }
        }
    }

    pub(crate) fn is_busy(&self, unit: u32) -> bool {
        self.busy.contains_key(&unit)
    }
}

/// Slots.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Object and fragment of each slot in use.
    owners: Vec<Option<(Oid, u16)>>,
    free: BTreeSet<u32>,
    leaving: Vec<(u32, u32)>,
}

impl Slots {
    /// Slots that the index has, before any is known to be used.
    pub(crate) fn extend(&mut self, count: u32) {
        let first = self.owners.len() as u32;
        self.owners.resize(count as usize, None);
        self.free.extend(first..count);
    }

    /// A slot is in use, as the index says.
    pub(crate) fn set(&mut self, slot: u32, owner: (Oid, u16)) {
        self.owners[slot as usize] = Some(owner);
        self.free.remove(&slot);
    }

    /// A free slot for a fragment.
    pub(crate) fn take(&mut self, owner: (Oid, u16)) -> u32 {
        if self.free.is_empty() {
            self.extend(self.owners.len() as u32 + 1);
        }
        let slot = self.free.pop_first().unwrap_or_default();
        self.owners[slot as usize] = Some(owner);
        slot
    }

    /// The slot that `take` would give.
    pub(crate) fn peek(&self) -> u32 {
        self.free.first().copied().unwrap_or(self.owners.len() as u32)
    }

    /// A slot leaves use (SP1).
    pub(crate) fn leave(&mut self, segment: u32, slot: u32) {
        self.owners[slot as usize] = None;
        self.leaving.push((segment, slot));
    }

    pub(crate) fn release(&mut self, segment: u32) {
        let is_free = |(left, _): &mut (u32, u32)| *left < segment;
        self.free.extend(self.leaving.extract_if(.., is_free).map(|(_, slot)| slot));
    }

    pub(crate) fn owner(&self, slot: u32) -> Option<(Oid, u16)> {
        self.owners.get(slot as usize).copied().flatten()
    }

    /// Slots, used or not.
    pub(crate) fn len(&self) -> u32 {
        self.owners.len() as u32
    }
}

#[cfg(test)]
#[path = "space/tests.rs"]
mod tests;
