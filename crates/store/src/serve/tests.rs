use sheepdog_proto::{Oid, Stamp, block_checksum};

use super::*;
use crate::request::ReadReply;

fn vid() -> Vid {
    Vid::new(7).unwrap()
}

fn data_block(stamp: u64, checksum: u32) -> Block {
    Block { stamp: Stamp::from_wire(stamp), state: BlockState::Data { checksum } }
}

#[test]
fn a_request_keeps_its_view_and_a_watermark_asks_nothing() {
    let (oid, stamp) = (Oid::data(vid(), 3), Stamp::from_wire(9));
    let body = RequestBody::Reset { oid, stamp };
    let Some(Request::Reset { view, .. }) = store_request(vid(), Generation(2), View(5), body)
    else {
        panic!("not a reset");
    };
    assert_eq!(view, View(5));
    let settle = RequestBody::Settle { oids: vec![oid] };
    let Some(Request::Settle { below, .. }) = store_request(vid(), Generation(2), View(5), settle)
    else {
        panic!("not a settle");
    };
    assert_eq!(below, Generation(2), "older generations are settled, not this one");
    assert!(store_request(vid(), Generation(2), View(5), RequestBody::Watermark).is_none());
}

#[test]
fn only_blocks_with_bytes_travel() {
    let absent = Block { stamp: Stamp::from_wire(1), state: BlockState::Absent };
    let mut bytes = vec![0_u8; 2 * BLOCK_BYTES];
    bytes[BLOCK_BYTES..].fill(7);
    let checksum = block_checksum(Oid::data(vid(), 0), 1, &bytes[BLOCK_BYTES..]);
    let blocks = vec![absent, data_block(2, checksum)];
    let read = ReadReply { base: Stamp::from_wire(1), blocks, data: Payload::from(&bytes[..]) };
    let Ok(ReplyBody::Blocks { blocks, data }) = peer_result(Ok(Reply::Read(read))) else {
        panic!("no blocks");
    };
    assert_eq!((blocks.len(), blocks[1].checksum), (2, checksum));
    assert_eq!(&data[..], &bytes[BLOCK_BYTES..]);
}

#[test]
fn a_full_disk_is_not_a_broken_one() {
    assert_eq!(peer_result(Err(StoreError::Full)), Err(PeerError::Full));
    let cause = std::sync::Arc::new(StoreError::Full);
    assert_eq!(peer_result(Err(StoreError::Failed { cause })), Err(PeerError::NotInSync));
}
