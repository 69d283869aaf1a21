//! Statistics: counters of what a store did.

/// Since the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Batches that were committed.
    pub batches: u64,
    /// Changes that were committed: requests.
    pub changes: u64,
    /// Durable writes and syncs.
    pub syncs: u64,
    /// Bytes written to the log.
    pub wal_bytes: u64,
    /// Bytes of blocks written to slabs.
    pub data_bytes: u64,
    /// Bytes of metadata pages.
    pub meta_bytes: u64,
    /// Bytes of index pages and checkpoints.
    pub index_bytes: u64,
    /// Blocks read from slabs.
    pub read_blocks: u64,
    /// Metadata pages read.
    pub read_pages: u64,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Writes of a checkpoint that found no space and wait.
    pub blocked_writes: u64,
}

impl Statistics {
    /// Counts what another store did, too.
    pub fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.changes += other.changes;
        self.syncs += other.syncs;
        self.wal_bytes += other.wal_bytes;
        self.data_bytes += other.data_bytes;
        self.meta_bytes += other.meta_bytes;
        self.index_bytes += other.index_bytes;
        self.read_blocks += other.read_blocks;
        self.read_pages += other.read_pages;
        self.checkpoints += other.checkpoints;
        self.blocked_writes += other.blocked_writes;
    }
}
