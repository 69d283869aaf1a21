//! Letting a herd run until nothing moves, and looking whether it has come to rest (G11).

use std::collections::BTreeMap;

use sheepdog_proto::peer::Unstable;
use sheepdog_proto::{NodeId, Oid, Payload, Stamp, Vid};

use super::super::Place;
use super::herd::Herd;
use super::show::name;

/// Content of one block on one member.
type Kept = (Stamp, Option<Payload>);

impl Herd {
    /// Everything that can happen happens, until nothing moves. Gateways get no ticks.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.round() {
                return;
            }
        }
        panic!("the herd never comes to rest");
    }

    /// As `settle`, with ticks.
    pub(super) fn rest(&mut self) {
        for _ in 0..3 {
            self.settle();
            self.places().into_iter().for_each(|place| self.tick(place));
        }
        self.settle();
    }

    fn round(&mut self) -> bool {
        let mut moved = self.mend_all();
        while !self.log_stops
            && let Some(command) = self.proposals.pop_front()
        {
            self.append(command);
            moved = true;
        }
        for place in self.places() {
            let to = self.log.len();
            if self.unit(place).is_some_and(|unit| unit.applied < to) {
                self.advance(place, to, false);
                moved = true;
            }
        }
        let mut at = 0;
        while at < self.links.all.len() {
            moved |= self.deliver_request(at);
            moved |= self.deliver_reply(at);
            at += 1;
        }
        for place in self.places() {
            while self.execute(place, false) {
                moved = true;
            }
        }
        moved
    }

    /// Makes every broken connection between living sheep anew.
    pub(super) fn mend_all(&mut self) -> bool {
        let mut mended = false;
        while let Some(at) = self.broken() {
            self.mend(at);
            mended = true;
        }
        mended
    }

    fn broken(&self) -> Option<usize> {
        let alive = |place: Place| self.life(place.node).is_some();
        let broken = |l: &super::link::Link| !l.is_up && !l.is_late && alive(l.from) && alive(l.to);
        self.links.all.iter().position(broken)
    }

    /// Makes a connection anew and tells its gateway.
    pub(super) fn mend(&mut self, at: usize) {
        let (from, to) = (self.links.all[at].from, self.links.all[at].to);
        self.say(|| format!("{} reconnects to {}", name(from), name(to)));
        self.links.mend(at);
        if let Some(unit) = self.unit(from) {
            unit.gateway.handle_reconnect(to);
            unit.joiner.handle_reconnect(to);
        }
        self.pump(from);
    }

    /// Every copy of every object in sync is the same, and no list names an old operation (G11).
    pub(super) fn check_converged(&mut self, vid: Vid) -> Result<(), String> {
        let state = self.newest().clone();
        let mut copies: BTreeMap<(Oid, u32), BTreeMap<NodeId, Kept>> = BTreeMap::new();
        for (node, sheep) in self.sheep.iter().enumerate() {
            let node = NodeId(node as u16);
            let member = |oid| state.group_of(oid).is_some_and(|(_, g)| g.in_sync.contains(&node));
            for store in &sheep.stores {
                for (oid, number, stamp, bytes) in store.blocks(vid) {
                    if member(oid) {
                        let block = copies.entry((oid, number)).or_default();
                        block.insert(node, (stamp, bytes));
                    }
                }
                let left: Vec<Unstable> =
                    store.list(vid).into_iter().filter(|entry| member(entry.oid)).collect();
                if !left.is_empty() {
                    return Err(format!("node {node} still lists {left:?}"));
                }
            }
        }
        for ((oid, number), kept) in copies {
            let members = state.group_of(oid).map_or(0, |(_, group)| group.in_sync.len());
            let mut different = kept.values().collect::<Vec<_>>();
            different.dedup();
            if kept.len() != members || different.len() != 1 {
                let stamps: Vec<_> = kept.iter().map(|(node, k)| (node, k.0)).collect();
                return Err(format!("copies of {oid:?} block {number} differ: {stamps:?}"));
            }
        }
        Ok(())
    }

    /// Every copy that should be in sync is.
    pub(super) fn is_complete(&mut self) -> bool {
        self.newest().groups().all(|(_, g)| g.targets.iter().all(|node| g.in_sync.contains(node)))
    }

    /// No gateway remembers anything of operations that have ended.
    pub(super) fn check_idle(&mut self) -> Result<(), String> {
        for place in self.places() {
            let Some(unit) = self.unit(place) else { continue };
            let gateway = &unit.gateway;
            if !gateway.context.outstanding.is_empty() {
                let left = &gateway.context.outstanding;
                return Err(format!("{} still waits for {left:?}", name(place)));
            }
            for (vid, a) in &gateway.attachments {
                let idle = a.pieces.is_empty()
                    && a.delayed.is_empty()
                    && a.runnable.is_empty()
                    && a.flights.is_empty()
                    && a.reads.is_empty()
                    && a.requests.is_empty()
                    && a.locks.is_idle()
                    && a.sequencer.is_quiet();
                if !idle {
                    return Err(format!("{} has not finished {vid}: {a:?}", name(place)));
                }
            }
        }
        Ok(())
    }
}
