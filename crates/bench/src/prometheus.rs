//! What a sheep says about its store, from its metrics.
//!
//! Why: how often it syncs and what it writes to which file is known to nobody else.
//! Holds:
//!   M1 a counter that a sheep does not have is absent, never zero.

use std::collections::BTreeMap;

/// Counters of the store, of one sheep or of several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreCounters {
    /// Calls that make bytes durable.
    pub syncs: Option<f64>,
    /// Commits.
    pub batches: Option<f64>,
    /// Bytes written, by kind of file.
    pub written: BTreeMap<String, f64>,
}

impl StoreCounters {
    /// From Prometheus text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut counters = Self::default();
        for (name, labels, value) in text.lines().filter_map(sample) {
            let of_store = name.starts_with("sheep_store_");
            if of_store && name.contains("syncs") {
                *counters.syncs.get_or_insert(0.0) += value;
            } else if of_store && name.contains("batches") || name == "sheep_store_batches_total" {
                *counters.batches.get_or_insert(0.0) += value;
            } else if name == "sheep_store_written_bytes_total" {
                let file = label(labels, "file").unwrap_or("all").to_owned();
                *counters.written.entry(file).or_insert(0.0) += value;
            }
        }
        counters
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let less = |after: Option<f64>, before: Option<f64>| Some(after? - before.unwrap_or(0.0));
        let mut written = self.written.clone();
        for (file, value) in &mut written {
            *value -= before.written.get(file).unwrap_or(&0.0);
        }
        Self {
            syncs: less(self.syncs, before.syncs),
            batches: less(self.batches, before.batches),
            written,
        }
    }

    /// Adds another sheep's.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [(&mut self.syncs, other.syncs), (&mut self.batches, other.batches)] {
            if let Some(more) = more {
                *sum.get_or_insert(0.0) += more;
            }
        }
        for (file, value) in &other.written {
            *self.written.entry(file.clone()).or_insert(0.0) += value;
        }
    }
}

/// Name, labels and value of a line; `None` of comments and of what is no sample.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.trim_end().rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some((name.trim_end(), labels.trim_end_matches('}'), value.parse().ok()?))
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        (found.trim() == name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
#[path = "prometheus/tests.rs"]
mod tests;
