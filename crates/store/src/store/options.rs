//! Options of a store, and what its opening found.

/// How a store uses its disk and its memory. All take effect at `open`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of a segment of the log; a multiple of 4096, fixed when the store is made. Default
    /// 8 MiB.
    pub segment_bytes: u64,
    /// Segments of the log, at most, at least 4. Default 24. More means rarer checkpoints,
    /// a longer replay, more space.
    pub segments_max: u32,
    /// Memory for changes that are not in place yet, in bytes: data and metadata. Default
    /// 32 MiB; a checkpoint begins at half of it.
    pub dirty_bytes_max: u64,
    /// Memory for metadata that could be read again, in bytes. Default 16 MiB, which describe
    /// 4 GiB of data.
    pub metadata_bytes_max: usize,
    /// Units of 256 KiB that are kept ready when they are no longer used, with their space.
    /// Default 64.
    pub warm_units_max: usize,
    /// Space that new data leave free for the log, for metadata and for what does not need
    /// any more space in the end, in bytes. Default 64 MiB.
    pub reserve_bytes: u64,
    /// Any number that guests cannot know, new for each store: it keeps their data from
    /// passing for the store's own. Default zero, which is for tests only.
    pub salt: u64,
    /// The sheep whose store it is. A store of another sheep is refused.
    pub node: u128,
    /// The shard of that sheep.
    pub shard: u16,
    /// The store was made before: an empty directory is not made a store. Default false.
    pub must_exist: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 8 << 20,
            segments_max: 24,
            dirty_bytes_max: 32 << 20,
            metadata_bytes_max: 16 << 20,
            warm_units_max: 64,
            reserve_bytes: 64 << 20,
            salt: 0,
            node: 0,
            shard: 0,
            must_exist: false,
        }
    }
}

/// What `open` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Objects.
    pub objects: usize,
    /// Batches of the log that were replayed.
    pub batches: u64,
    /// Whether a batch after them was cut by a crash; nobody was told that it was durable.
    pub is_torn: bool,
    /// Whether the store was made just now.
    pub is_new: bool,
    /// Whether one copy of the superblock was bad and was written again from the other.
    pub was_repaired: bool,
    /// Files in the store's directories that are not the store's. They are left alone.
    pub strangers: Vec<String>,
}
