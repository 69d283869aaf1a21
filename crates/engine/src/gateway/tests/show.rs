//! One readable line for what happens in a herd.

use sheepdog_proto::peer::{BlockMeta, Reply, ReplyBody, Request, RequestBody};

use super::super::Place;
use crate::volume::{Answer, Operation, Refusal};

pub(super) fn name(place: Place) -> String {
    format!("{}.{}", place.node, place.shard)
}

pub(super) fn show(request: &Request) -> String {
    let Request { id, vid, generation, view, stable, body } = request;
    let what = match body {
        RequestBody::Write { oid, first_block, stamp, checksums, .. } => {
            format!("write {oid:?} {first_block}+{} {stamp}", checksums.len())
        }
        RequestBody::Hole { oid, first_block, count, stamp, .. } => {
            format!("hole {oid:?} {first_block}+{count} {stamp}")
        }
        RequestBody::Reset { oid, stamp } => format!("reset {oid:?} {stamp}"),
        RequestBody::Read { oid, first_block, count } => {
            format!("read {oid:?} {first_block}+{count}")
        }
        other => format!("{other:?}"),
    };
    format!("#{id} {vid} g{generation} v{view} s{stable} {what}")
}

pub(super) fn show_reply(reply: &Reply) -> String {
    let what = match &reply.result {
        Ok(ReplyBody::Blocks { blocks, .. }) => {
            let block = |b: &BlockMeta| format!("{:?}@{}", b.state, b.stamp);
            blocks.iter().map(block).collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    };
    format!("#{} {what}", reply.id)
}

pub(super) fn show_answer(result: &Result<Answer, Refusal>) -> String {
    match result {
        Ok(Answer::Data(data)) => format!("{} bytes", data.len()),
        other => format!("{other:?}"),
    }
}

pub(super) fn describe(operation: &Operation) -> String {
    match operation {
        Operation::Write { offset, data } => format!("write {offset}+{}", data.len()),
        other => format!("{other:?}"),
    }
}
