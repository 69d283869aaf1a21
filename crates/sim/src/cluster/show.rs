//! Messages in one readable line.

use sheepdog_engine::gateway::Place;
use sheepdog_engine::volume::Operation;
use sheepdog_proto::peer::{Reply, ReplyBody, Request, RequestBody};
use sheepdog_proto::{ObjectKind, Oid};

pub(super) fn place(place: Place) -> String {
    format!("{}.{}", place.node, place.shard)
}

fn object(oid: Oid) -> String {
    let kind = if oid.kind() == ObjectKind::Map { "map" } else { "object" };
    format!("{kind} {:x}/{}", oid.vid().get(), oid.index())
}

pub(super) fn request(request: &Request) -> String {
    let Request { id, generation, view, stable, .. } = request;
    let what = match &request.body {
        RequestBody::Write { oid, first_block, stamp, checksums, .. } => {
            format!("write {} {first_block}+{} as {stamp}", object(*oid), checksums.len())
        }
        RequestBody::Hole { oid, first_block, count, stamp, .. } => {
            format!("hole {} {first_block}+{count} as {stamp}", object(*oid))
        }
        RequestBody::Reset { oid, stamp } => format!("reset {} as {stamp}", object(*oid)),
        RequestBody::Read { oid, first_block, count } => {
            format!("read {} {first_block}+{count}", object(*oid))
        }
        RequestBody::Barrier { index } => format!("barrier of entry {index}"),
        RequestBody::Settle { oids } => format!("settle {} objects", oids.len()),
        RequestBody::Watermark => "watermark".to_owned(),
        RequestBody::Ping => "ping".to_owned(),
        RequestBody::Heal { oid, first_block, count } => {
            format!("heal {} {first_block}+{count}", object(*oid))
        }
        RequestBody::Look { oid } => format!("look at {}", object(*oid)),
        RequestBody::List { index, after, partitions, .. } => {
            format!("list {partitions:?} after {after:?} as of entry {index}")
        }
        RequestBody::Pull { index, oid, first_block, count, with_data } => {
            let what = if *with_data { "pull" } else { "compare" };
            format!("{what} {} {first_block}+{count} as of entry {index}", object(*oid))
        }
    };
    format!("#{id} {what} (generation {generation} view {view} stable {stable})")
}

pub(super) fn reply(reply: &Reply) -> String {
    let what = match &reply.result {
        Ok(ReplyBody::Done) => "done".to_owned(),
        Ok(ReplyBody::Blocks { blocks, .. }) => {
            let stamps: Vec<String> = blocks.iter().take(4).map(|b| b.stamp.to_string()).collect();
            format!("{} blocks, {}", blocks.len(), stamps.join(" "))
        }
        Ok(ReplyBody::Listing(listing)) => {
            let oids: Vec<String> = listing.objects.iter().map(|o| object(o.oid)).collect();
            format!("{oids:?}, unstable: {}, next {:?}", listing.unstable.len(), listing.next)
        }
        Ok(ReplyBody::Pulled(pulled)) => {
            let stamps: Vec<String> =
                pulled.blocks.iter().take(4).map(|block| block.stamp.to_string()).collect();
            format!("base {} {}, unstable {:?}", pulled.base, stamps.join(" "), pulled.unstable)
        }
        Ok(ReplyBody::Unstable(list)) => format!("unstable: {}", list.len()),
        Err(error) => format!("{error:?}"),
    };
    format!("#{} {what}", reply.id)
}

pub(super) fn operation(operation: &Operation) -> String {
    match operation {
        Operation::Read { offset, len } => format!("read {offset}+{len}"),
        Operation::Write { offset, data } => format!("write {offset}+{}", data.len()),
        Operation::Zero { offset, len, discard } => {
            format!("{} {offset}+{len}", if *discard { "discard" } else { "zero" })
        }
        other => format!("{other:?}"),
    }
}
