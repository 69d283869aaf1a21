use super::*;
use sheepdog_proto::peer::{Request, RequestBody};
use sheepdog_proto::{BLOCK_BYTES, Generation, Oid, Stamp, Vid, View, block_checksum};

fn write(id: u64, blocks: usize) -> Request {
    let vid = Vid::new(5).unwrap();
    let data = Buffer::copy_of(&vec![id as u8; blocks * BLOCK_BYTES]).share();
    let sum = |i| block_checksum(Oid::data(vid, 0), i, &data[..BLOCK_BYTES]);
    let checksums = (0..blocks as u32).map(sum).collect();
    Request {
        id,
        vid,
        generation: Generation(1),
        view: View(1),
        stable: Stamp::NONE,
        body: RequestBody::Write {
            oid: Oid::data(vid, 0),
            object_shift: 22,
            first_block: 0,
            stamp: Stamp::new(Generation(1), id),
            must_exist: true,
            checksums,
            data,
        },
    }
}

fn bytes(requests: &[Request]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for request in requests {
        let (head, payload) = request.emit();
        bytes.extend(head);
        bytes.extend_from_slice(payload.map_or(&[], |p| p));
    }
    bytes
}

async fn read_all(mut reader: FrameReader<&[u8]>, count: usize) -> Vec<Request> {
    let mut found = Vec::new();
    while found.len() < count {
        for (header, meta, data) in reader.next_batch().await.unwrap() {
            found.push(Request::assemble(&header, &meta, data).unwrap());
        }
    }
    let end = reader.next_batch().await.unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    found
}

#[tokio::test]
async fn small_and_large_messages_come_through_whole() {
    let requests = [write(1, 1), write(2, 1024), write(3, 3), write(4, 64), write(5, 1)];
    let bytes = bytes(&requests);
    assert_eq!(read_all(FrameReader::new(&bytes[..]), 5).await, requests);
}

#[tokio::test]
async fn a_damaged_header_ends_the_connection() {
    let mut bytes = bytes(&[write(1, 1)]);
    bytes[9] ^= 1;
    let mut reader = FrameReader::new(&bytes[..]);
    assert_eq!(reader.next_batch().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_cut_message_is_an_end_not_a_message() {
    let bytes = bytes(&[write(1, 200)]);
    let mut reader = FrameReader::new(&bytes[..bytes.len() - 1]);
    assert_eq!(reader.next_batch().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
