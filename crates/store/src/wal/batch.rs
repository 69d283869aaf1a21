//! Batches: what one commit appends to the log.
//!
//! Why: a commit is one append and one sync, however many requests share it.
//! Way: header, records, padding to 4096 bytes, then the blocks of the write records.
//! Holds:
//!   BT1 a batch begins on a border of 4096 bytes and touches no other batch's page;
//!   BT2 the header's checksum is salted and covers the checksum of the header before, so no
//!       block of a guest and no older batch can pass for a batch;
//!   BT3 records are checked by the header, blocks by their records: every byte has a check.

use std::fmt;

use sheepdog_proto::block::checksum;
use sheepdog_proto::wire::{Reader, WireError, Writer};
use sheepdog_proto::{BLOCK_BYTES, Buffer, Payload, block_checksum};

use super::record::Record;
use crate::format::salted_checksum;
use crate::layout::{Field, fills};

/// Batches begin and end on borders of this many bytes.
pub(crate) const ALIGN_BYTES: u64 = 4096;
/// Bytes of a batch header.
pub(crate) const HEADER_BYTES: usize = 64;
/// First bytes of every batch.
pub(crate) const MAGIC: [u8; 4] = *b"SDJB";

/// Offsets of a batch header's fields.
pub(crate) mod field {
    use super::Field;

    pub(crate) const MAGIC: Field = Field::first("magic", 4);
    pub(crate) const CHECKSUM: Field = MAGIC.then("checksum", 4);
    pub(crate) const SEGMENT: Field = CHECKSUM.then("segment", 4);
    pub(crate) const ZERO: Field = SEGMENT.then("zero", 4);
    pub(crate) const NUMBER: Field = ZERO.then("batch number", 8);
    pub(crate) const PREVIOUS: Field = NUMBER.then("previous checksum", 4);
    pub(crate) const RECORDS_CHECKSUM: Field = PREVIOUS.then("records checksum", 4);
    pub(crate) const RECORDS_BYTES: Field = RECORDS_CHECKSUM.then("records bytes", 4);
    pub(crate) const RECORDS: Field = RECORDS_BYTES.then("records", 4);
    pub(crate) const BLOCKS: Field = RECORDS.then("blocks", 4);
    pub(crate) const RESERVED: Field = BLOCKS.then("reserved", 20);
}

/// All fields of a batch header, in order.
pub(crate) const FIELDS: [Field; 11] = [
    field::MAGIC,
    field::CHECKSUM,
    field::SEGMENT,
    field::ZERO,
    field::NUMBER,
    field::PREVIOUS,
    field::RECORDS_CHECKSUM,
    field::RECORDS_BYTES,
    field::RECORDS,
    field::BLOCKS,
    field::RESERVED,
];
const _: () = assert!(fills(&FIELDS, HEADER_BYTES));

/// A verified batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// The segment it is in.
    pub(crate) segment: u32,
    /// Of the batch in its segment, from zero.
    pub(crate) number: u64,
    /// Checksum of the header before; for batch zero that of the segment header.
    pub(crate) previous: u32,
    pub(crate) records_checksum: u32,
    pub(crate) records_bytes: u32,
    pub(crate) records: u32,
    pub(crate) blocks: u32,
}

/// Where a batch stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) salt: u64,
    pub(crate) segment: u32,
    pub(crate) number: u64,
    pub(crate) previous: u32,
}

/// Bytes from the disk that may be anything.
pub(crate) struct RawBatchHeader<'a>(pub(crate) &'a [u8; HEADER_BYTES]);

impl RawBatchHeader<'_> {
    /// The header and its checksum, if it was written to the segment with this salt.
    pub(crate) fn verify(&self, salt: u64) -> Result<(BatchHeader, u32), WireError> {
        let bytes = self.0;
        if *field::MAGIC.of(bytes) != MAGIC {
            return Err(WireError::Invalid("magic of a batch"));
        }
        let sum: u32 = field::CHECKSUM.get(bytes);
        if sum != salted_checksum(salt, bytes, field::CHECKSUM) {
            return Err(WireError::Checksum("batch header"));
        }
        if !field::ZERO.is_zero(bytes) || !field::RESERVED.is_zero(bytes) {
            return Err(WireError::Invalid("reserved bytes of a batch header"));
        }
        let header = BatchHeader {
            segment: field::SEGMENT.get(bytes),
            number: field::NUMBER.get(bytes),
            previous: field::PREVIOUS.get(bytes),
            records_checksum: field::RECORDS_CHECKSUM.get(bytes),
            records_bytes: field::RECORDS_BYTES.get(bytes),
            records: field::RECORDS.get(bytes),
            blocks: field::BLOCKS.get(bytes),
        };
        Ok((header, sum))
    }
}

impl BatchHeader {
    fn encode(&self, salt: u64) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0_u8; HEADER_BYTES];
        field::MAGIC.set(&mut bytes, &MAGIC);
        field::SEGMENT.put(&mut bytes, self.segment);
        field::NUMBER.put(&mut bytes, self.number);
        field::PREVIOUS.put(&mut bytes, self.previous);
        field::RECORDS_CHECKSUM.put(&mut bytes, self.records_checksum);
        field::RECORDS_BYTES.put(&mut bytes, self.records_bytes);
        field::RECORDS.put(&mut bytes, self.records);
        field::BLOCKS.put(&mut bytes, self.blocks);
        let sum = salted_checksum(salt, &bytes, field::CHECKSUM);
        field::CHECKSUM.put(&mut bytes, sum);
        (bytes, sum)
    }

    /// Where the blocks begin, counted from the header.
    pub(crate) fn blocks_start(&self) -> u64 {
        (HEADER_BYTES as u64 + u64::from(self.records_bytes)).next_multiple_of(ALIGN_BYTES)
    }

    /// Bytes of the whole batch.
    pub(crate) fn batch_bytes(&self) -> u64 {
        self.blocks_start() + u64::from(self.blocks) * BLOCK_BYTES as u64
    }

    /// The records in the bytes between the header and the blocks (BT3).
    pub(crate) fn decode_records(&self, head: &[u8]) -> Result<Vec<Record>, WireError> {
        let mut reader = Reader::new(head);
        reader.bytes(HEADER_BYTES)?;
        let bytes = reader.bytes(self.records_bytes as usize)?;
        if checksum(bytes) != self.records_checksum {
            return Err(WireError::Checksum("records of a batch"));
        }
        let mut reader = Reader::new(bytes);
        let mut records = Vec::new();
        let mut blocks = 0;
        for _ in 0..self.records {
            let record = Record::decode(&mut reader)?;
            blocks += record.blocks() as u64;
            records.push(record);
        }
        reader.end()?;
        if blocks != u64::from(self.blocks) {
            return Err(WireError::Invalid("number of blocks of a batch"));
        }
        Ok(records)
    }
}

impl fmt::Display for BatchHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, number, records, blocks, .. } = self;
        write!(f, "batch {number} of segment {segment}: {records} records, {blocks} blocks")
    }
}

/// Records, and blocks in the order of the write records among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Record>,
    pub(crate) data: Vec<Payload>,
}

/// A batch as it is written: the head, then the payloads as they came.
pub(crate) struct EncodedBatch {
    pub(crate) head: Payload,
    pub(crate) header_checksum: u32,
    pub(crate) bytes: u64,
}

impl Batch {
    /// Bytes that the encoded batch takes.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        let records: usize = self.records.iter().map(Record::encoded_bytes).sum();
        let data: usize = self.data.iter().map(|payload| payload.len()).sum();
        ((HEADER_BYTES + records) as u64).next_multiple_of(ALIGN_BYTES) + data as u64
    }

    /// The head of the batch at its place in the log.
    ///
    /// # Panics
    /// If the data are not the blocks of the records: they would be replayed as others.
    pub(crate) fn encode(&self, link: Link) -> EncodedBatch {
        let blocks: usize = self.records.iter().map(Record::blocks).sum();
        let bytes: usize = self.data.iter().map(|payload| payload.len()).sum();
        assert_eq!(blocks * BLOCK_BYTES, bytes, "a batch has other blocks than its records"); // RC2
        let mut writer = Writer::new();
        writer.zeros(HEADER_BYTES);
        for record in &self.records {
            record.encode(&mut writer);
        }
        let written = writer.finish();
        let records = &written[HEADER_BYTES..];
        let header = BatchHeader {
            segment: link.segment,
            number: link.number,
            previous: link.previous,
            records_checksum: checksum(records),
            records_bytes: records.len() as u32,
            records: self.records.len() as u32,
            blocks: blocks as u32,
        };
        let (raw, header_checksum) = header.encode(link.salt);
        let mut head = Buffer::zeroed(header.blocks_start() as usize);
        head[..written.len()].copy_from_slice(&written);
        head[..HEADER_BYTES].copy_from_slice(&raw);
        EncodedBatch { head: head.share(), header_checksum, bytes: header.batch_bytes() }
    }
}

/// The first block that does not match the checksum in its record.
pub(crate) fn check_blocks(records: &[Record], data: &[u8]) -> Result<(), WireError> {
    let (mut blocks, _) = data.as_chunks::<BLOCK_BYTES>();
    for record in records {
        let Record::Write { oid, first_block, checksums, .. } = record else {
            continue;
        };
        let (own, rest) = blocks.split_at_checked(checksums.len()).ok_or(WireError::Short)?;
        blocks = rest;
        for ((number, checksum), bytes) in (*first_block..).zip(checksums).zip(own) {
            if block_checksum(*oid, number, bytes) != *checksum {
                return Err(WireError::Checksum("block of a batch"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "batch/tests.rs"]
mod tests;
