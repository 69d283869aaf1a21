//! The log: its files, and the batches that are needed.

use anyhow::Result;
use serde_json::{Value, json};
use sheepdog_store::inspect::{LogBatch, LogFile, LogRecord};

use super::output::{Output, size};
use super::overview::shown_log;
use super::verify::show_faults;
use super::{OpenStore, Verdict};

/// The segments of the log, and the batches of those that are needed.
pub(crate) fn show(
    stores: &mut [OpenStore],
    with_records: bool,
    output: &mut Output<'_>,
) -> Result<Verdict> {
    output.list("files");
    output.list("batches");
    for store in stores.iter_mut() {
        let (number, prefix) = (store.place.number, store.prefix.clone());
        let first = store.inspection.overview().segments.map(|(first, _)| first);
        for file in store.inspection.log_files() {
            log_file(&prefix, file, first, output)?;
        }
        let mut result = Ok(());
        store.inspection.batches(&mut |batch| {
            if result.is_ok() {
                result = log_batch(number, &prefix, &batch, with_records, output);
            }
        });
        result?;
        output
            .line(format!("store {number}: {}", shown_log(&prefix, store.inspection.overview())))?;
    }
    show_faults(stores, output)
}

fn log_file(
    prefix: &str,
    file: &LogFile,
    first: Option<u32>,
    output: &mut Output<'_>,
) -> Result<()> {
    let (state, word) = match file.segment {
        None => ("no segment".to_owned(), "blank"),
        Some(segment) if Some(segment) < first => {
            (format!("segment {segment}, older than the checkpoint"), "free")
        }
        Some(segment) => (format!("segment {segment}"), "needed"),
    };
    output.line(format!("{prefix}{}, {}: {state}", file.path, size(file.bytes)))?;
    output.push("files", || {
        json!({
            "file": format!("{prefix}{}", file.path),
            "bytes": file.bytes,
            "segment": file.segment,
            "state": word,
        })
    });
    Ok(())
}

fn log_batch(
    store: u16,
    prefix: &str,
    batch: &LogBatch,
    with_records: bool,
    output: &mut Output<'_>,
) -> Result<()> {
    let LogBatch { segment, number, place, bytes, blocks, is_whole, records } = batch;
    let count = records.len();
    let word = if *is_whole { "" } else { "; BAD BLOCKS" };
    output.line(format!(
        "{prefix}{place}: segment {segment}, batch {number}, {bytes} bytes, {count} \
         records, {blocks} blocks{word}"
    ))?;
    if with_records {
        for record in records {
            let data = record.data_offset.map(|offset| format!(", blocks at byte {offset}"));
            output.line(format!("  {}{}", record.text, data.unwrap_or_default()))?;
        }
    }
    output.push("batches", || {
        let shown = records.iter().map(record_value);
        json!({
            "store": store,
            "segment": segment,
            "number": number,
            "file": format!("{prefix}{}", place.file),
            "offset": place.offset,
            "bytes": bytes,
            "blocks": blocks,
            "whole": is_whole,
            "record_count": count,
            "records": with_records.then(|| shown.collect::<Vec<_>>()),
        })
    });
    Ok(())
}

fn record_value(record: &LogRecord) -> Value {
    json!({
        "kind": record.kind,
        "oid": record.oid.map(|oid| oid.to_string()),
        "vid": record.vid.map(|vid| vid.to_string()),
        "first_block": record.first_block,
        "count": record.count,
        "stamp": record.stamp.map(|stamp| stamp.to_string()),
        "view": record.view.map(|view| view.0),
        "unit": record.unit,
        "data_offset": record.data_offset,
    })
}
