//! What a seed makes of a run: how large, how fast, and what breaks.
//!
//! Why: seeds that all do a little of everything rarely do much of one thing; each seed takes
//!      few kinds of faults and extreme delays.

use sheepdog_proto::command::Copies;
use sheepdog_store::Options;

use super::fault::Fault;
use super::random::Random;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Times are in virtual nanoseconds, pairs are from and up to, chances are per thousand.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) seed: u64,
    pub(super) sheep: usize,
    pub(super) shards: u16,
    /// Of these, so many come when the cluster has a format already.
    pub(super) late: usize,
    /// Ticks that a sheep may be away before its copies are made elsewhere; zero for ever.
    pub(super) out_after: u64,
    /// Of each sheep.
    pub(super) disks: usize,
    pub(super) partition_bits: u8,
    pub(super) copies: Copies,
    pub(super) clients: usize,
    /// How long things break.
    pub(super) danger_ns: u64,
    pub(super) net_ns: (u64, u64),
    pub(super) disk_ns: (u64, u64),
    pub(super) log_ns: (u64, u64),
    /// A shard is behind its control thread by up to this.
    pub(super) shard_lag_ns: u64,
    /// From the end of a process to the log's knowledge of it.
    pub(super) session_ns: (u64, u64),
    /// The same for a process that stands still.
    pub(super) pause_session_ns: u64,
    /// From the end of a process to its next start.
    pub(super) restart_ns: (u64, u64),
    /// Appends that are refused, and those whose answer is lost.
    pub(super) log_busy: u64,
    pub(super) log_forgets: u64,
    /// Between two faults.
    pub(super) fault_ns: (u64, u64),
    pub(super) faults: Vec<Fault>,
    /// Between two steps of a client.
    pub(super) think_ns: (u64, u64),
    /// How long a client waits for an answer before it is ended.
    pub(super) patience_ns: u64,
    /// Whole objects are often discarded.
    pub(super) discards: u64,
    /// VDIs are deleted and made anew.
    pub(super) deletes: u64,
}

impl Profile {
    pub(super) fn new(seed: u64, random: &mut Random) -> Self {
        let sheep = random.pick(&[1, 2, 3, 3, 3, 3, 4, 5]);
        let copies = match random.below(4) {
            0 if sheep > 1 => Copies::Exactly(2),
            _ => Copies::Auto,
        };
        let disks = random.pick(&[1, 1, 2]);
        Self {
            seed,
            sheep,
            late: if random.chance(250) { random.index((sheep - 1).max(1)) } else { 0 },
            out_after: random.pick(&[0, 0, 5, 20, 60]),
            shards: random.pick(&[1, 1, 2]),
            disks,
            partition_bits: random.pick(&[0, 1, 2, 4]),
            copies,
            clients: random.pick(&[1, 1, 2]),
            danger_ns: random.between(3 * SECOND, 15 * SECOND),
            net_ns: random.pick(&[(20_000, 100_000), (50_000, 2 * MS), (MS, 40 * MS)]),
            disk_ns: random.pick(&[(10_000, 60_000), (100_000, 2 * MS), (2 * MS, 15 * MS)]),
            log_ns: random.pick(&[(100_000, MS), (MS, 30 * MS), (10 * MS, 300 * MS)]),
            shard_lag_ns: random.pick(&[5_000, 5_000, 5 * MS, 100 * MS]),
            session_ns: random.pick(&[(MS, 20 * MS), (100 * MS, SECOND), (SECOND, 6 * SECOND)]),
            pause_session_ns: random.pick(&[500 * MS, 3 * SECOND, 10 * SECOND]),
            restart_ns: random.pick(&[(MS, 50 * MS), (50 * MS, SECOND), (SECOND, 8 * SECOND)]),
            log_busy: random.pick(&[0, 0, 50]),
            log_forgets: random.pick(&[0, 0, 100]),
            fault_ns: random.pick(&[(50 * MS, 400 * MS), (200 * MS, 2 * SECOND)]),
            faults: Fault::choose(random, disks),
            think_ns: random.pick(&[(100_000, 3 * MS), (MS, 40 * MS), (10 * MS, 150 * MS)]),
            patience_ns: random.pick(&[2 * SECOND, 5 * SECOND, 30 * SECOND]),
            discards: random.pick(&[0, 0, 100, 300]),
            deletes: random.pick(&[0, 0, 200]),
        }
    }

    /// Small logs and little memory, so that checkpoints and recycling happen all the time.
    pub(super) fn store_options(&self) -> Options {
        let seed = self.seed;
        Options {
            segment_bytes: 0,
            segments_max: 4 + (seed % 3) as u32,
            dirty_bytes_max: [96 << 10, 400 << 10, 2 << 20][(seed / 3 % 3) as usize],
            metadata_bytes_max: [1 << 12, 4 << 12, 64 << 12][(seed / 9 % 3) as usize],
            warm_units_max: (seed / 27 % 2) as usize * 3,
            reserve_bytes: 0,
            salt: 7,
            ..Options::default()
        }
    }
}
