//! Room: how much a batch can take in the journal, and what may wait for the next one.

use sheepdog_proto::{BLOCK_BYTES, Oid};

use crate::journal::batch::{ALIGN_BYTES, HEADER_BYTES};
use crate::journal::record::{RECORD_BYTES, Record};
use crate::object::shape::Shape;
use crate::request::Request;

/// Whether a request must be committed.
pub(super) fn is_change(request: &Request) -> bool {
    matches!(request, Request::Write { .. } | Request::Hole { .. } | Request::Reset { .. })
}

/// The most that the batch of these requests can take in the journal.
pub(super) fn batch_bytes_max(requests: &[Request], waiting: u64) -> u64 {
    // Applied blocks make a record for each run; every second block may begin one. Larger
    // counts than those of the largest object are refused later.
    let runs = |blocks: u64| blocks.div_ceil(2).max(1) * (RECORD_BYTES as u64 + 4);
    let within = |blocks: u64| blocks.min(u64::from(Shape::LARGEST.blocks()));
    let mut records = HEADER_BYTES as u64 + waiting;
    let mut blocks = 0;
    for request in requests {
        records += match request {
            Request::Write { checksums, .. } => {
                let count = within(checksums.len() as u64);
                blocks += count;
                runs(count) + count * 4
            }
            Request::Hole { count, .. } => runs(within(u64::from(*count))),
            Request::Settle { oids, .. } => (RECORD_BYTES + oids.len() * size_of::<Oid>()) as u64,
            _ => RECORD_BYTES as u64,
        };
    }
    records.next_multiple_of(ALIGN_BYTES) + blocks * BLOCK_BYTES as u64
}

/// A later watermark of the same generation says what an earlier one said.
pub(super) fn merge_waiting(records: Vec<Record>) -> Vec<Record> {
    let mut merged: Vec<Record> = Vec::new();
    for record in records {
        let same = merged.iter_mut().find(|older| match (&**older, &record) {
            (
                Record::Watermark { vid: a, stable: older },
                Record::Watermark { vid: b, stable: newer },
            ) => a == b && older.generation() == newer.generation(),
            _ => false,
        });
        match (same, &record) {
            (Some(Record::Watermark { stable, .. }), Record::Watermark { stable: newer, .. }) => {
                *stable = (*stable).max(*newer);
            }
            _ => merged.push(record),
        }
    }
    merged
}
