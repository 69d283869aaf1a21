use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn vids() -> impl Strategy<Value = Vid> {
    (1..=Vid::MAX).prop_filter_map("a vid", Vid::new)
}

fn oids() -> impl Strategy<Value = Oid> {
    (vids(), any::<u32>(), any::<bool>()).prop_map(|(vid, index, map)| {
        if map { Oid::map(vid, index) } else { Oid::data(vid, index) }
    })
}

fn stamps() -> impl Strategy<Value = Stamp> {
    (1..u64::MAX).prop_map(Stamp::from_wire)
}

fn places() -> impl Strategy<Value = (Shape, u32, u32)> {
    (20..=26_u8).prop_filter_map("a shape", Shape::new).prop_flat_map(|shape| {
        (0..shape.blocks()).prop_flat_map(move |first| {
            (Just(shape), Just(first), 1..=(shape.blocks() - first).min(64))
        })
    })
}

fn records() -> impl Strategy<Value = Record> {
    let view = any::<u64>().prop_map(View);
    let write = (oids(), places(), stamps(), view.clone(), vec(any::<u32>(), 64)).prop_map(
        |(oid, (shape, first_block, count), stamp, view, mut checksums)| {
            checksums.truncate(count as usize);
            Record::Write { oid, shape, first_block, stamp, view, checksums }
        },
    );
    let placed = (oids(), places(), stamps(), view.clone(), vec(any::<u32>(), 64), any::<u32>())
        .prop_map(|(oid, (shape, first_block, count), stamp, view, mut checksums, unit)| {
            let left = UNIT_BLOCKS - first_block % UNIT_BLOCKS;
            checksums.truncate(count.min(left) as usize);
            Record::Placed { oid, shape, first_block, stamp, view, checksums, unit }
        });
    let hole = (oids(), places(), stamps(), view.clone()).prop_map(
        |(oid, (shape, first_block, count), stamp, view)| Record::Hole {
            oid,
            shape,
            first_block,
            count,
            stamp,
            view,
        },
    );
    let generation = (0..=Generation::MAX).prop_map(Generation);
    let kind =
        prop_oneof![Just(UnstableKind::Write), Just(UnstableKind::Hole), Just(UnstableKind::Reset)];
    prop_oneof![
        write,
        placed,
        hole,
        (oids(), stamps(), view.clone()).prop_map(|(oid, stamp, view)| Record::Reset {
            oid,
            stamp,
            view
        }),
        (oids(), view).prop_map(|(oid, view)| Record::View { oid, view }),
        (vids(), stamps()).prop_map(|(vid, stable)| Record::Watermark { vid, stable }),
        (vids(), generation, vec(oids(), 0..9)).prop_map(|(vid, below, oids)| Record::Settle {
            vid,
            below,
            oids
        }),
        any::<u8>().prop_map(|bucket| Record::Forget { bucket }),
        (oids(), stamps(), any::<u32>(), any::<u32>(), kind.clone()).prop_map(
            |(oid, stamp, first_block, count, kind)| Record::Stable(Unstable {
                stamp,
                oid,
                first_block,
                kind,
                count
            })
        ),
        (oids(), stamps(), any::<u32>(), any::<u32>(), kind).prop_map(
            |(oid, stamp, first_block, count, kind)| Record::Unstable(Unstable {
                stamp,
                oid,
                first_block,
                kind,
                count
            })
        ),
    ]
}

fn encoded(records: &[Record]) -> Vec<u8> {
    let mut writer = Writer::new();
    for record in records {
        record.encode(&mut writer);
    }
    writer.finish()
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(records in vec(records(), 0..9)) {
        let bytes = encoded(&records);
        let sizes: usize = records.iter().map(Record::encoded_bytes).sum();
        prop_assert_eq!(bytes.len(), sizes);
        let mut reader = Reader::new(&bytes);
        for record in &records {
            prop_assert_eq!(Record::decode(&mut reader), Ok(record.clone()));
        }
        prop_assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(record in records(), at in 0..48_usize, bit in 0..8) {
        let mut bytes = encoded(&[record]);
        bytes[at] ^= 1_u8 << bit;
        bytes.extend([0; 512]); // A larger count finds its list.
        let mut reader = Reader::new(&bytes);
        if let Ok(record) = Record::decode(&mut reader) {
            let used = bytes.len() - reader.rest().len();
            prop_assert_eq!(encoded(&[record]), &bytes[..used]);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, kind in 0..12_u8) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        let _ = Record::decode(&mut Reader::new(&bytes));
    }
}

#[test]
fn a_record_reads_as_one_line() {
    let oid = Oid::data(Vid::new(1).unwrap(), 2);
    let (shape, stamp, view) = (Shape::new(20).unwrap(), Stamp::new(Generation(3), 4), View(5));
    let write = Record::Write { oid, shape, first_block: 6, stamp, view, checksums: vec![7, 8] };
    assert_eq!(write.to_string(), "write 0000000100000002 6+2 3:4 view 5");
}
