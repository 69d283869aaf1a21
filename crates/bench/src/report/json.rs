//! The report as JSON.
//!
//! Why: to be compared and drawn by programs. Fields are only added.

use serde_json::{Map, Value, json};

use super::{Report, Series};
use crate::numbers::{self, Numbers, spread};
use crate::workload::Workload;

/// Number of this form.
const FORM: u32 = 1;

pub(super) fn value(report: &Report) -> Value {
    let machine = &report.machine;
    let selection = &report.selection;
    let memory: Vec<Value> = report
        .memory
        .iter()
        .map(|sheep| {
            let of = |m: &crate::account::Memory| json!({"resident": m.resident, "resident_max": m.resident_max});
            sheep.iter().map(of).collect()
        })
        .collect();
    json!({
        "sheepdog_bench": FORM,
        "kind": "cluster",
        "commit": report.commit,
        "machine": {
            "kernel": machine.kernel,
            "processors": machine.processors,
            "processor": machine.processor,
            "file_system": machine.file_system,
            "load_before": machine.load_before,
            "load_after": machine.load_after,
        },
        "rounds": selection.rounds,
        "cell_seconds": selection.time.as_secs_f64(),
        "disk_bytes": selection.span,
        "cells": report.series.iter().map(|series| cell(report, series)).collect::<Vec<_>>(),
        "memory_bytes": memory,
    })
}

fn cell(report: &Report, series: &Series) -> Value {
    let Workload { name, bytes, depth, .. } = series.workload;
    let mut value = json!({
        "workload": name,
        "target": series.target.name(),
        "request_bytes": bytes,
        "depth": depth,
        "write": series.workload.is_write(),
        "durable": series.workload.is_write() && series.target.is_durable(),
        "numbers": spreads(&series.rounds),
    });
    if series.target.is_cluster() {
        value["iops_of_floor"] = floors(report, series);
    }
    value
}

/// Median, least, greatest, and every round of each number. A round that lacks one has null.
fn spreads(rounds: &[Numbers]) -> Value {
    let mut names: Vec<&String> = rounds.iter().flat_map(Numbers::keys).collect();
    names.sort();
    names.dedup();
    let mut values = Map::new();
    for name in names {
        let Some(spread) = spread(rounds, name) else { continue };
        let each: Vec<Option<f64>> = rounds.iter().map(|round| round.get(name).copied()).collect();
        let value = json!({
            "median": spread.median, "min": spread.min, "max": spread.max, "rounds": each,
        });
        values.insert(name.clone(), value);
    }
    Value::Object(values)
}

fn floors(report: &Report, series: &Series) -> Value {
    let others = report.series.iter();
    let floors = others.filter(|s| s.workload == series.workload && !s.target.is_cluster());
    let mut values = Map::new();
    for floor in floors {
        if let Some(ratio) = numbers::ratio(&series.rounds, &floor.rounds, numbers::IOPS) {
            let value = json!({"median": ratio.median, "min": ratio.min, "max": ratio.max});
            values.insert(floor.target.name().to_owned(), value);
        }
    }
    Value::Object(values)
}
