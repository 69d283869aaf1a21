//! Which numbers go into which table.

use super::table::{Table, figure, figure_or_dash};
use super::{Report, Series};
use crate::account::Memory;
use crate::cluster::SHEEP_COUNT;
use crate::numbers::{self, Numbers, Spread, spread};
use crate::target::{self, Target};

/// All tables that have rows.
pub(super) fn all(report: &Report) -> Vec<Table> {
    let tables = [speed(report), cost(report), floors(report), memory(report)];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn median(rounds: &[Numbers], name: &str) -> String {
    figure_or_dash(spread(rounds, name).map(|spread| spread.median))
}

fn range(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |spread| format!("{} - {}", figure(spread.min), figure(spread.max)),
    )
}

fn begin(series: &Series) -> Vec<String> {
    vec![series.workload.name.to_owned(), series.target.name().to_owned()]
}

fn speed(report: &Report) -> Table {
    let head = [
        "workload",
        "target",
        "durable",
        "IOPS",
        "min - max",
        "MB/s",
        "p50 us",
        "p99 us",
        "client busy %",
        "settle ms",
    ];
    let mut table = Table::new("Speed: medians of the rounds", &head);
    for series in &report.series {
        let mut row = begin(series);
        row.push(durable(series).to_owned());
        row.push(median(&series.rounds, numbers::IOPS));
        row.push(range(spread(&series.rounds, numbers::IOPS)));
        for name in [
            numbers::MB_PER_S,
            numbers::P50_US,
            numbers::P99_US,
            numbers::CLIENT_BUSY,
            numbers::SETTLE_MS,
        ] {
            row.push(median(&series.rounds, name));
        }
        table.rows.push(row);
    }
    table
}

fn durable(series: &Series) -> &'static str {
    match series.target {
        _ if !series.workload.is_write() => "-",
        Target::RawBatched => "32 at once",
        target if target.is_durable() => "yes",
        _ => "no",
    }
}

fn cost(report: &Report) -> Table {
    let head = [
        "workload",
        "target",
        "CPU us: servers",
        "min - max",
        "sheep 1",
        "sheep 2",
        "sheep 3",
        "client",
        "device B/B",
        "disk B/B",
        "syncs/1000",
        "batches/1000",
        "files B/B",
    ];
    let mut table = Table::new("Cost of an operation: medians of the rounds", &head);
    for series in &report.series {
        let mut row = begin(series);
        row.push(median(&series.rounds, numbers::CPU_US_SERVERS));
        row.push(range(spread(&series.rounds, numbers::CPU_US_SERVERS)));
        for index in 1..=SHEEP_COUNT {
            let name = format!("{}{index}", numbers::CPU_US_SERVER);
            let is_sheep = series.target.is_cluster();
            row.push(if is_sheep { median(&series.rounds, &name) } else { "-".to_owned() });
        }
        for name in [
            numbers::CPU_US_CLIENT,
            numbers::DEVICE_BYTES,
            numbers::DISK_BYTES,
            numbers::SYNCS,
            numbers::BATCHES,
        ] {
            row.push(median(&series.rounds, name));
        }
        row.push(files(series));
        table.rows.push(row);
    }
    table
}

/// What the store wrote to each kind of file, in one word for each.
fn files(series: &Series) -> String {
    let first = series.rounds.first();
    let names = first.into_iter().flat_map(Numbers::keys);
    let parts = names.filter_map(|name| {
        let file = name.strip_prefix(numbers::WRITTEN)?;
        Some(format!("{file} {}", median(&series.rounds, name)))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

/// What the cluster's operations per second are of each floor's, round by round.
fn floors(report: &Report) -> Table {
    let floors: Vec<Target> = target::ALL
        .iter()
        .copied()
        .filter(|target| !target.is_cluster())
        .filter(|target| report.series.iter().any(|series| series.target == *target))
        .collect();
    let names = floors.iter().map(|floor| floor.name());
    let head: Vec<&str> = ["workload", "target"].into_iter().chain(names).collect();
    let title = "IOPS as a part of each floor's: median (min - max) of the rounds' ratios";
    let mut table = Table::new(title, &head);
    if floors.is_empty() {
        return table;
    }
    for series in report.series.iter().filter(|series| series.target.is_cluster()) {
        let mut row = begin(series);
        for floor in &floors {
            let floor = report.series(&series.workload, *floor);
            let ratio = floor
                .and_then(|floor| numbers::ratio(&series.rounds, &floor.rounds, numbers::IOPS));
            row.push(ratio.map_or_else(
                || "-".to_owned(),
                |ratio| format!("{} ({})", figure(ratio.median), range(Some(ratio))),
            ));
        }
        table.rows.push(row);
    }
    table
}

fn memory(report: &Report) -> Table {
    let head = ["sheep", "", "before the rounds MB", "after the last MB", "most ever MB"];
    let mut table = Table::new("Memory of each sheep (resident)", &head);
    let (Some(first), Some(last)) = (report.memory.first(), report.memory.last()) else {
        return table;
    };
    for (index, (before, after)) in (1..).zip(first.iter().zip(last)) {
        let megabytes = |bytes: u64| figure(bytes as f64 / 1e6);
        let Memory { resident, resident_max } = *after;
        table.rows.push(vec![
            format!("sheep {index}"),
            if index == 1 { "gateway".to_owned() } else { String::new() },
            megabytes(before.resident),
            megabytes(resident),
            megabytes(resident_max),
        ]);
    }
    table
}
