//! Batches and records of the log, as they are shown.

use sheepdog_proto::{BLOCK_BYTES, Oid, Stamp, Vid, View};

use super::fault::Place;
use super::walk::Found;
use crate::request::UnstableKind;
use crate::wal::record::Record;

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBatch {
    /// Its segment.
    pub segment: u32,
    /// Its number in the segment, from zero.
    pub number: u64,
    /// Where it begins.
    pub place: Place,
    /// Bytes, blocks included.
    pub bytes: u64,
    /// Blocks that it has.
    pub blocks: u32,
    /// Whether all of them match their checksums.
    pub is_whole: bool,
    /// What it says.
    pub records: Vec<LogRecord>,
}

/// One record. What a kind of record does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRecord {
    /// `write`, `placed`, `hole`, `reset`, `view`, `watermark`, `settle`, or `unstable write` and
    /// so on.
    pub kind: &'static str,
    /// The object.
    pub oid: Option<Oid>,
    /// The VDI, of a record that is about all of it.
    pub vid: Option<Vid>,
    /// First block.
    pub first_block: Option<u32>,
    /// Blocks.
    pub count: Option<u32>,
    /// Order of the change.
    pub stamp: Option<Stamp>,
    /// View under which it came.
    pub view: Option<View>,
    /// The unit of a slab where the blocks are.
    pub unit: Option<u32>,
    /// The byte of the log file where the blocks begin.
    pub data_offset: Option<u64>,
    /// The whole record in words.
    pub text: String,
}

impl LogBatch {
    pub(super) fn new(found: &Found) -> Self {
        let mut offset = found.blocks_start();
        let mut records = Vec::new();
        for record in &found.records {
            let data_offset = (record.blocks() > 0).then_some(offset);
            records.push(LogRecord { data_offset, ..LogRecord::new(record) });
            offset += (record.blocks() * BLOCK_BYTES) as u64;
        }
        Self {
            segment: found.header.segment,
            number: found.header.number,
            place: found.place.clone(),
            bytes: found.header.batch_bytes(),
            blocks: found.header.blocks,
            is_whole: found.is_whole(),
            records,
        }
    }
}

impl LogRecord {
    fn new(record: &Record) -> Self {
        let text = record.to_string();
        let plain = |kind| Self { kind, text: text.clone(), ..Self::default() };
        let change = |kind, oid, stamp| Self { oid: Some(oid), stamp: Some(stamp), ..plain(kind) };
        match record {
            Record::Write { oid, first_block, stamp, view, checksums, .. } => Self {
                first_block: Some(*first_block),
                count: Some(checksums.len() as u32),
                view: Some(*view),
                ..change("write", *oid, *stamp)
            },
            Record::Placed { oid, first_block, stamp, view, checksums, unit, .. } => Self {
                first_block: Some(*first_block),
                count: Some(checksums.len() as u32),
                view: Some(*view),
                unit: Some(*unit),
                ..change("placed", *oid, *stamp)
            },
            Record::Hole { oid, first_block, count, stamp, view, .. } => Self {
                first_block: Some(*first_block),
                count: Some(*count),
                view: Some(*view),
                ..change("hole", *oid, *stamp)
            },
            Record::Reset { oid, stamp, view } => {
                Self { view: Some(*view), ..change("reset", *oid, *stamp) }
            }
            Record::View { oid, view } => {
                Self { oid: Some(*oid), view: Some(*view), ..plain("view") }
            }
            Record::Watermark { vid, stable } => {
                Self { vid: Some(*vid), stamp: Some(*stable), ..plain("watermark") }
            }
            Record::Settle { vid, .. } => Self { vid: Some(*vid), ..plain("settle") },
            Record::Forget { .. } => plain("forget"),
            Record::Drop { .. } => plain("drop"),
            Record::Undone(undone) => {
                let has_blocks = undone.kind != UnstableKind::Reset;
                Self {
                    first_block: has_blocks.then_some(undone.first_block),
                    count: has_blocks.then_some(undone.count),
                    ..change("undone", undone.oid, undone.stamp)
                }
            }
            Record::Stable(stable) => {
                let has_blocks = stable.kind != UnstableKind::Reset;
                Self {
                    first_block: has_blocks.then_some(stable.first_block),
                    count: has_blocks.then_some(stable.count),
                    ..change("stable", stable.oid, stable.stamp)
                }
            }
            Record::Unstable(unstable) => {
                let kind = match unstable.kind {
                    UnstableKind::Write => "unstable write",
                    UnstableKind::Hole => "unstable hole",
                    UnstableKind::Reset => "unstable reset",
                };
                let has_blocks = unstable.kind != UnstableKind::Reset;
                Self {
                    first_block: has_blocks.then_some(unstable.first_block),
                    count: has_blocks.then_some(unstable.count),
                    ..change(kind, unstable.oid, unstable.stamp)
                }
            }
        }
    }
}
