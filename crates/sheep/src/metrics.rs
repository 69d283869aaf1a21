//! Counters and latency histograms, one set per shard, shown together as Prometheus text.
//!
//! Why: an operator's first question is "what is it doing"; a counter costs one add of a number
//!      that no other thread writes.
//! Holds: reading metrics never makes a shard wait.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sheepdog_attach::door::{Face, Kind};
use sheepdog_engine::gateway::Waits;
use sheepdog_engine::join::Progress;
use sheepdog_proto::BLOCK_BYTES;
use sheepdog_store::Statistics;

use crate::shard::scrub::Scrubbed;

/// Upper bounds of the latency buckets, microseconds; one more bucket takes the rest.
const BOUNDS_US: [u64; 16] = [
    50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 102_400, 409_600, 1_638_400,
    6_553_600, 26_214_400,
];
const FACES: [(Face, &str); 3] =
    [(Face::Legacy, "legacy"), (Face::Nbd, "nbd"), (Face::Admin, "admin")];
const KINDS: [(Kind, &str); 5] = [
    (Kind::Read, "read"),
    (Kind::Write, "write"),
    (Kind::Zero, "zero"),
    (Kind::Flush, "flush"),
    (Kind::Other, "other"),
];

/// How often something happened, with how many bytes and how fast.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    count: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
    sum_us: AtomicU64,
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
}

impl Meter {
    /// Counts one event.
    pub(crate) fn note(&self, bytes: u64, took: Duration, ok: bool) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Relaxed);
        self.errors.fetch_add(u64::from(!ok), Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
    }
}

/// Metrics of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardMetrics {
    faces: [[Meter; KINDS.len()]; FACES.len()],
    /// By peer node: what was sent to it and how long its answer took.
    peers: Mutex<std::collections::BTreeMap<u16, std::sync::Arc<Meter>>>,
    waits: [AtomicU64; 7],
    /// Requests executed for gateways.
    pub(crate) replica: Meter,
    /// Blocks written anew because a copy could not read them.
    pub(crate) healed: AtomicU64,
    /// Requests that waited for this sheep to follow the log.
    pub(crate) held: AtomicU64,
    /// What the store did, as of the last tick.
    store: Mutex<Statistics>,
    /// How far joining has come, as of the last tick.
    joining: Mutex<Progress>,
    /// What the scrub has found, and how often it has gone over all.
    scrubbed: Mutex<(Scrubbed, u64)>,
}

impl ShardMetrics {
    pub(crate) fn face(&self, face: Face, kind: Kind) -> &Meter {
        let face = FACES.iter().position(|(known, _)| *known == face).unwrap_or(0);
        let kind = KINDS.iter().position(|(known, _)| *known == kind).unwrap_or(0);
        &self.faces[face][kind]
    }

    pub(crate) fn peer(&self, node: u16) -> std::sync::Arc<Meter> {
        let mut peers = lock(&self.peers);
        peers.entry(node).or_default().clone()
    }

    pub(crate) fn set_joining(&self, progress: Progress) {
        *lock(&self.joining) = progress;
    }

    pub(crate) fn note_scrubbed(&self, found: &Scrubbed) {
        lock(&self.scrubbed).0.add(found);
    }

    pub(crate) fn note_scrub_pass(&self) {
        lock(&self.scrubbed).1 += 1;
    }

    pub(crate) fn set_store(&self, statistics: &Statistics) {
        statistics.clone_into(&mut lock(&self.store));
    }

    pub(crate) fn set_waits(&self, waits: Waits) {
        let values = [
            waits.overlap,
            waits.attach,
            waits.activate,
            waits.copies_min,
            waits.no_member,
            waits.no_space,
            waits.lease,
        ];
        for (slot, value) in self.waits.iter().zip(values) {
            slot.store(value, Relaxed);
        }
    }
}

/// A shard that panicked while it counted has counted wrong at most.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const WAITS: [&str; 7] =
    ["overlap", "attach", "activate", "copies_min", "no_member", "no_space", "lease"];

/// All shards together, in Prometheus' text format.
pub(crate) fn render(shards: &[std::sync::Arc<ShardMetrics>]) -> String {
    let mut text = String::new();
    render_faces(&mut text, shards);
    render_peers(&mut text, shards);
    render_rest(&mut text, shards);
    render_store(&mut text, shards);
    render_joining(&mut text, &joining(shards));
    render_scrub(&mut text, &scrubbed(shards));
    text
}

/// How far all shards together have come in joining.
pub(crate) fn joining(shards: &[std::sync::Arc<ShardMetrics>]) -> Progress {
    let mut all = Progress::default();
    for shard in shards {
        let one = *lock(&shard.joining);
        all.groups_left += one.groups_left;
        all.groups_done += one.groups_done;
        all.accepted += one.accepted;
        all.compared += one.compared;
        all.dropped += one.dropped;
        all.blocks += one.blocks;
    }
    all
}

/// What all shards together have found, and how often each has gone over all, at least.
pub(crate) fn scrubbed(shards: &[std::sync::Arc<ShardMetrics>]) -> (Scrubbed, u64) {
    let (mut all, mut passes) = (Scrubbed::default(), u64::MAX);
    for shard in shards {
        let (one, of_it) = *lock(&shard.scrubbed);
        all.add(&one);
        passes = passes.min(of_it);
    }
    (all, if shards.is_empty() { 0 } else { passes })
}

fn render_scrub(text: &mut String, (found, passes): &(Scrubbed, u64)) {
    let Scrubbed { objects, bytes, bad, healed, behind, unequal, alone } = *found;
    for (name, help, value) in [
        ("sheep_scrub_passes_total", "Times that all copies were looked at.", *passes),
        ("sheep_scrub_objects_total", "Copies looked at.", objects),
        ("sheep_scrub_bytes_total", "Bytes read and verified.", bytes),
        ("sheep_scrub_bad_blocks_total", "Blocks that were bad.", bad),
        ("sheep_scrub_healed_blocks_total", "Of these, good again.", healed),
        ("sheep_scrub_behind_blocks_total", "Blocks that were newer elsewhere.", behind),
        ("sheep_scrub_unequal_blocks_total", "Blocks that differed otherwise.", unequal),
        ("sheep_scrub_alone_total", "Copies that could not be compared.", alone),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
    }
}

fn render_joining(text: &mut String, progress: &Progress) {
    let Progress { groups_left, groups_done, accepted, compared, dropped, blocks } = *progress;
    let bytes = blocks * BLOCK_BYTES as u64;
    for (name, kind, help, value) in [
        ("sheep_recovery_groups", "gauge", "Groups not in sync here yet.", groups_left as u64),
        ("sheep_recovery_groups_total", "counter", "Groups that came in sync.", groups_done),
        ("sheep_recovery_accepted_total", "counter", "Objects accepted unread.", accepted),
        ("sheep_recovery_compared_total", "counter", "Objects compared.", compared),
        ("sheep_recovery_dropped_total", "counter", "Objects gone elsewhere, dropped.", dropped),
        ("sheep_recovery_bytes_total", "counter", "Bytes fetched from other sheep.", bytes),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
}

fn render_faces(text: &mut String, shards: &[std::sync::Arc<ShardMetrics>]) {
    let _ = writeln!(text, "# HELP sheep_face_seconds Operations of clients, by face and kind.");
    let _ = writeln!(text, "# TYPE sheep_face_seconds histogram");
    for (face, face_name) in FACES {
        for (kind, kind_name) in KINDS {
            let meters: Vec<&Meter> = shards.iter().map(|shard| shard.face(face, kind)).collect();
            let labels = format!("face=\"{face_name}\",kind=\"{kind_name}\"");
            render_meter(text, "sheep_face", &labels, &meters);
        }
    }
}

fn render_peers(text: &mut String, shards: &[std::sync::Arc<ShardMetrics>]) {
    let _ = writeln!(text, "# HELP sheep_peer_seconds Requests to other sheep, by node.");
    let _ = writeln!(text, "# TYPE sheep_peer_seconds histogram");
    let mut nodes = std::collections::BTreeMap::<u16, Vec<std::sync::Arc<Meter>>>::new();
    for shard in shards {
        let peers = lock(&shard.peers);
        for (node, meter) in peers.iter() {
            nodes.entry(*node).or_default().push(meter.clone());
        }
    }
    for (node, meters) in nodes {
        let meters: Vec<&Meter> = meters.iter().map(AsRef::as_ref).collect();
        render_meter(text, "sheep_peer", &format!("node=\"{node}\""), &meters);
    }
}

fn render_rest(text: &mut String, shards: &[std::sync::Arc<ShardMetrics>]) {
    let _ = writeln!(text, "# HELP sheep_replica_seconds Requests executed for gateways.");
    let _ = writeln!(text, "# TYPE sheep_replica_seconds histogram");
    let meters: Vec<&Meter> = shards.iter().map(|shard| &shard.replica).collect();
    render_meter(text, "sheep_replica", "", &meters);
    let _ = writeln!(text, "# HELP sheep_waits_total Times an operation waited, by reason.");
    let _ = writeln!(text, "# TYPE sheep_waits_total counter");
    for (position, reason) in WAITS.iter().enumerate() {
        let sum: u64 = shards.iter().map(|shard| shard.waits[position].load(Relaxed)).sum();
        let _ = writeln!(text, "sheep_waits_total{{reason=\"{reason}\"}} {sum}");
    }
    let held: u64 = shards.iter().map(|shard| shard.held.load(Relaxed)).sum();
    let _ = writeln!(text, "sheep_waits_total{{reason=\"log\"}} {held}");
    let healed: u64 = shards.iter().map(|shard| shard.healed.load(Relaxed)).sum();
    let name = "sheep_healed_blocks_total";
    let _ = writeln!(text, "# HELP {name} Blocks written anew because a copy was bad.");
    let _ = writeln!(text, "# TYPE {name} counter\n{name} {healed}");
}

/// Name and meaning of a counter of the store, and where it is.
type StoreCounter = (&'static str, &'static str, fn(&Statistics) -> u64);

const STORE_COUNTERS: [StoreCounter; 7] = [
    ("sheep_store_batches_total", "Commits of the store.", |s| s.batches),
    ("sheep_store_changes_total", "Changes in them.", |s| s.changes),
    ("sheep_store_syncs_total", "Durable writes and syncs.", |s| s.syncs),
    ("sheep_store_checkpoints_total", "Checkpoints completed.", |s| s.checkpoints),
    ("sheep_store_read_blocks_total", "Blocks read from slabs.", |s| s.read_blocks),
    ("sheep_store_read_pages_total", "Metadata pages read.", |s| s.read_pages),
    ("sheep_store_blocked_writes_total", "Writes that found no space and wait.", |s| {
        s.blocked_writes
    }),
];

/// A kind of file of the store, and the counter of its bytes.
type StoreFile = (&'static str, fn(&Statistics) -> u64);

const STORE_FILES: [StoreFile; 4] = [
    ("wal", |s| s.wal_bytes),
    ("data", |s| s.data_bytes),
    ("meta", |s| s.meta_bytes),
    ("index", |s| s.index_bytes),
];

fn render_store(text: &mut String, shards: &[std::sync::Arc<ShardMetrics>]) {
    let sum = |read: fn(&Statistics) -> u64| -> u64 {
        shards.iter().map(|shard| read(&lock(&shard.store))).sum()
    };
    for (name, help, read) in STORE_COUNTERS {
        let value = sum(read);
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
    }
    let name = "sheep_store_written_bytes_total";
    let _ = writeln!(text, "# HELP {name} Bytes written, by kind of file.\n# TYPE {name} counter");
    for (file, read) in STORE_FILES {
        let _ = writeln!(text, "{name}{{file=\"{file}\"}} {}", sum(read));
    }
}

fn render_meter(text: &mut String, name: &str, labels: &str, meters: &[&Meter]) {
    let sum = |read: fn(&Meter) -> &AtomicU64| -> u64 {
        meters.iter().map(|meter| read(meter).load(Relaxed)).sum()
    };
    let count = sum(|meter| &meter.count);
    if count == 0 {
        return;
    }
    let comma = if labels.is_empty() { "" } else { "," };
    let mut total = 0;
    for position in 0..=BOUNDS_US.len() {
        total += meters.iter().map(|m| m.buckets[position].load(Relaxed)).sum::<u64>();
        let bound = BOUNDS_US
            .get(position)
            .map_or_else(|| "+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
        let _ = writeln!(text, "{name}_seconds_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
    }
    let seconds = sum(|meter| &meter.sum_us) as f64 / 1e6;
    let _ = writeln!(text, "{name}_seconds_sum{{{labels}}} {seconds}");
    let _ = writeln!(text, "{name}_seconds_count{{{labels}}} {count}");
    let _ = writeln!(text, "{name}_bytes_total{{{labels}}} {}", sum(|meter| &meter.bytes));
    let _ = writeln!(text, "{name}_errors_total{{{labels}}} {}", sum(|meter| &meter.errors));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_operation_shows_in_its_bucket() {
        let shard = std::sync::Arc::new(ShardMetrics::default());
        let took = Duration::from_micros(150);
        shard.face(Face::Nbd, Kind::Write).note(4096, took, true);
        shard.set_waits(Waits { activate: 3, ..Waits::default() });
        let text = render(&[shard]);
        for line in [
            "sheep_face_seconds_bucket{face=\"nbd\",kind=\"write\",le=\"0.0001\"} 0",
            "sheep_face_seconds_bucket{face=\"nbd\",kind=\"write\",le=\"0.0002\"} 1",
            "sheep_face_seconds_count{face=\"nbd\",kind=\"write\"} 1",
            "sheep_face_bytes_total{face=\"nbd\",kind=\"write\"} 4096",
            "sheep_waits_total{reason=\"activate\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
