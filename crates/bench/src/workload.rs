//! Workloads: what is asked of every target, from a small durable write to long reads.

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the disk.
    Read,
    /// To the disk, durable before it counts unless the target says otherwise.
    Write,
}

/// Where the next request lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Anywhere, at a multiple of its own length.
    Random,
    /// Behind the one before, from the beginning again at the end.
    Sequential,
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// For tables and for `--only`.
    pub name: &'static str,
    /// Which way.
    pub direction: Direction,
    /// Where.
    pub order: Order,
    /// Length of each request.
    pub bytes: u32,
    /// Requests in flight all the time.
    pub depth: u32,
}

const fn random(name: &'static str, direction: Direction, kilobytes: u32, depth: u32) -> Workload {
    Workload { name, direction, order: Order::Random, bytes: kilobytes << 10, depth }
}

const fn sequential(name: &'static str, direction: Direction, depth: u32) -> Workload {
    Workload { name, direction, order: Order::Sequential, bytes: 1 << 20, depth }
}

/// All of them, in their order. Writes and reads take turns, so that what a write leaves behind
/// for later falls on no other write.
pub const ALL: &[Workload] = &[
    random("write-4k-d1", Direction::Write, 4, 1),
    random("read-4k-d1", Direction::Read, 4, 1),
    random("write-4k-d32", Direction::Write, 4, 32),
    random("read-4k-d32", Direction::Read, 4, 32),
    random("write-64k-d8", Direction::Write, 64, 8),
    sequential("read-1m-seq-d4", Direction::Read, 4),
    sequential("write-1m-seq-d4", Direction::Write, 4),
];

/// The largest request of all.
pub const BYTES_MAX: u64 = 1 << 20;

impl Workload {
    /// Whether it writes.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.direction == Direction::Write
    }

    /// Where its request number `index` lies on a disk of `span` bytes, given a random number.
    #[must_use]
    pub fn offset(&self, index: u64, random: u64, span: u64) -> u64 {
        let places = span / u64::from(self.bytes);
        let place = match self.order {
            Order::Random => random % places,
            Order::Sequential => index % places,
        };
        place * u64::from(self.bytes)
    }
}
