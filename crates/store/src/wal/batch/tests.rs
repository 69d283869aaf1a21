use sheepdog_proto::{Oid, Stamp, Vid, View};

use super::*;
use crate::shape::Shape;

const LINK: Link = Link { salt: 11, segment: 3, number: 8, previous: 77 };

/// A batch with two writes and something between them.
fn batch() -> Batch {
    let shape = Shape::new(20).unwrap();
    let write = |index, first_block: u32, fill: u8, count: usize| {
        let oid = Oid::data(Vid::new(1).unwrap(), index);
        let data = Payload::from(&vec![fill; count * BLOCK_BYTES][..]);
        let checksums = (first_block..)
            .zip(data.chunks(BLOCK_BYTES))
            .map(|(block, bytes)| block_checksum(oid, block, bytes))
            .collect();
        let (stamp, view) = (Stamp::from_wire(5), View(1));
        (Record::Write { oid, shape, first_block, stamp, view, checksums }, data)
    };
    let (first, first_data) = write(0, 4, 0xaa, 2);
    let (second, second_data) = write(1, 9, 0xbb, 1);
    let between = Record::View { oid: Oid::data(Vid::new(1).unwrap(), 7), view: View(2) };
    Batch { records: vec![first, between, second], data: vec![first_data, second_data] }
}

fn bytes_of(batch: &Batch) -> Vec<u8> {
    let mut bytes = batch.encode(LINK).head.to_vec();
    bytes.extend(batch.data.iter().flat_map(|payload| payload.iter()));
    bytes
}

/// The records, if everything in the batch is whole.
fn decode(bytes: &[u8]) -> Result<Vec<Record>, WireError> {
    let raw = bytes.first_chunk::<HEADER_BYTES>().ok_or(WireError::Short)?;
    let (header, _) = RawBatchHeader(raw).verify(LINK.salt)?;
    let records = header.decode_records(bytes)?;
    check_blocks(&records, &bytes[header.blocks_start() as usize..])?;
    Ok(records)
}

#[test]
fn what_is_encoded_is_verified() {
    let batch = batch();
    let bytes = bytes_of(&batch);
    assert_eq!(bytes.len() as u64, batch.encode(LINK).bytes);
    assert_eq!(bytes.len() as u64, batch.encoded_bytes());
    assert_eq!(bytes.len(), 4096 + 3 * BLOCK_BYTES);
    let (header, sum) = RawBatchHeader(bytes.first_chunk().unwrap()).verify(LINK.salt).unwrap();
    assert_eq!((header.segment, header.number, header.previous), (3, 8, 77));
    assert_eq!(sum, batch.encode(LINK).header_checksum);
    assert_eq!(decode(&bytes), Ok(batch.records));
    assert_eq!(header.to_string(), "batch 8 of segment 3: 3 records, 3 blocks");
}

#[test]
fn no_flipped_bit_is_taken_for_a_batch() {
    let bytes = bytes_of(&batch());
    let records: usize = batch().records.iter().map(Record::encoded_bytes).sum();
    let used = (0..HEADER_BYTES + records).chain(4096..bytes.len());
    for at in used {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(decode(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn a_header_of_another_salt_is_no_header() {
    let bytes = bytes_of(&batch());
    let raw = RawBatchHeader(bytes.first_chunk().unwrap());
    assert_eq!(raw.verify(LINK.salt + 1), Err(WireError::Checksum("batch header")));
}

#[test]
#[should_panic(expected = "other blocks than its records")]
fn a_batch_without_its_data_is_never_written() {
    let mut batch = batch();
    batch.data.pop();
    let _ = batch.encode(LINK);
}
