//! Verification: every checksum of a store, and that no space has two owners.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use sheepdog_proto::{BLOCK_BYTES, Oid};

use super::Inspection;
use super::changes::{Known, Spot};
use super::fault::{Fault, FaultKind};
use crate::request::BlockState;
use crate::shape::UNIT_BLOCKS;
use crate::store::files::{SLAB_UNITS, offset_in_slab, slab_path};

/// What a verification has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Objects.
    pub objects: u64,
    /// Objects of which something is lost.
    pub damaged_objects: u64,
    /// Blocks with bytes that were read and checked.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Faults that are not harmless, those of superblock, index and log included.
    pub bad: u64,
    /// Faults that are harmless.
    pub harmless: u64,
}

impl Verified {
    fn count(&mut self, fault: &Fault) {
        if fault.kind.is_harmless() {
            self.harmless += 1;
        } else {
            self.bad += 1;
        }
    }
}

impl Inspection {
    /// Checks everything, and shows each fault when it is found.
    pub fn verify(&mut self, show: &mut dyn FnMut(&Fault)) -> Verified {
        let mut verified = Verified::default();
        for fault in &self.faults {
            verified.count(fault);
            show(fault);
        }
        let mut owners = BTreeMap::new();
        for oid in self.oids() {
            let Some(merged) = self.merge(oid) else { continue };
            if merged.blocks.is_empty() && merged.unknown.is_empty() {
                continue;
            }
            verified.objects += 1;
            let mut faults = merged.faults;
            own_units(oid, &merged.blocks, &mut owners, &mut faults);
            self.check_blocks(oid, &merged.blocks, &mut |_, checked| match checked {
                Ok(bytes) => {
                    verified.blocks += 1;
                    verified.bytes += bytes.len() as u64;
                }
                Err(fault) => {
                    verified.blocks += 1;
                    verified.bytes += BLOCK_BYTES as u64;
                    faults.push(fault);
                }
            });
            verified.damaged_objects += u64::from(!faults.is_empty());
            for fault in &faults {
                verified.count(fault);
                show(fault);
            }
        }
        verified
    }
}

/// Notes whose the units are in which an object has data.
fn own_units(
    oid: Oid,
    blocks: &BTreeMap<u32, Known>,
    owners: &mut BTreeMap<u32, (Oid, u32)>,
    faults: &mut Vec<Fault>,
) {
    for (block, known) in blocks {
        let (BlockState::Data { .. }, Spot::Slab(unit, _)) = (known.state, &known.spot) else {
            continue;
        };
        let mine = (oid, block / UNIT_BLOCKS);
        match owners.entry(*unit) {
            Entry::Vacant(place) => {
                place.insert(mine);
            }
            Entry::Occupied(place) if *place.get() == mine => {}
            Entry::Occupied(mut place) => {
                let (other, _) = place.insert(mine); // Said once, not for each block.
                let kind = FaultKind::UnitTwice { unit: *unit, oid, other };
                let file = slab_path(unit / SLAB_UNITS);
                faults.push(Fault::new(&file, offset_in_slab(*unit, 0), kind));
            }
        }
    }
}

#[cfg(test)]
#[path = "verify/tests.rs"]
mod tests;
