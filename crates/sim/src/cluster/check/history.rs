//! What a VDI's clients did and saw, checked as one register per 512 bytes with a single writer.
//!
//! Why: operations of one VDI have an order (generation, then submission), so that a read can be
//!      judged at once: it returns the last write before it, or an unanswered later one.
//! Holds:
//!   H1 a read returns nothing older than what was acknowledged or seen before it began, nor
//!      than what was submitted before it through the same attachment;
//!   H2 it returns nothing that was submitted after it;
//!   H3 once a later attachment has seen an older value, an unanswered write of an earlier one
//!      is dead: nobody sees it and nobody acknowledges it.

use std::collections::BTreeMap;

use sheepdog_engine::volume::{Answer, Refusal};
use sheepdog_proto::{Buffer, Payload};

/// Bytes of one register.
pub(in super::super) const SECTOR: u64 = 512;

/// Writes of a register after which it is looked whether some can be forgotten.
const WRITES_MAX: usize = 12;

/// Generation and submission: the order of operations.
pub(in super::super) type Key = (u32, u64);

#[derive(Debug)]
struct Write {
    key: Key,
    /// Zero for zeros.
    tag: u64,
    is_acknowledged: bool,
    is_dead: bool,
}

#[derive(Debug)]
struct Register {
    writes: Vec<Write>,
    /// Nothing before this one may be seen any more.
    floor: Key,
}

impl Default for Register {
    fn default() -> Self {
        let key = (0, 0);
        let first = Write { key, tag: 0, is_acknowledged: true, is_dead: false };
        Self { writes: vec![first], floor: key }
    }
}

#[derive(Debug)]
enum Kind {
    Write(Vec<u64>),
    /// First sector, and the oldest write that may be returned for each.
    Read(u64, Vec<Key>),
    Other,
}

/// The history of one VDI.
#[derive(Debug, Default)]
pub(in super::super) struct History {
    registers: BTreeMap<u64, Register>,
    open: BTreeMap<u64, (Key, Kind)>,
}

impl History {
    /// A write of these tags from sector `first` begins.
    pub(in super::super) fn write(&mut self, number: u64, key: Key, first: u64, tags: &[u64]) {
        let sectors: Vec<u64> = (first..).take(tags.len()).collect();
        for (sector, tag) in sectors.iter().zip(tags) {
            self.insert(*sector, key, *tag);
        }
        self.open.insert(number, (key, Kind::Write(sectors)));
    }

    /// The range becomes zeros. What was never written is zeros already.
    pub(in super::super) fn zero(&mut self, number: u64, key: Key, sectors: std::ops::Range<u64>) {
        let known: Vec<u64> = self.registers.range(sectors).map(|(sector, _)| *sector).collect();
        known.iter().for_each(|sector| self.insert(*sector, key, 0));
        self.open.insert(number, (key, Kind::Write(known)));
    }

    fn insert(&mut self, sector: u64, key: Key, tag: u64) {
        if self.registers.get(&sector).is_some_and(|register| register.writes.len() > WRITES_MAX) {
            self.shorten(sector);
        }
        let writes = &mut self.registers.entry(sector).or_default().writes;
        let at = writes.partition_point(|other| other.key < key);
        writes.insert(at, Write { key, tag, is_acknowledged: false, is_dead: false });
    }

    /// Forgets what nobody may see any more, but for what must not be acknowledged any more.
    fn shorten(&mut self, sector: u64) {
        let reads = self.open.values().filter_map(|(_, kind)| match kind {
            Kind::Read(first, oldest) => oldest.get(sector.checked_sub(*first)? as usize).copied(),
            Kind::Write(_) | Kind::Other => None,
        });
        let low = reads.chain([self.floor(sector)]).min().unwrap_or_default();
        if let Some(register) = self.registers.get_mut(&sector) {
            register.writes.retain(|w| w.key >= low || w.is_dead && !w.is_acknowledged);
        }
    }

    pub(in super::super) fn read(&mut self, number: u64, key: Key, first: u64, count: u64) {
        let oldest = (first..first + count).map(|sector| self.floor(sector)).collect();
        self.open.insert(number, (key, Kind::Read(first, oldest)));
    }

    pub(in super::super) fn other(&mut self, number: u64, key: Key) {
        self.open.insert(number, (key, Kind::Other));
    }

    /// The client will not hear of it.
    pub(in super::super) fn forget(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// Judges an answer.
    pub(in super::super) fn answer(
        &mut self,
        number: u64,
        result: &Result<Answer, Refusal>,
    ) -> Result<(), String> {
        let Some((key, kind)) = self.open.remove(&number) else { return Ok(()) };
        match (kind, result) {
            (Kind::Write(sectors), Ok(_)) => {
                sectors.iter().try_for_each(|sector| self.acknowledge(*sector, key))
            }
            (Kind::Read(first, oldest), Ok(Answer::Data(data))) => {
                if data.len() as u64 != oldest.len() as u64 * SECTOR {
                    return Err(format!("read {number} returned {} bytes", data.len()));
                }
                let sectors = (first..).zip(oldest).zip(data.chunks(SECTOR as usize));
                for ((sector, oldest), bytes) in sectors {
                    let tag = tag_of(bytes).ok_or_else(|| format!("torn sector {sector}"))?;
                    self.see(sector, key, oldest, tag)?;
                }
                Ok(())
            }
            (Kind::Other, Ok(_)) | (_, Err(Refusal::Fenced)) => Ok(()),
            (_, Ok(answer)) => Err(format!("operation {number} was answered with {answer:?}")),
            (_, Err(refusal)) => Err(format!("operation {number} was refused: {refusal}")),
        }
    }

    fn acknowledge(&mut self, sector: u64, key: Key) -> Result<(), String> {
        let Some(register) = self.registers.get_mut(&sector) else { return Ok(()) };
        let Some(write) = register.writes.iter_mut().find(|write| write.key == key) else {
            return Ok(());
        };
        if write.is_dead {
            return Err(format!("write {key:?} of sector {sector} is acknowledged, but dead")); // H3
        }
        write.is_acknowledged = true;
        register.floor = register.floor.max(key);
        Ok(())
    }

    fn see(&mut self, sector: u64, key: Key, oldest: Key, tag: u64) -> Result<(), String> {
        let Some(register) = self.registers.get_mut(&sector) else {
            let what = format!("sector {sector} was never written, but {tag:x} was read");
            return if tag == 0 { Ok(()) } else { Err(what) };
        };
        let own = |write: &&Write| write.key.0 == key.0 && write.key < key;
        let own = register.writes.iter().rev().find(own).map_or((0, 0), |write| write.key);
        let oldest = oldest.max(own); // H1
        let fits = |w: &&Write| w.tag == tag && w.key >= oldest && w.key < key && !w.is_dead; // H2
        let keys: Vec<Key> = register.writes.iter().filter(fits).map(|w| w.key).collect();
        let (Some(first), Some(last)) = (keys.first().copied(), keys.last().copied()) else {
            return Err(format!(
                "read {key:?} of sector {sector} returned {tag:x}, allowed from {oldest:?}: {:?}",
                register.writes
            ));
        };
        register.floor = register.floor.max(first);
        for write in register.writes.iter_mut().filter(|w| w.key.0 < key.0 && w.key > last) {
            if write.is_acknowledged {
                return Err(format!("read {key:?} of sector {sector} missed {:?}", write.key));
            }
            write.is_dead = true;
        }
        Ok(())
    }

    /// Whether a copy of the sector with this tag holds all that was acknowledged or seen.
    pub(in super::super) fn fits(&self, sector: u64, tag: u64) -> bool {
        let Some(register) = self.registers.get(&sector) else { return tag == 0 };
        register.writes.iter().any(|w| w.key >= register.floor && w.tag == tag && !w.is_dead)
    }

    fn floor(&self, sector: u64) -> Key {
        self.registers.get(&sector).map_or((0, 0), |register| register.floor)
    }

    /// Every sector that was ever written.
    pub(in super::super) fn sectors(&self) -> impl Iterator<Item = u64> {
        self.registers.keys().copied()
    }
}

/// The bytes of sectors with these tags.
pub(in super::super) fn tagged(tags: &[u64]) -> Payload {
    let mut buffer = Buffer::zeroed(tags.len() * SECTOR as usize);
    for (tag, sector) in tags.iter().zip(buffer.chunks_mut(SECTOR as usize)) {
        sector[..8].copy_from_slice(&tag.to_le_bytes());
        sector[SECTOR as usize - 8..].copy_from_slice(&tag.to_le_bytes());
    }
    buffer.share()
}

/// The tag of a sector, `None` if it is torn.
pub(in super::super) fn tag_of(sector: &[u8]) -> Option<u64> {
    let (first, last) = (sector.first_chunk::<8>()?, sector.last_chunk::<8>()?);
    (first == last).then(|| u64::from_le_bytes(*first))
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
