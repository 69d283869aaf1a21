//! Objects: a list of them, and one with its blocks.

use anyhow::Result;
use serde_json::{Value, json};
use sheepdog_proto::{Oid, Vid};
use sheepdog_store::BlockState;
use sheepdog_store::inspect::{BlockView, ObjectBytes, ObjectSummary};

use super::output::{Output, ranges, size};
use super::verify::show_faults;
use super::{OpenStore, Verdict};

/// All objects, or those of one VDI.
pub(crate) fn list(
    stores: &mut [OpenStore],
    vid: Option<Vid>,
    output: &mut Output<'_>,
) -> Result<Verdict> {
    output.list("objects");
    output.line(format!(
        "{:<16}  {:>5}  {:<10}  {:>10}  {:>7}  {:>8}  {:>12}  {:>8}",
        "object", "store", "kind", "size", "blocks", "in log", "base", "view"
    ))?;
    for store in stores.iter_mut() {
        let number = store.place.number;
        for object in store.inspection.objects() {
            if vid.is_some_and(|vid| vid != object.oid.vid()) {
                continue;
            }
            let kind = format!("{:?}", object.oid.kind()).to_lowercase();
            let unknown = match object.unknown {
                0 => String::new(),
                count => format!("  {count} blocks unknown"),
            };
            let ObjectSummary { oid, base, modified, blocks, blocks_in_log, .. } = object;
            let bytes = size(1 << object.object_shift);
            output.line(format!(
                "{oid}  {number:>5}  {kind:<10}  {bytes:>10}  {blocks:>7}  {blocks_in_log:>8}  \
                 {:>12}  {:>8}{unknown}",
                base.to_string(),
                modified.to_string()
            ))?;
            output.push("objects", || summary_value(number, &kind, &object));
        }
    }
    show_faults(stores, output)
}

fn summary_value(store: u16, kind: &str, object: &ObjectSummary) -> Value {
    json!({
        "oid": object.oid.to_string(),
        "vid": object.oid.vid().to_string(),
        "index": object.oid.index(),
        "kind": kind,
        "store": store,
        "object_shift": object.object_shift,
        "base": object.base.to_string(),
        "view": object.modified.0,
        "blocks": object.blocks,
        "blocks_in_log": object.blocks_in_log,
        "blocks_unknown": object.unknown,
    })
}

/// One object, in each store that has it.
pub(crate) fn show(
    stores: &mut [OpenStore],
    oid: Oid,
    with_blocks: bool,
    output: &mut Output<'_>,
) -> Result<Verdict> {
    output.list("objects");
    output.list("faults");
    let mut found = false;
    for store in stores.iter_mut() {
        let Some(object) = store.inspection.read_object(oid) else { continue };
        found = true;
        one_object(store, &object, with_blocks, output)?;
    }
    if !found {
        output.line(format!("object {oid} is not here"))?;
    }
    Ok(Verdict::Good)
}

fn one_object(
    store: &OpenStore,
    object: &ObjectBytes,
    with_blocks: bool,
    output: &mut Output<'_>,
) -> Result<()> {
    let (view, prefix) = (&object.view, &store.prefix);
    let holes = view.blocks.iter().filter(|block| block.state == BlockState::Hole).count();
    let in_log = view.blocks.iter().filter(|block| block.is_in_log).count();
    let data = view.blocks.len() - holes;
    let bytes = size(1 << view.object_shift);
    output.line(format!("object {} in store {}", view.oid, store.place.number))?;
    output.line(format!(
        "  VDI {}, {:?} object {}, {bytes}, base {}, view {}",
        view.oid.vid(),
        view.oid.kind(),
        view.oid.index(),
        view.base,
        view.modified
    ))?;
    output.line(format!("  {data} blocks with data ({in_log} in the log), {holes} holes"))?;
    if !object.lost.is_empty() {
        let lost = ranges(object.lost.iter().copied());
        output.line(format!("  lost blocks: {lost}"))?;
    }
    let is_good = |block: &BlockView| object.lost.binary_search(&block.number).is_err();
    if with_blocks {
        for block in &view.blocks {
            let place = block.place.as_ref();
            let place = place.map_or_else(String::new, |place| format!("{prefix}{place}"));
            let state = match block.state {
                BlockState::Data { checksum } => format!("data {checksum:08x}"),
                BlockState::Hole | BlockState::Absent => "hole".to_owned(),
            };
            let word = if is_good(block) { "good" } else { "BAD" };
            let (number, stamp) = (block.number, block.stamp.to_string());
            output.line(format!("  {number:>6}  {stamp:>12}  {state:<13}  {word:<4}  {place}"))?;
        }
    }
    for fault in &object.faults {
        output.fault(prefix, fault)?;
    }
    output.push("objects", || {
        let blocks = view.blocks.iter().map(|block| block_value(prefix, block, is_good(block)));
        json!({
            "oid": view.oid.to_string(),
            "store": store.place.number,
            "object_shift": view.object_shift,
            "base": view.base.to_string(),
            "view": view.modified.0,
            "data_blocks": data,
            "holes": holes,
            "blocks_in_log": in_log,
            "lost_blocks": object.lost,
            "blocks": with_blocks.then(|| blocks.collect::<Vec<_>>()),
        })
    });
    Ok(())
}

fn block_value(prefix: &str, block: &BlockView, is_good: bool) -> Value {
    let checksum = match block.state {
        BlockState::Data { checksum } => Some(format!("{checksum:08x}")),
        BlockState::Hole | BlockState::Absent => None,
    };
    json!({
        "number": block.number,
        "stamp": block.stamp.to_string(),
        "state": if checksum.is_some() { "data" } else { "hole" },
        "checksum": checksum,
        "file": block.place.as_ref().map(|place| format!("{prefix}{}", place.file)),
        "offset": block.place.as_ref().map(|place| place.offset),
        "in_log": block.is_in_log,
        "good": is_good,
    })
}
