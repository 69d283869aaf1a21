//! Commands of the coordination log: what one entry asks of the cluster state.
//!
//! Way: a sheep encodes a [`Command`] and appends it; every sheep decodes the same bytes and
//!      applies them to the same state machine (`engine::state`).
//! Holds:
//!   C1 an encoded command starts with its version and kind, so that a sheep that does not
//!      know it stops instead of guessing;
//!   C2 decoding never panics and accepts exactly what encoding produces.
//! Not here: what a command does (engine), how entries are stored (cluster).

use crate::wire::{Reader, WireError, Writer};
use crate::{Generation, Incarnation, NodeId, Partition, PgId, PolicyId, Vid, View};

/// Version of the encoding of every command.
pub const COMMAND_VERSION: u16 = 1;

/// Longest VDI name, in bytes: what fits the first Sheepdog's field with its final zero.
pub const NAME_BYTES_MAX: usize = 255;

/// How many copies a class or a VDI asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Copies {
    /// As many as there are zones, up to three.
    Auto,
    /// Exactly this many, in as many zones.
    Exactly(u8),
}

/// Where a sheep is reached. Texts are `HOST:PORT` or `unix:PATH`; an empty text is "not served".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Other sheep.
    pub peer: String,
    /// Clients of the first Sheepdog's protocol.
    pub legacy: String,
    /// NBD clients.
    pub nbd: String,
    /// `dog` and metrics.
    pub admin: String,
}

/// One command. Times are nanoseconds since 1970, taken by the proposer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the cluster: partitions, default class, default object size.
    Format {
        /// Random id of the new cluster.
        cluster: u128,
        /// When.
        time_ns: u64,
        /// 2^this partitions.
        partition_bits: u8,
        /// Default object size is 2^this bytes.
        object_shift: u8,
        /// Default class.
        copies: Copies,
    },
    /// A sheep starts a life; its incarnation is the index of this entry.
    Join {
        /// Identity kept in its directory.
        uuid: u128,
        /// Copies of one object go to different zones.
        zone: u32,
        /// Virtual nodes on the ring; 0 = gateway only.
        weight: u32,
        /// Shards that peers connect to.
        shards: u16,
        /// Where it is reached.
        addresses: Addresses,
    },
    /// A life has ended for certain: its copies are lost until it returns, its VDIs are free.
    Gone {
        /// Whose.
        node: NodeId,
        /// Which life; void if it is not the current one.
        incarnation: Incarnation,
    },
    /// Removes lost members from the in-sync sets of these groups, each void if its view changed.
    Act {
        /// Group and the view the proposer saw.
        groups: Vec<(PgId, View)>,
    },
    /// Makes `node` the only writer of `vid`, under the next generation.
    Attach {
        /// The VDI.
        vid: Vid,
        /// The new owner.
        node: NodeId,
        /// Its life; void if it is not the current one.
        incarnation: Incarnation,
        /// When.
        time_ns: u64,
    },
    /// The owner lets go.
    Detach {
        /// The VDI.
        vid: Vid,
        /// Void if this is not the current generation.
        generation: Generation,
    },
    /// A new empty VDI.
    CreateVdi {
        /// Unique among working VDIs.
        name: String,
        /// Bytes.
        size: u64,
        /// Its class; `None` = the cluster's default.
        copies: Option<Copies>,
        /// Object size 2^this; `None` = the cluster's default.
        object_shift: Option<u8>,
        /// When.
        time_ns: u64,
    },
    /// The VDI is gone at once; its vid is never given again.
    DeleteVdi {
        /// Which.
        vid: Vid,
    },
    /// A larger size.
    ResizeVdi {
        /// Which.
        vid: Vid,
        /// Bytes.
        size: u64,
    },
    /// Whichever life of this sheep is current has ended: the will of a sheep that is joining and
    /// does not know its number and life yet.
    Ended {
        /// Identity kept in its directory.
        uuid: u128,
    },
    /// Every sheep stops in order.
    Shutdown {
        /// When.
        time_ns: u64,
    },
    /// A living sheep says that its own copies of these groups are not complete any more, for a
    /// disk of it has failed: it leaves their in-sync sets. Void for a group of which it is the
    /// last in-sync member.
    Demote {
        /// Whose copies.
        node: NodeId,
        /// Its life; void if it is not the current one.
        incarnation: Incarnation,
        /// Which groups.
        groups: Vec<PgId>,
    },
    /// A target that is not in sync begins to take every change of these groups: it joins. Void
    /// for a group of which it is no target, is in sync or joins already.
    Joining {
        /// Whose copies.
        node: NodeId,
        /// Its life; void if it is not the current one.
        incarnation: Incarnation,
        /// Which groups.
        groups: Vec<PgId>,
    },
    /// A joiner has everything: it enters the in-sync sets of these groups. Void for a group that
    /// it has not joined with this view.
    InSync {
        /// Whose copies.
        node: NodeId,
        /// Its life; void if it is not the current one.
        incarnation: Incarnation,
        /// Group, and the view with which it joined.
        groups: Vec<(PgId, View)>,
    },
    /// A sheep hears nothing of another one, or hears of it again. Void if a life is not the
    /// current one.
    Silent {
        /// Who says so.
        node: NodeId,
        /// Its life.
        incarnation: Incarnation,
        /// Of whom.
        other: NodeId,
        /// Which life of that one.
        other_incarnation: Incarnation,
        /// False: it hears of it again.
        is_silent: bool,
    },
    /// A sheep has been away for long: its copies shall be made elsewhere, until it joins again.
    /// Void if this life of it goes on or is not the last.
    Out {
        /// Which.
        node: NodeId,
        /// Its last life.
        incarnation: Incarnation,
    },
    /// A member's copies of these groups take no part for a while, because its disk is slow. As
    /// `Demote`, but only of groups for whose writes the others that are up and in sync suffice.
    Rest {
        /// Which.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
        /// Groups.
        groups: Vec<PgId>,
    },
}

impl Command {
    /// The bytes of one log entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u16(COMMAND_VERSION);
        match self {
            Self::Format { cluster, time_ns, partition_bits, object_shift, copies } => {
                w.u16(1).u128(*cluster).u64(*time_ns).u8(*partition_bits).u8(*object_shift);
                put_copies(&mut w, Some(*copies));
            }
            Self::Join { uuid, zone, weight, shards, addresses: a } => {
                w.u16(2).u128(*uuid).u32(*zone).u32(*weight).u16(*shards);
                w.text(&a.peer).text(&a.legacy).text(&a.nbd).text(&a.admin);
            }
            Self::Gone { node, incarnation } => {
                w.u16(3).u16(node.0).u64(incarnation.0);
            }
            Self::Act { groups } => {
                w.u16(4);
                put_views(&mut w, groups);
            }
            Self::Attach { vid, node, incarnation, time_ns } => {
                w.u16(5).u32(vid.get()).u16(node.0).u64(incarnation.0).u64(*time_ns);
            }
            Self::Detach { vid, generation } => {
                w.u16(6).u32(vid.get()).u32(generation.0);
            }
            Self::CreateVdi { name, size, copies, object_shift, time_ns } => {
                w.u16(7).text(name).u64(*size);
                put_copies(&mut w, *copies);
                w.u8(object_shift.unwrap_or(0)).u64(*time_ns);
            }
            Self::DeleteVdi { vid } => {
                w.u16(8).u32(vid.get());
            }
            Self::ResizeVdi { vid, size } => {
                w.u16(9).u32(vid.get()).u64(*size);
            }
            Self::Shutdown { time_ns } => {
                w.u16(10).u64(*time_ns);
            }
            Self::Ended { uuid } => {
                w.u16(11).u128(*uuid);
            }
            Self::Demote { node, incarnation, groups } => {
                put_groups(w.u16(12), *node, *incarnation, groups);
            }
            Self::Joining { node, incarnation, groups } => {
                put_groups(w.u16(13), *node, *incarnation, groups);
            }
            Self::Rest { node, incarnation, groups } => {
                put_groups(w.u16(17), *node, *incarnation, groups);
            }
            Self::InSync { node, incarnation, groups } => {
                w.u16(14).u16(node.0).u64(incarnation.0);
                put_views(&mut w, groups);
            }
            Self::Silent { node, incarnation, other, other_incarnation, is_silent } => {
                w.u16(15).u16(node.0).u64(incarnation.0);
                w.u16(other.0).u64(other_incarnation.0).u8(u8::from(*is_silent));
            }
            Self::Out { node, incarnation } => {
                w.u16(16).u16(node.0).u64(incarnation.0);
            }
        }
        w.finish()
    }

    /// Reads one entry.
    ///
    /// # Errors
    /// `Version` for another version or an unknown kind: the sheep is too old for this log.
    /// Everything else means that the bytes are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let version = r.u16()?;
        if version != COMMAND_VERSION {
            return Err(WireError::Version(version));
        }
        let command = match r.u16()? {
            1 => Self::Format {
                cluster: r.u128()?,
                time_ns: r.u64()?,
                partition_bits: r.u8()?,
                object_shift: r.u8()?,
                copies: copies(&mut r)?.ok_or(WireError::Invalid("copies"))?,
            },
            2 => Self::Join {
                uuid: r.u128()?,
                zone: r.u32()?,
                weight: r.u32()?,
                shards: r.u16()?,
                addresses: Addresses {
                    peer: r.text()?,
                    legacy: r.text()?,
                    nbd: r.text()?,
                    admin: r.text()?,
                },
            },
            3 => Self::Gone { node: NodeId(r.u16()?), incarnation: Incarnation(r.u64()?) },
            4 => Self::Act { groups: list(&mut r, group_and_view)? },
            5 => Self::Attach {
                vid: vid(&mut r)?,
                node: NodeId(r.u16()?),
                incarnation: Incarnation(r.u64()?),
                time_ns: r.u64()?,
            },
            6 => Self::Detach { vid: vid(&mut r)?, generation: Generation(r.u32()?) },
            7 => Self::CreateVdi {
                name: r.text()?,
                size: r.u64()?,
                copies: copies(&mut r)?,
                object_shift: Some(r.u8()?).filter(|shift| *shift != 0),
                time_ns: r.u64()?,
            },
            8 => Self::DeleteVdi { vid: vid(&mut r)? },
            9 => Self::ResizeVdi { vid: vid(&mut r)?, size: r.u64()? },
            10 => Self::Shutdown { time_ns: r.u64()? },
            11 => Self::Ended { uuid: r.u128()? },
            kind @ (12 | 13 | 17) => of_groups(kind, &mut r)?,
            14 => Self::InSync {
                node: NodeId(r.u16()?),
                incarnation: Incarnation(r.u64()?),
                groups: list(&mut r, group_and_view)?,
            },
            15 => silent(&mut r)?,
            16 => Self::Out { node: NodeId(r.u16()?), incarnation: Incarnation(r.u64()?) },
            unknown => return Err(WireError::Version(unknown)),
        };
        r.end()?;
        Ok(command)
    }
}

fn silent(r: &mut Reader<'_>) -> Result<Command, WireError> {
    Ok(Command::Silent {
        node: NodeId(r.u16()?),
        incarnation: Incarnation(r.u64()?),
        other: NodeId(r.u16()?),
        other_incarnation: Incarnation(r.u64()?),
        is_silent: match r.u8()? {
            0 => false,
            1 => true,
            _ => return Err(WireError::Invalid("whether it is silent")),
        },
    })
}

fn put_copies(w: &mut Writer, copies: Option<Copies>) {
    match copies {
        None => w.u8(0).u8(0),
        Some(Copies::Auto) => w.u8(1).u8(0),
        Some(Copies::Exactly(count)) => w.u8(2).u8(count),
    };
}

fn copies(r: &mut Reader<'_>) -> Result<Option<Copies>, WireError> {
    match (r.u8()?, r.u8()?) {
        (0, 0) => Ok(None),
        (1, 0) => Ok(Some(Copies::Auto)),
        (2, count) if count > 0 => Ok(Some(Copies::Exactly(count))),
        _ => Err(WireError::Invalid("copies")),
    }
}

fn vid(r: &mut Reader<'_>) -> Result<Vid, WireError> {
    Vid::new(r.u32()?).ok_or(WireError::Invalid("vid"))
}

fn put_group(w: &mut Writer, pg: PgId) {
    w.u8(pg.policy.0).u16(pg.partition.0);
}

fn group(r: &mut Reader<'_>) -> Result<PgId, WireError> {
    Ok(PgId { policy: PolicyId(r.u8()?), partition: Partition(r.u16()?) })
}

/// A member's command about some groups.
fn of_groups(kind: u16, r: &mut Reader<'_>) -> Result<Command, WireError> {
    let (node, incarnation) = (NodeId(r.u16()?), Incarnation(r.u64()?));
    let groups = list(r, group)?;
    Ok(match kind {
        12 => Command::Demote { node, incarnation, groups },
        13 => Command::Joining { node, incarnation, groups },
        _ => Command::Rest { node, incarnation, groups },
    })
}

fn put_groups(w: &mut Writer, node: NodeId, incarnation: Incarnation, groups: &[PgId]) {
    w.u16(node.0).u64(incarnation.0).u32(groups.len() as u32);
    groups.iter().for_each(|pg| put_group(w, *pg));
}

fn put_views(w: &mut Writer, groups: &[(PgId, View)]) {
    w.u32(groups.len() as u32);
    for (pg, view) in groups {
        put_group(w, *pg);
        w.u64(view.0);
    }
}

fn group_and_view(r: &mut Reader<'_>) -> Result<(PgId, View), WireError> {
    Ok((group(r)?, View(r.u64()?)))
}

/// A number and so many items.
fn list<'a, T>(
    r: &mut Reader<'a>,
    item: impl Fn(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    (0..r.u32()?).map(|_| item(r)).collect()
}

#[cfg(test)]
#[path = "command/tests.rs"]
mod tests;
