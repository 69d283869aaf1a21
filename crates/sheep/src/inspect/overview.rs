//! The overview: identity, and each store at a glance.

use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::{Value, json};
use sheepdog_store::inspect::{CheckpointState, HomeInspection, ObjectSummary, Overview};

use super::output::{Output, size};
use super::{OpenStore, Verdict};

/// Identity, and each store at a glance.
pub(crate) fn show(
    home: &HomeInspection,
    stores: &mut [OpenStore],
    output: &mut Output<'_>,
) -> Result<Verdict> {
    let node = home.node.map(|node| format!("{node:032x}"));
    let cluster = home.cluster.map(|cluster| format!("{cluster:032x}"));
    output.line(format!("sheep    {}", node.as_deref().unwrap_or("unknown")))?;
    let no_cluster = if node.is_some() { "none; it never joined one" } else { "unknown" };
    output.line(format!("cluster  {}", cluster.as_deref().unwrap_or(no_cluster)))?;
    output.set("node", || json!(node));
    output.set("cluster", || json!(cluster));
    output.list("stores");
    output.list("faults");
    for fault in &home.faults {
        output.fault("", fault)?;
    }
    for store in stores {
        one_store(store, output)?;
    }
    Ok(Verdict::Good)
}

fn one_store(store: &mut OpenStore, output: &mut Output<'_>) -> Result<()> {
    let objects = store.inspection.objects();
    let bytes: u64 = objects.iter().map(ObjectSummary::bytes).sum();
    let overview = store.inspection.overview().clone();
    let path = &store.place.path;
    let (count, shown) = (objects.len(), size(bytes));
    let space: u64 = overview.slabs.iter().map(|(_, bytes)| bytes).sum();
    output.line("")?;
    output.line(format!("store {}  {}", store.place.number, path.display()))?;
    if let Some((node, shard)) = overview.owner {
        output.line(format!("  owner       sheep {node:032x}, shard {shard}"))?;
    }
    output.line(format!("  objects     {count}, with {shown} in blocks"))?;
    output.line(format!("  slabs       {}, {}", overview.slabs.len(), size(space)))?;
    output.line(format!("  checkpoint  {}", shown_checkpoint(path, &overview)))?;
    output.line(format!("  log         {}", shown_log(&store.prefix, &overview)))?;
    let unstable = overview.unstable;
    output.line(format!("  unstable    {unstable} changes not known to be on every copy"))?;
    if !overview.strangers.is_empty() {
        output.line(format!("  strangers   {}", overview.strangers.join(", ")))?;
    }
    let prefix = store.prefix.clone();
    for fault in store.inspection.faults() {
        output.fault(&prefix, fault)?;
    }
    output.push("stores", || store_value(store, &overview, count, bytes));
    Ok(())
}

fn shown_checkpoint(path: &Path, overview: &Overview) -> String {
    let Some((file, state)) = overview.checkpoint.and_then(|n| overview.checkpoints.get(n)) else {
        return "none is whole".to_owned();
    };
    let segment = match state {
        CheckpointState::Whole { segment, .. } => *segment,
        _ => 0,
    };
    let changed = path.join(file).metadata().and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
    let written = age.map_or_else(String::new, |age| format!(", written {} ago", ago(age)));
    format!("{file}, log from segment {segment} on{written}")
}

fn ago(age: std::time::Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

pub(crate) fn shown_log(prefix: &str, overview: &Overview) -> String {
    let Some((first, last)) = overview.segments else { return "none".to_owned() };
    let (batches, bytes) = (overview.batches, size(overview.log_bytes));
    let end = overview.log_end.as_ref().map_or_else(String::new, |end| {
        let how = if overview.is_torn {
            "a torn tail, of which nobody was told that it was durable"
        } else {
            "a clean end"
        };
        format!("; ends in {prefix}{end}: {how}")
    });
    format!("segments {first} to {last}, {batches} batches, {bytes}{end}")
}

fn store_value(store: &OpenStore, overview: &Overview, objects: usize, bytes: u64) -> Value {
    let checkpoints = overview.checkpoints.iter().map(|(file, state)| match state {
        CheckpointState::Empty => json!({"file": file, "state": "empty"}),
        CheckpointState::Whole { segment, index_pages } => json!({
            "file": file, "state": "whole", "segment": segment, "index_pages": index_pages,
        }),
        CheckpointState::Bad(why) => {
            json!({"file": file, "state": "bad", "why": why.to_string()})
        }
        CheckpointState::Unreadable => json!({"file": file, "state": "unreadable"}),
    });
    let slabs = overview.slabs.iter().map(|(file, bytes)| json!({"file": file, "bytes": bytes}));
    let end = overview.log_end.as_ref();
    json!({
        "number": store.place.number,
        "path": store.place.path.display().to_string(),
        "node": overview.owner.map(|(node, _)| format!("{node:032x}")),
        "shard": overview.owner.map(|(_, shard)| shard),
        "objects": objects,
        "bytes": bytes,
        "checkpoints": checkpoints.collect::<Vec<_>>(),
        "checkpoint": overview.checkpoint,
        "log": {
            "segment_bytes": overview.segment_bytes,
            "first_segment": overview.segments.map(|(first, _)| first),
            "last_segment": overview.segments.map(|(_, last)| last),
            "batches": overview.batches,
            "bytes": overview.log_bytes,
            "end": end.map(|end| json!({"file": end.file, "offset": end.offset})),
            "torn": overview.is_torn,
        },
        "unstable": overview.unstable,
        "slabs": slabs.collect::<Vec<_>>(),
        "strangers": overview.strangers,
    })
}
