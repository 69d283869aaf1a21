//! The end: all in-sync copies are equal, hold what was acknowledged, and nothing else is left.
//!
//! Way: when everything has come to rest, each store is asked directly, behind the gateways'
//!      backs.
//! Holds:
//!   E1 every in-sync copy of a block has the same stamp, state and checksum (convergence);
//!   E2 every in-sync copy of a sector holds what was acknowledged or seen (durability);
//!   E3 no member keeps an object of a deleted VDI (no resurrection);
//!   E4 nothing is listed as unstable once its VDI is attached and idle.

use std::collections::BTreeMap;

use sheepdog_engine::gateway::Place;
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::{BLOCK_BYTES, NodeId, Oid, Payload, Stamp, Vid};
use sheepdog_store::{BlockState, Reply, Request, Store};

use super::super::world::World;
use super::history::{History, SECTOR, tag_of};

const SECTORS_PER_BLOCK: u64 = BLOCK_BYTES as u64 / SECTOR;

/// A block of one copy that is not absent.
#[derive(Clone, Debug)]
pub(in super::super) struct Kept {
    stamp: Stamp,
    state: BlockState,
    bytes: Option<Payload>,
}

/// By object and block, then by member.
pub(in super::super) type Copies = BTreeMap<(Oid, u32), BTreeMap<NodeId, Kept>>;

impl World {
    /// Looks at everything; nothing may be under way.
    pub(in super::super) fn check_copies(&mut self) -> Result<(), String> {
        let state = self.log.newest().clone();
        let mut copies = Copies::new();
        for sheep in 0..self.sheep.len() {
            for shard in 0..self.profile.shards {
                let place = Place { node: NodeId(sheep as u16), shard };
                let Some(shard) = self.shard(place) else {
                    return Err(format!("sheep {sheep} is not there at the end"));
                };
                gather(place, shard.store.store_mut(), &state, &mut copies)?;
            }
        }
        check_equal(&copies, &state)?; // E1
        self.clients.iter().try_for_each(|client| {
            client.vid.map_or(Ok(()), |vid| check_history(&copies, &state, vid, &client.history))
        })
    }
}

/// What this store has of the groups that its member is in sync with.
fn gather(
    place: Place,
    store: &mut Store,
    state: &ClusterState,
    copies: &mut Copies,
) -> Result<(), String> {
    let is_kept = |oid: Oid| {
        state.group_of(oid).is_some_and(|(pg, group)| {
            let member = state.members.get(place.node);
            let is_here = member.is_some_and(|member| member.shard_of(pg) == place.shard);
            is_here && group.in_sync.contains(&place.node)
        })
    };
    let Reply::List(listing) = ask(store, Request::List { after: None, limit: usize::MAX })? else {
        return Err("no list".to_owned());
    };
    for object in listing.objects {
        let oid = object.oid;
        if state.catalogue.get_used(oid.vid()).is_none_or(|vdi| vdi.deleted) {
            return Err(format!("{place:?} keeps {oid} of a deleted VDI")); // E3
        }
        if is_kept(oid) {
            let blocks = 1 << (object.object_shift - 12);
            gather_object(place.node, store, (oid, blocks), copies)?;
        }
    }
    for vdi in state.catalogue.iter() {
        let Reply::Unstable(list) = ask(store, Request::Unstable { vid: vdi.vid })? else {
            return Err("no unstable list".to_owned());
        };
        if let Some(left) = list.iter().find(|entry| is_kept(entry.oid)) {
            return Err(format!("{place:?} still lists {left:?}")); // E4
        }
    }
    Ok(())
}

fn gather_object(
    node: NodeId,
    store: &mut Store,
    (oid, count): (Oid, u32),
    copies: &mut Copies,
) -> Result<(), String> {
    let stamps = Request::Stamps { oid, first_block: 0, count };
    let Reply::Stamps { blocks, .. } = ask(store, stamps)? else {
        return Err("no stamps".to_owned());
    };
    for (number, block) in (0..).zip(blocks) {
        let bytes = match block.state {
            BlockState::Absent => continue,
            BlockState::Hole => None,
            BlockState::Data { .. } => {
                let read = Request::Read { oid, first_block: number, count: 1 };
                let Reply::Read(read) = ask(store, read)? else {
                    return Err("no bytes".to_owned());
                };
                Some(read.data)
            }
        };
        let kept = Kept { stamp: block.stamp, state: block.state, bytes };
        copies.entry((oid, number)).or_default().insert(node, kept);
    }
    Ok(())
}

fn ask(store: &mut Store, request: Request) -> Result<Reply, String> {
    let what = format!("{request:?}");
    let answer = store.execute(vec![request]).pop();
    answer.ok_or_else(|| "no answer".to_owned())?.map_err(|error| format!("{what}: {error}"))
}

fn members(state: &ClusterState, oid: Oid) -> &[NodeId] {
    state.group_of(oid).map_or(&[][..], |(_, group)| &group.in_sync)
}

fn check_equal(copies: &Copies, state: &ClusterState) -> Result<(), String> {
    for ((oid, block), kept) in copies {
        let mut all = kept.values().map(|kept| (kept.stamp, kept.state));
        let first = all.next();
        if kept.len() != members(state, *oid).len() || all.any(|other| Some(other) != first) {
            let stamps: Vec<_> = kept.iter().map(|(node, k)| (node, k.stamp, k.state)).collect();
            let members = members(state, *oid);
            return Err(format!(
                "copies of {oid:?} block {block} of {members:?} differ: {stamps:?}"
            ));
        }
    }
    Ok(())
}

/// E2.
fn check_history(
    copies: &Copies,
    state: &ClusterState,
    vid: Vid,
    history: &History,
) -> Result<(), String> {
    let Some(vdi) = state.catalogue.get(vid) else { return Ok(()) };
    let per_object = vdi.object_bytes() / SECTOR;
    let map = Oid::map(vid, 0);
    for sector in history.sectors() {
        let oid = Oid::data(vid, (sector / per_object) as u32);
        let block = (sector % per_object / SECTORS_PER_BLOCK) as u32;
        let at = (sector % SECTORS_PER_BLOCK * SECTOR) as usize;
        let page = copies.get(&(map, 0)).and_then(|kept| kept.values().next());
        let page = page.and_then(|page| page.bytes.as_ref());
        let entry = page.and_then(|page| page.get(oid.index() as usize * 4..)?.first_chunk::<4>());
        // What is not in the map reads as zeros, whatever is left of it.
        let is_mapped = entry.is_some_and(|entry| *entry != [0; 4]);
        for node in members(state, oid) {
            let kept = copies.get(&(oid, block)).and_then(|kept| kept.get(node));
            let bytes = kept.and_then(|kept| kept.bytes.as_ref()).filter(|_| is_mapped);
            let tag = bytes.map_or(Some(0), |bytes| tag_of(&bytes[at..at + SECTOR as usize]));
            if !tag.is_some_and(|tag| history.fits(sector, tag)) {
                return Err(format!("node {node} has {tag:x?} in sector {sector} of {vid}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "copies/tests.rs"]
mod tests;
