//! What a member that joins a group asks of one that is in sync, and what it is told.

use super::body::{BlockMeta, BlockState, Unstable, block, oid, put_unstable, unstable};
use super::header::{Header, LIST_MAX};
use crate::wire::{Reader, WireError, Writer};
use crate::{BLOCK_BYTES, Oid, Partition, Payload, PolicyId, Stamp, View};

/// A part of the objects of some groups, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects that have blocks.
    pub objects: Vec<Listed>,
    /// Changes in these groups that may not be everywhere; all of them with the first part.
    pub unstable: Vec<Unstable>,
    /// Continue after this oid; `None` at the end.
    pub next: Option<Oid>,
}

/// One object of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Object.
    pub oid: Oid,
    /// Its size is 2^this; zero if that cannot be read.
    pub object_shift: u8,
    /// Stamp of its last reset.
    pub base: Stamp,
    /// Newest view under which it was changed.
    pub modified: View,
    /// Not all of its metadata could be read.
    pub is_rotten: bool,
}

/// Blocks of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Stamp of the object's last reset.
    pub base: Stamp,
    /// Stamps of changes of this object that may not be everywhere.
    pub unstable: Vec<Stamp>,
    /// One for each block asked for.
    pub blocks: Vec<BlockMeta>,
    /// 4 KiB for each block in state `Data`, if data were asked for.
    pub data: Payload,
}

pub(super) fn put_groups(
    w: &mut Writer,
    policy: PolicyId,
    after: Option<Oid>,
    partitions: &[Partition],
) {
    w.u8(policy.0).u8(u8::from(after.is_some())).zeros(6).u64(after.map_or(0, Oid::get));
    for partition in partitions {
        w.u16(partition.0);
    }
}

type Groups = (PolicyId, Option<Oid>, Vec<Partition>);

pub(super) fn groups(count: u32, r: &mut Reader<'_>) -> Result<Groups, WireError> {
    let (policy, has_after) = (PolicyId(r.u8()?), r.u8()?);
    r.zeros(6)?;
    let after = match (has_after, r.u64()?) {
        (0, 0) => None,
        (1, after) => Some(oid(after)?),
        _ => return Err(WireError::Invalid("start of a listing")),
    };
    let mut partitions = Vec::new();
    for _ in 0..count.min(LIST_MAX) {
        partitions.push(Partition(r.u16()?));
    }
    r.end()?;
    Ok((policy, after, partitions))
}

pub(super) fn put_listing(w: &mut Writer, listing: &Listing) {
    w.u64(listing.next.map_or(0, Oid::get));
    for object in &listing.objects {
        w.u64(object.oid.get()).u64(object.base.get()).u64(object.modified.0);
        w.u8(object.object_shift).u8(u8::from(object.is_rotten)).zeros(6);
    }
    listing.unstable.iter().for_each(|entry| put_unstable(w, entry));
}

pub(super) fn listing(header: &Header, r: &mut Reader<'_>) -> Result<Listing, WireError> {
    let next = match r.u64()? {
        0 => None,
        next => Some(oid(next)?),
    };
    let mut listing = Listing { next, ..Listing::default() };
    for _ in 0..header.count.min(LIST_MAX) {
        listing.objects.push(listed(r)?);
    }
    for _ in 0..header.first_block.min(LIST_MAX) {
        listing.unstable.push(unstable(r)?);
    }
    Ok(listing)
}

fn listed(r: &mut Reader<'_>) -> Result<Listed, WireError> {
    let oid = oid(r.u64()?)?;
    let (base, modified) = (Stamp::from_wire(r.u64()?), View(r.u64()?));
    let object_shift = r.u8()?;
    let is_rotten = match r.u8()? {
        0 => false,
        1 => true,
        _ => return Err(WireError::Invalid("state of an object")),
    };
    r.zeros(6)?;
    Ok(Listed { oid, object_shift, base, modified, is_rotten })
}

pub(super) fn pulled(
    header: &Header,
    r: &mut Reader<'_>,
    data: Payload,
) -> Result<Pulled, WireError> {
    let blocks = (0..header.count).map(|_| block(r)).collect::<Result<Vec<_>, _>>()?;
    let mut unstable = Vec::new();
    for _ in 0..header.first_block.min(LIST_MAX) {
        unstable.push(Stamp::from_wire(r.u64()?));
    }
    let present = blocks.iter().filter(|block| block.state == BlockState::Data).count();
    if !data.is_empty() && data.len() != present * BLOCK_BYTES {
        return Err(WireError::Invalid("length of pulled data"));
    }
    Ok(Pulled { base: header.stamp, unstable, blocks, data })
}
