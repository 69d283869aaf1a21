//! What clients did and saw, checked as one register per 512 bytes with a single writer.
//!
//! Why: writes of one VDI have an order (generation, then submission), so that a read can be
//!      judged at once: it returns the last write before it, or an unanswered later one.
//! Holds:
//!   H1 a read returns nothing older than what was acknowledged or seen before it began, nor
//!      than what was submitted before it through the same attachment;
//!   H2 it returns nothing that was submitted after it;
//!   H3 once a later attachment has seen an older value, an unanswered write of an earlier one
//!      is dead: nobody sees it and nobody acknowledges it.

use std::collections::BTreeMap;

use sheepdog_proto::{Buffer, Payload};

use crate::volume::{Answer, Refusal};

/// Bytes of one register.
pub(super) const SECTOR: u64 = 512;

/// Generation and submission: the order of writes.
pub(super) type Key = (u32, u64);

#[derive(Debug)]
struct Write {
    key: Key,
    /// Zero for zeros.
    tag: u64,
    acked: bool,
    dead: bool,
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
        let first = Write { key, tag: 0, acked: true, dead: false };
        Self { writes: vec![first], floor: key }
    }
}

#[derive(Debug)]
enum Kind {
    Write {
        sectors: Vec<u64>,
    },
    /// First sector, and the oldest write that may be returned for each.
    Read {
        first: u64,
        oldest: Vec<Key>,
    },
    Other,
}

#[derive(Debug)]
struct Operation {
    key: Key,
    kind: Kind,
}

/// The history of one VDI.
#[derive(Debug, Default)]
pub(super) struct History {
    /// A part of a write may be refused, long before the whole of it is answered.
    pub(super) has_refusals: bool,
    registers: BTreeMap<u64, Register>,
    open: BTreeMap<u64, Operation>,
    answered: usize,
}

impl History {
    /// A write of these sectors with these tags begins.
    pub(super) fn write(&mut self, token: u64, key: Key, tags: &[(u64, u64)]) {
        for (sector, tag) in tags {
            let known = self.registers.contains_key(sector);
            if !known && *tag == 0 {
                continue; // never written, so zeros change nothing
            }
            let writes = &mut self.registers.entry(*sector).or_default().writes;
            let write = Write { key, tag: *tag, acked: false, dead: false };
            let at = writes.partition_point(|other| other.key < key);
            writes.insert(at, write);
        }
        let sectors = tags.iter().map(|(sector, _)| *sector).collect();
        self.open.insert(token, Operation { key, kind: Kind::Write { sectors } });
    }

    pub(super) fn read(&mut self, token: u64, key: Key, first: u64, count: u64) {
        let oldest = (first..first + count).map(|sector| self.floor(sector)).collect();
        self.open.insert(token, Operation { key, kind: Kind::Read { first, oldest } });
    }

    pub(super) fn other(&mut self, token: u64, key: Key) {
        self.open.insert(token, Operation { key, kind: Kind::Other });
    }

    /// Some unanswered write may still change a sector of the range.
    pub(super) fn is_busy(&self, sectors: std::ops::Range<u64>) -> bool {
        let touches = |operation: &Operation| match &operation.kind {
            Kind::Write { sectors: of } => of.iter().any(|sector| sectors.contains(sector)),
            _ => false,
        };
        self.open.values().any(touches)
    }

    pub(super) const fn answered(&self) -> usize {
        self.answered
    }

    /// The client's gateway is gone: what was not answered never will be.
    pub(super) fn forget(&mut self, token: u64) {
        self.open.remove(&token);
    }

    /// Judges an answer. Returns the sectors and order of an acknowledged write.
    pub(super) fn answer(
        &mut self,
        token: u64,
        result: &Result<Answer, Refusal>,
    ) -> Result<Option<(Key, Vec<u64>)>, String> {
        let Some(Operation { key, kind }) = self.open.remove(&token) else { return Ok(None) };
        self.answered += 1;
        match (kind, result) {
            (Kind::Write { sectors }, Ok(_)) => {
                for sector in &sectors {
                    self.acknowledge(*sector, key)?;
                }
                Ok(Some((key, sectors)))
            }
            (Kind::Read { first, oldest }, Ok(Answer::Data(data))) => {
                if data.len() as u64 != oldest.len() as u64 * SECTOR {
                    return Err(format!("read {token} returned {} bytes", data.len()));
                }
                for ((sector, oldest), bytes) in
                    (first..).zip(oldest).zip(data.chunks(SECTOR as usize))
                {
                    let tag = tag_of(bytes).ok_or_else(|| format!("torn sector {sector}"))?;
                    self.see(sector, key, oldest, tag)?;
                }
                Ok(None)
            }
            (_, Err(Refusal::Io(_))) if !self.has_refusals => Err(format!("{token} failed")),
            (_, Ok(_) | Err(Refusal::Fenced | Refusal::Io(_))) => Ok(None),
            (_, Err(refusal)) => Err(format!("operation {token} was refused: {refusal}")),
        }
    }

    fn acknowledge(&mut self, sector: u64, key: Key) -> Result<(), String> {
        let Some(register) = self.registers.get_mut(&sector) else { return Ok(()) };
        let Some(write) = register.writes.iter_mut().find(|write| write.key == key) else {
            return Ok(());
        };
        if write.dead {
            return Err(format!("write {key:?} of sector {sector} is acknowledged, but dead")); // H3
        }
        write.acked = true;
        register.floor = register.floor.max(key);
        Ok(())
    }

    fn see(&mut self, sector: u64, key: Key, oldest: Key, tag: u64) -> Result<(), String> {
        let Some(register) = self.registers.get_mut(&sector) else {
            let what = format!("sector {sector} was never written, but {tag:x} was read");
            return if tag == 0 { Ok(()) } else { Err(what) };
        };
        let sure = !self.has_refusals;
        let own = |w: &&Write| sure && w.key.0 == key.0 && w.key < key;
        let own = register.writes.iter().rev().find(own).map_or((0, 0), |write| write.key);
        let oldest = oldest.max(own); // H1
        let fits = |w: &&Write| w.tag == tag && w.key >= oldest && w.key < key && !w.dead; // H2
        let keys: Vec<Key> = register.writes.iter().filter(fits).map(|w| w.key).collect();
        let (Some(first), Some(last)) = (keys.first().copied(), keys.last().copied()) else {
            return Err(format!(
                "read {key:?} of sector {sector} returned {tag:x}, allowed from {oldest:?}: {:?}",
                register.writes
            ));
        };
        register.floor = register.floor.max(first);
        for write in register.writes.iter_mut().filter(|w| w.key.0 < key.0 && w.key > last) {
            if write.acked {
                return Err(format!("read {key:?} of sector {sector} missed {:?}", write.key));
            }
            write.dead = true;
        }
        Ok(())
    }

    /// Whether a copy of the sector with this tag holds write `key` or a later one.
    pub(super) fn holds(&self, sector: u64, key: Key, tag: u64) -> bool {
        let Some(register) = self.registers.get(&sector) else { return true };
        register.writes.iter().any(|write| write.key >= key && write.tag == tag)
    }

    /// Whether everything that can be read from the sector is not zeros.
    pub(super) fn is_full(&self, sector: u64) -> bool {
        let Some(register) = self.registers.get(&sector) else { return false };
        let mut possible = register.writes.iter().filter(|w| w.key >= register.floor && !w.dead);
        possible.all(|write| write.tag != 0)
    }

    /// The oldest write that may still be read from the sector.
    pub(super) fn floor(&self, sector: u64) -> Key {
        self.registers.get(&sector).map_or((0, 0), |register| register.floor)
    }

    /// Every sector that was ever written.
    pub(super) fn sectors(&self) -> Vec<u64> {
        self.registers.keys().copied().collect()
    }
}

/// The bytes of sectors with these tags.
pub(super) fn tagged(tags: &[u64]) -> Payload {
    let mut buffer = Buffer::zeroed(tags.len() * SECTOR as usize);
    for (tag, sector) in tags.iter().zip(buffer.chunks_mut(SECTOR as usize)) {
        sector[..8].copy_from_slice(&tag.to_le_bytes());
        sector[SECTOR as usize - 8..].copy_from_slice(&tag.to_le_bytes());
    }
    buffer.share()
}

/// The tag of a sector, `None` if it is torn.
pub(super) fn tag_of(sector: &[u8]) -> Option<u64> {
    let (first, last) = (sector.first_chunk::<8>()?, sector.last_chunk::<8>()?);
    (first == last).then(|| u64::from_le_bytes(*first))
}
