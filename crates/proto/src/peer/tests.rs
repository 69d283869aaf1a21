use super::*;
use crate::wire::WireError;
use crate::{
    BLOCK_BYTES, Buffer, Generation, Incarnation, NodeId, Oid, Partition, Payload, PolicyId, Stamp,
    Vid, View, block_checksum,
};
use proptest::prelude::*;

fn oid() -> Oid {
    Oid::data(Vid::new(0x6a_5e16).unwrap(), 3)
}

fn requests() -> Vec<Request> {
    let stamp = Stamp::new(Generation(2), 9);
    let data = Buffer::copy_of(&[5; 2 * BLOCK_BYTES]).share();
    let checksums =
        (0..2).map(|i| block_checksum(oid(), 7 + i, &data[..BLOCK_BYTES])).collect::<Vec<_>>();
    let bodies = [
        RequestBody::Write {
            oid: oid(),
            object_shift: 22,
            first_block: 7,
            stamp,
            must_exist: true,
            checksums,
            data,
        },
        RequestBody::Hole {
            oid: oid(),
            object_shift: 22,
            first_block: 1,
            count: 1023,
            stamp,
            must_exist: false,
        },
        RequestBody::Reset { oid: oid(), stamp },
        RequestBody::Read { oid: oid(), first_block: 0, count: 4 },
        RequestBody::Barrier { index: 77 },
        RequestBody::Settle { oids: vec![oid(), Oid::map(oid().vid(), 0)] },
        RequestBody::Watermark,
        RequestBody::Ping,
        RequestBody::Heal { oid: oid(), first_block: 5, count: 2 },
        RequestBody::Look { oid: oid() },
        RequestBody::List {
            index: 9,
            policy: PolicyId(2),
            after: Some(oid()),
            partitions: vec![Partition(3), Partition(77)],
        },
        RequestBody::List { index: 9, policy: PolicyId(0), after: None, partitions: Vec::new() },
        RequestBody::Pull { index: 9, oid: oid(), first_block: 3, count: 4, with_data: true },
        RequestBody::Pull { index: 9, oid: oid(), first_block: 3, count: 4, with_data: false },
    ];
    let waits = |body: &RequestBody| {
        matches!(
            body,
            RequestBody::Barrier { .. } | RequestBody::List { .. } | RequestBody::Pull { .. }
        )
    };
    let request = |(id, body)| Request {
        id: id as u64,
        vid: oid().vid(),
        generation: Generation(2),
        view: if waits(&body) { View(0) } else { View(5) },
        stable: Stamp::new(Generation(2), 8),
        body,
    };
    bodies.into_iter().enumerate().map(request).collect()
}

fn replies() -> Vec<Reply> {
    let stamp = Stamp::new(Generation(1), 4);
    let meta = |state| BlockMeta { stamp, checksum: 3, state };
    let blocks = vec![meta(BlockState::Absent), meta(BlockState::Data), meta(BlockState::Hole)];
    let entry = Unstable { oid: oid(), first_block: 1, count: 2, stamp, kind: UnstableKind::Reset };
    let (base, modified) = (stamp, View(8));
    let listed = Listed { oid: oid(), object_shift: 22, base, modified, is_rotten: false };
    let results = [
        Ok(ReplyBody::Done),
        Ok(ReplyBody::Blocks { blocks: blocks.clone(), data: Buffer::zeroed(BLOCK_BYTES).share() }),
        Ok(ReplyBody::Unstable(vec![entry])),
        Ok(ReplyBody::Listing(Listing {
            objects: vec![listed, Listed { is_rotten: true, ..listed }],
            unstable: vec![entry],
            next: Some(oid()),
        })),
        Ok(ReplyBody::Listing(Listing::default())),
        Ok(ReplyBody::Pulled(Pulled {
            base: stamp,
            unstable: vec![stamp, Stamp::NONE],
            blocks: blocks.clone(),
            data: Buffer::zeroed(BLOCK_BYTES).share(),
        })),
        Ok(ReplyBody::Pulled(Pulled {
            base: stamp,
            unstable: Vec::new(),
            blocks: blocks.clone(),
            data: Payload::empty(),
        })),
        Err(PeerError::StaleView(View(9))),
        Err(PeerError::Full),
    ];
    results.into_iter().map(|result| Reply { id: 4, result }).collect()
}

fn split(bytes: &[u8]) -> (Header, &[u8]) {
    let (head, meta) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
    (Header::parse(head).unwrap(), meta)
}

#[test]
fn every_request_comes_back_from_its_bytes() {
    for request in requests() {
        let (bytes, payload) = request.emit();
        let (header, meta) = split(&bytes);
        assert_eq!(header.meta_bytes as usize, meta.len());
        let data = payload.cloned().unwrap_or_else(Payload::empty);
        assert_eq!(header.data_bytes as usize, data.len());
        assert_eq!(Request::assemble(&header, meta, data), Ok(request));
    }
}

#[test]
fn every_reply_comes_back_from_its_bytes() {
    for reply in replies() {
        let (bytes, payload) = reply.emit();
        let (header, meta) = split(&bytes);
        let data = payload.cloned().unwrap_or_else(Payload::empty);
        assert_eq!(Reply::assemble(&header, meta, data), Ok(reply));
    }
}

#[test]
fn any_flipped_bit_of_header_or_metadata_is_noticed() {
    for request in requests() {
        let (bytes, payload) = request.emit();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (head, meta) = bad.split_first_chunk::<HEADER_BYTES>().unwrap();
            let data = payload.cloned().unwrap_or_else(Payload::empty);
            let result = Header::parse(head).and_then(|h| Request::assemble(&h, meta, data));
            assert!(result.is_err(), "bit {bit}"); // M2
        }
    }
}

#[test]
fn absurd_lengths_are_refused_before_anything_is_read() {
    let header = Header { data_bytes: u32::MAX, ..Header::default() };
    let bytes: [u8; HEADER_BYTES] = header.emit().try_into().unwrap();
    assert_eq!(Header::parse(&bytes), Err(WireError::Invalid("data length"))); // M3
    let header = Header { meta_bytes: u32::MAX, ..Header::default() };
    let bytes: [u8; HEADER_BYTES] = header.emit().try_into().unwrap();
    assert_eq!(Header::parse(&bytes), Err(WireError::Invalid("metadata length")));
}

#[test]
fn a_hello_comes_back_and_other_versions_are_refused() {
    let hello = Hello {
        cluster: 1 << 100,
        uuid: 7,
        node: NodeId(3),
        incarnation: Incarnation(12),
        versions: (1, 2),
        features: 0,
        source_shard: 1,
        target_shard: 0,
    };
    let bytes: [u8; HELLO_BYTES] = hello.emit().try_into().unwrap();
    assert_eq!(Hello::parse(&bytes), Ok(hello));
    let newer = Hello { versions: (2, 3), ..hello };
    let bytes: [u8; HELLO_BYTES] = newer.emit().try_into().unwrap();
    assert_eq!(Hello::parse(&bytes), Err(WireError::Version(3)));
}

/// Rows `| offset | size | field |` of the `wanted`-th table of that shape in docs/formats/peer.md.
fn documented(wanted: usize) -> Vec<(usize, usize, String)> {
    let page = include_str!("../../../../docs/formats/peer.md");
    let table = page.split("| offset | size | field |").nth(wanted).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].parse().unwrap(), cells[2].parse().unwrap(), cells[3].to_owned())
    })
    .collect()
}

fn field(rows: &[(usize, usize, String)], bytes: &[u8], name: &str) -> u64 {
    let (offset, size, _) = rows.iter().find(|row| row.2.starts_with(name)).unwrap();
    let mut wide = [0; 8];
    wide[..*size].copy_from_slice(&bytes[*offset..offset + size]);
    u64::from_le_bytes(wide)
}

#[test]
fn the_documented_offsets_are_those_of_the_code() {
    for (table, total) in [(1, HELLO_BYTES), (2, HEADER_BYTES)] {
        let rows = documented(table);
        let end = rows.iter().fold(0, |at, (offset, size, name)| {
            assert_eq!(*offset, at, "{name}");
            at + size
        });
        assert_eq!(end, total);
    }
    let header = Header {
        kind: 1,
        status: 2,
        id: 3,
        oid: 4,
        view: View(5),
        stamp: Stamp::from_wire(6),
        stable: Stamp::from_wire(7),
        generation: Generation(8),
        first_block: 9,
        count: 10,
        object_shift: 22,
        must_exist: true,
        data_bytes: 11,
        meta_bytes: 12,
        meta_checksum: 13,
    };
    let (rows, bytes) = (documented(2), header.emit());
    for (name, value) in [
        ("kind", 1),
        ("status", 2),
        ("request id", 3),
        ("oid", 4),
        ("view", 5),
        ("stamp", 6),
        ("stable", 7),
        ("generation", 8),
        ("first block", 9),
        ("count", 10),
        ("object size shift", 22),
        ("1: an in-sync member", 1),
        ("data bytes", 11),
        ("metadata bytes", 12),
        ("CRC-32C of the metadata", 13),
    ] {
        assert_eq!(field(&rows, &bytes, name), value, "{name}");
    }
    let hello = Hello { node: NodeId(3), source_shard: 4, target_shard: 5, ..Hello::default() };
    let (rows, bytes) = (documented(1), hello.emit());
    for (name, value) in [("node number", 3), ("the caller's shard", 4), ("the shard that", 5)] {
        assert_eq!(field(&rows, &bytes, name), value, "{name}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_message_panic(
        kind: u8, count in 0_u32..2000, first_block: u32, oid: u64,
        meta in proptest::collection::vec(any::<u8>(), 0..200), blocks in 0_usize..3,
    ) {
        let header = Header {
            kind, count, first_block, oid,
            meta_bytes: meta.len() as u32,
            meta_checksum: crate::block::checksum(&meta),
            ..Header::default()
        };
        let bytes: [u8; HEADER_BYTES] = header.emit().try_into().unwrap();
        let header = Header::parse(&bytes).unwrap();
        let data = Buffer::zeroed(blocks * BLOCK_BYTES).share();
        let _ = Request::assemble(&header, &meta, data.clone());
        let _ = Reply::assemble(&header, &meta, data);
    }

    #[test]
    fn no_bytes_make_a_header_panic(bytes in proptest::collection::vec(any::<u8>(), HEADER_BYTES)) {
        let bytes: [u8; HEADER_BYTES] = bytes.try_into().unwrap();
        let _ = Header::parse(&bytes);
        let _ = Hello::parse(&bytes);
    }
}
