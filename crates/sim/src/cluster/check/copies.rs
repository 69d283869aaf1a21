//! Copies: each in-sync one holds what was acknowledged, and at the end all are equal.
//!
//! Way: each store is asked directly, behind the gateways' backs: at the end those of the sheep,
//!      at any moment before those that would be left of their disks if all power went off.
//! Holds:
//!   E1 at the end every in-sync copy of a block has the same stamp, state and checksum
//!      (convergence);
//!   E2 every in-sync copy of a sector holds what was acknowledged or seen (INSYNC-COMPLETE and
//!      WAL-BEFORE-ACK, in one);
//!   E3 at the end no member keeps an object of a deleted VDI (no resurrection);
//!   E5 at the end nobody keeps copies that it can do without;
//!   E4 nothing is listed as unstable once its VDI is attached and idle.

use std::collections::{BTreeMap, BTreeSet};

use sheepdog_engine::gateway::Place;
use sheepdog_engine::state::ClusterState;
use sheepdog_proto::{BLOCK_BYTES, NodeId, Oid, Payload, Stamp, Vid};
use sheepdog_store::{BlockState, Listing, Reply, Request, Store};

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
        for place in self.all_places() {
            let Some(shard) = self.shard(place) else {
                return Err(format!("{place:?} is not there at the end"));
            };
            for store in shard.stores.all_mut() {
                gather(place, store, &state, &mut copies)?;
                check_leftovers(place, store, &state)?;
            }
        }
        check_equal(&copies, &state)?; // E1
        self.check_histories(&copies, &state)
    }

    /// What would be left if all power went off now (E2); nothing of the run changes.
    pub(in super::super) fn check_power_cut(&mut self) -> Result<(), String> {
        let state = self.log.newest().clone();
        let mut copies = Copies::new();
        for place in self.all_places() {
            let sheep = usize::from(place.node.0);
            let options = self.options_of(sheep, place.shard);
            for disk in &self.sheep[sheep].disks[usize::from(place.shard)] {
                let fork = disk.fork();
                fork.set_capacity(None);
                fork.power_cycle(self.random.roll());
                let (mut store, _) = Store::open(Box::new(fork), options)
                    .map_err(|error| format!("{place:?} cannot be opened after a cut: {error}"))?;
                gather(place, &mut store, &state, &mut copies)?;
            }
        }
        self.check_histories(&copies, &state)
            .map_err(|what| format!("if all power went off now: {what}"))
    }

    fn all_places(&self) -> Vec<Place> {
        let shards = self.profile.shards;
        let nodes = (0..self.sheep.len() as u16).map(NodeId);
        nodes.flat_map(|node| (0..shards).map(move |shard| Place { node, shard })).collect()
    }

    fn check_histories(&self, copies: &Copies, state: &ClusterState) -> Result<(), String> {
        self.clients.iter().try_for_each(|client| {
            client.vid.map_or(Ok(()), |vid| check_history(copies, state, vid, &client.history))
        })
    }
}

/// Whether a member keeps an object, and is in sync with its group.
fn is_kept(place: Place, state: &ClusterState, oid: Oid) -> bool {
    state.group_of(oid).is_some_and(|(pg, group)| {
        let member = state.members.get(place.node);
        let is_here = member.is_some_and(|member| member.shard_of(pg) == place.shard);
        is_here && group.in_sync.contains(&place.node)
    })
}

/// Whether nobody needs what a member may have of an object.
fn is_free(place: Place, state: &ClusterState, oid: Oid) -> bool {
    let group = state.group_of(oid).map(|(_, group)| group);
    group.is_some_and(|group| group.can_do_without(place.node, &state.members))
}

fn list(store: &mut Store) -> Result<Listing, String> {
    match ask(store, Request::List { after: None, limit: usize::MAX })? {
        Reply::List(listing) => Ok(listing),
        other => Err(format!("a list was answered with {other:?}")),
    }
}

/// What this store has of the groups that its member is in sync with.
fn gather(
    place: Place,
    store: &mut Store,
    state: &ClusterState,
    copies: &mut Copies,
) -> Result<(), String> {
    for object in list(store)?.objects {
        if is_kept(place, state, object.oid) {
            let blocks = 1 << (object.object_shift - 12);
            gather_object(place.node, store, (object.oid, blocks), copies)?;
        }
    }
    Ok(())
}

fn check_leftovers(place: Place, store: &mut Store, state: &ClusterState) -> Result<(), String> {
    for object in list(store)?.objects {
        if state.catalogue.get_used(object.oid.vid()).is_none_or(|vdi| vdi.deleted) {
            return Err(format!("{place:?} keeps {} of a deleted VDI", object.oid)); // E3
        }
        if is_free(place, state, object.oid) {
            return Err(format!("{place:?} keeps {} for nobody", object.oid)); // E5
        }
    }
    for vdi in state.catalogue.iter() {
        let Reply::Unstable(list) = ask(store, Request::Unstable { vid: vdi.vid })? else {
            return Err("no unstable list".to_owned());
        };
        let is_left = |oid: Oid| is_kept(place, state, oid) || is_free(place, state, oid);
        if let Some(left) = list.iter().find(|entry| is_left(entry.oid)) {
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
    let none = BTreeMap::new();
    let pages = copies.get(&(Oid::map(vid, 0), 0)).unwrap_or(&none);
    for sector in history.sectors() {
        let oid = Oid::data(vid, (sector / per_object) as u32);
        let block = (sector % per_object / SECTORS_PER_BLOCK) as u32;
        let at = (sector % SECTORS_PER_BLOCK * SECTOR) as usize;
        // By each in-sync copy of the map: what is not in it reads as zeros.
        let maps = members(state, Oid::map(vid, 0)).iter().map(|node| pages.get(node));
        let mapped: BTreeSet<bool> = maps.map(|page| is_mapped(page, oid)).collect();
        for node in members(state, oid) {
            let kept = copies.get(&(oid, block)).and_then(|kept| kept.get(node));
            let bytes = kept.and_then(|kept| kept.bytes.as_ref());
            let tag = bytes.map_or(Some(0), |bytes| tag_of(&bytes[at..at + SECTOR as usize]));
            for is_mapped in &mapped {
                let tag = if *is_mapped { tag } else { Some(0) };
                if !tag.is_some_and(|tag| history.fits(sector, tag)) {
                    return Err(format!("node {node} has {tag:x?} in sector {sector} of {vid}"));
                }
            }
        }
    }
    Ok(())
}

fn is_mapped(page: Option<&Kept>, oid: Oid) -> bool {
    let bytes = page.and_then(|page| page.bytes.as_ref());
    let entry = bytes.and_then(|b| b.get(oid.index() as usize * 4..)?.first_chunk::<4>());
    entry.is_some_and(|entry| *entry != [0; 4])
}

#[cfg(test)]
#[path = "copies/tests.rs"]
mod tests;
