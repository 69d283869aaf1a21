//! Copies: what the stores of a sheep hold, read from its directory when it does not run.
//!
//! Why: a face shows one good copy; whether every sheep has what it acknowledged, only its own
//!      stores say.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use sheepdog_proto::{Oid, Stamp, Vid};
use sheepdog_store::{
    BlockState, Disk, Engine, Home, Options, ReadReply, Reply, Request, Store, StoreError,
};

use crate::ledger::{BLOCK_BYTES, Ledger, Looked};
use crate::sheep::Sheep;

/// Objects in one answer of a list.
const LIST_LIMIT: usize = 1000;

/// A data object as a sheep holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Stamp and state of each block that is there.
    pub blocks: BTreeMap<u32, (Stamp, BlockState)>,
    /// All bytes.
    pub bytes: Vec<u8>,
}

/// Opens the stores of a sheep that does not run.
///
/// # Errors
/// If one cannot be opened.
pub fn open(sheep: &Sheep) -> Result<Vec<Store>> {
    let mut home = Home::open(&sheep.directory())?;
    let count = (0..).take_while(|index| home.store_path(*index).exists()).count() as u16;
    ensure!(count > 0, "sheep {} has no stores", sheep.index);
    let mut stores = Vec::new();
    for shard in 0..count {
        let disk = Box::new(home.store_disk(shard, Engine::Probe)?);
        let opened = open_on(disk, home.node_uuid(), shard);
        stores.push(opened.with_context(|| format!("store {shard} of sheep {}", sheep.index))?);
    }
    Ok(stores)
}

/// Opens the store of a shard of a node on any disk.
///
/// # Errors
/// If it cannot be opened.
pub fn open_on(disk: Box<dyn Disk>, node: u128, shard: u16) -> Result<Store, StoreError> {
    let options = Options { node, shard, reserve_bytes: 0, ..Options::default() };
    Ok(Store::open(disk, options)?.0)
}

/// The blocks of a data object of 2^`shift` bytes; one that is not there is zeros.
///
/// # Errors
/// If a block cannot be read.
pub fn object(store: &mut Store, vid: u32, index: u32, shift: u8) -> Result<ReadReply> {
    let vid = Vid::new(vid).context("a vid")?;
    let (oid, count) = (Oid::data(vid, index), (1 << shift) / BLOCK_BYTES as u32);
    let read = Request::Read { oid, first_block: 0, count };
    match store.execute(vec![read]).pop() {
        Some(Ok(Reply::Read(read))) => Ok(read),
        other => bail!("object {index} cannot be read: {other:?}"),
    }
}

/// Compares what one store holds of a VDI, whose objects have 2^`shift` bytes, with its ledger,
/// when everything that was acknowledged before `time` must be there.
///
/// # Errors
/// If a block is not what it may be.
pub fn check(store: &mut Store, ledger: &Ledger, vid: u32, shift: u8, time: u64) -> Result<Looked> {
    let mut sum = Looked::default();
    let per_object = (1 << shift) / BLOCK_BYTES;
    for index in 0..(ledger.block_count() / per_object) as u32 {
        let read = object(store, vid, index, shift)?;
        let looked = ledger.check(index as usize * per_object, &read.data, time);
        sum.add(looked.with_context(|| format!("object {index}"))?);
    }
    Ok(sum)
}

/// As [`check`], for all stores of a sheep: each object is in one of them.
///
/// # Errors
/// If a block is not what it may be.
pub fn check_all(
    stores: &mut [Store],
    ledger: &Ledger,
    vid: u32,
    shift: u8,
    time: u64,
) -> Result<Looked> {
    let mut sum = Looked::default();
    let copies = all(stores, vid)?;
    let per_object = (1 << shift) / BLOCK_BYTES;
    let zeros = vec![0; 1 << shift];
    for index in 0..(ledger.block_count() / per_object) as u32 {
        let bytes = copies.get(&index).map_or(&zeros, |copy| &copy.bytes);
        let looked = ledger.check(index as usize * per_object, bytes, time);
        sum.add(looked.with_context(|| format!("object {index}"))?);
    }
    Ok(sum)
}

/// All data objects of a VDI that a sheep holds, of whatever shard.
///
/// # Errors
/// If one cannot be read.
pub fn all(stores: &mut [Store], vid: u32) -> Result<BTreeMap<u32, Copy>> {
    let mut copies = BTreeMap::new();
    for store in stores {
        for (index, shift) in list(store, vid)? {
            let read = object(store, vid, index, shift)?;
            let there = (0..).zip(&read.blocks).filter(|(_, b)| b.state != BlockState::Absent);
            let blocks = there.map(|(number, block)| (number, (block.stamp, block.state)));
            let copy = Copy { blocks: blocks.collect(), bytes: read.data.to_vec() };
            ensure!(copies.insert(index, copy).is_none(), "object {index} is in two stores");
        }
    }
    Ok(copies)
}

/// Data objects of a VDI: index and shift.
fn list(store: &mut Store, vid: u32) -> Result<Vec<(u32, u8)>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let list = Request::List { after, limit: LIST_LIMIT };
        let Some(Ok(Reply::List(listing))) = store.execute(vec![list]).pop() else {
            bail!("a store does not list its objects");
        };
        ensure!(listing.rotten.is_empty(), "rotten metadata: {:?}", listing.rotten);
        for object in &listing.objects {
            let oid = object.oid;
            if oid.vid().get() == vid && oid == Oid::data(oid.vid(), oid.index()) {
                found.push((oid.index(), object.object_shift));
            }
        }
        after = listing.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// Says where the copies of two sheep differ, if they do.
#[must_use]
pub fn difference(one: &BTreeMap<u32, Copy>, other: &BTreeMap<u32, Copy>) -> Option<String> {
    let objects: std::collections::BTreeSet<&u32> = one.keys().chain(other.keys()).collect();
    objects.into_iter().find_map(|index| {
        let (Some(one), Some(other)) = (one.get(index), other.get(index)) else {
            return Some(format!("object {index} is missing"));
        };
        let is_same = |block: &u32| one.blocks.get(block) == other.blocks.get(block);
        let mut blocks = one.blocks.keys().chain(other.blocks.keys());
        if let Some(block) = blocks.find(|block| !is_same(block)) {
            let (one, other) = (one.blocks.get(block), other.blocks.get(block));
            return Some(format!("object {index}, block {block}: {one:?} and {other:?}"));
        }
        (one.bytes != other.bytes).then(|| format!("bytes of object {index}"))
    })
}
