//! Fencing: what a member executes, and for which owner.
//!
//! Holds:
//!   F1 a shard that has executed anything for a newer generation of a VDI, a barrier first of
//!      all, executes nothing for an older one, neither in this life nor in a later one.

use std::collections::BTreeMap;

use sheepdog_engine::gateway::Place;
use sheepdog_proto::peer::Request;
use sheepdog_proto::{Generation, Vid};

#[derive(Debug, Default)]
pub(in super::super) struct Fence {
    newest: BTreeMap<(Place, Vid), Generation>,
}

impl Fence {
    /// A shard executes a request.
    pub(in super::super) fn note(&mut self, place: Place, request: &Request) -> Result<(), String> {
        let newest = self.newest.entry((place, request.vid)).or_default();
        if request.generation < *newest {
            return Err(format!(
                "{place:?} executes #{} of generation {} of {}, after one of generation {newest}",
                request.id, request.generation, request.vid
            )); // F1
        }
        *newest = request.generation;
        Ok(())
    }
}

#[cfg(test)]
#[path = "fence/tests.rs"]
mod tests;
