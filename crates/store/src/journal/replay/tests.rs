use sheepdog_proto::{Oid, Payload, Stamp, Vid, View, block_checksum};

use super::*;
use crate::disk::FakeDisk;
use crate::journal::segment::SegmentHeader;
use crate::journal::{JOURNAL_DIR, Journal, Room};
use crate::object::shape::Shape;

const SALT: u64 = 0x5a17;
const PATH: &str = "journal/0000000000000001";

fn guarded(disk: &FakeDisk) -> GuardedDisk {
    GuardedDisk::new(Box::new(disk.clone()))
}

/// A batch with one block of the given bytes.
fn batch(block: u32, bytes: &[u8; BLOCK_BYTES]) -> Batch {
    let oid = Oid::data(Vid::new(1).unwrap(), 0);
    let record = Record::Write {
        oid,
        shape: Shape::new(20).unwrap(),
        first_block: block,
        stamp: Stamp::from_wire(u64::from(block) + 1),
        view: View(1),
        checksums: vec![block_checksum(oid, block, bytes)],
    };
    Batch { records: vec![record], data: vec![Payload::from(&bytes[..])] }
}

/// A segment with some batches of 8192 bytes; the first begins at byte 8192.
fn segment(batches: &[Batch]) -> FakeDisk {
    let disk = FakeDisk::new();
    let mut guarded = guarded(&disk);
    guarded.create_dir(JOURNAL_DIR).unwrap();
    let header = SegmentHeader { sequence: 1, salt: SALT };
    let mut journal = Journal::begin(&mut guarded, header, Vec::new(), 64 << 10).unwrap();
    for batch in batches {
        assert_eq!(journal.room_for(&mut guarded, 8192), Ok(Room::Ready));
        journal.append(&mut guarded, batch).unwrap();
    }
    disk
}

fn batches() -> Vec<Batch> {
    (0..4).map(|block| batch(block, &[block as u8 + 1; BLOCK_BYTES])).collect()
}

/// All batches after the unstable list, and whether the end was torn.
fn read(disk: &FakeDisk) -> Result<(Vec<Batch>, bool), StoreError> {
    let mut disk = guarded(disk);
    let mut replay = Replay::open(&mut disk, 1)?;
    let verified = replay.verify(&mut disk)?;
    replay.make_durable(&mut disk)?;
    let mut batches = Vec::new();
    while let Some(batch) = replay.next(&mut disk)? {
        batches.push(batch);
    }
    assert_eq!(batches.len() as u64, verified.batches);
    batches.remove(0);
    Ok((batches, verified.is_torn))
}

#[test]
fn what_was_appended_is_read_back() {
    assert_eq!(read(&segment(&batches())), Ok((batches(), false)));
    assert_eq!(read(&segment(&[])), Ok((Vec::new(), false)));
}

#[test]
fn a_torn_last_batch_ends_the_replay() {
    // Its header, its records, its block.
    for (offset, is_torn) in [(8, false), (70, true), (4096 + 100, true)] {
        let disk = segment(&batches());
        assert!(disk.flip_bit(PATH, 8192 + 3 * 8192 + offset, 0));
        assert_eq!(read(&disk), Ok((batches()[..3].to_vec(), is_torn)));
    }
}

#[test]
fn a_bad_batch_before_a_good_one_is_corruption() {
    for bad in 0..3 {
        for offset in [8, 70, 4096 + 100] {
            let disk = segment(&batches());
            let place = 8192 + bad * 8192;
            assert!(disk.flip_bit(PATH, place + offset, 0));
            let why = Corruption::Batch { segment: 1, offset: place, later: place + 8192 };
            assert_eq!(read(&disk), Err(why.into()), "batch {bad} byte {offset}"); // RP1
        }
    }
}

#[test]
fn a_later_batch_is_found_however_far_away() {
    // Two bad ones in front of the good one.
    let disk = segment(&batches());
    assert!(disk.flip_bit(PATH, 8192 + 8192 + 8, 0));
    assert!(disk.flip_bit(PATH, 8192 + 2 * 8192 + 8, 0));
    let why = Corruption::Batch { segment: 1, offset: 16384, later: 8192 + 3 * 8192 };
    assert_eq!(read(&disk), Err(why.into()));
}

#[test]
fn a_bad_segment_header_or_first_batch_stops_the_open() {
    let disk = segment(&batches());
    assert!(disk.flip_bit(PATH, 3, 0));
    let is_header = |error| matches!(error, StoreError::Corrupt(Corruption::Segment { .. }));
    assert!(read(&disk).is_err_and(is_header));
    let disk = segment(&[]);
    assert!(disk.flip_bit(PATH, 4096 + 3, 0));
    let is_first = |error| matches!(error, StoreError::Corrupt(Corruption::Records { .. }));
    assert!(read(&disk).is_err_and(is_first));
    let disk = segment(&[]);
    disk.plant("journal/0000000000000002", &disk.file_bytes(PATH).unwrap());
    let mut disk = guarded(&disk);
    let why = WireError::Invalid("sequence of a journal segment");
    let error = Replay::open(&mut disk, 2).err();
    assert_eq!(error, Some(Corruption::Segment { segment: 2, why }.into()));
}

/// A block whose bytes are the head of the batch that would come after it.
fn forged(salt: u64) -> [u8; BLOCK_BYTES] {
    let link = Link { salt, sequence: 1, number: 9, previous: 0 };
    let head = batch(0, &[0; BLOCK_BYTES]);
    let encoded = head.encode(link);
    let mut bytes = [0; BLOCK_BYTES];
    bytes.copy_from_slice(encoded.parts(&[])[0]);
    bytes
}

#[test]
fn a_guest_cannot_make_a_torn_batch_look_like_rot() {
    let torn_with = |bytes: &[u8; BLOCK_BYTES]| {
        let disk = segment(&[batch(0, bytes)]);
        assert!(disk.flip_bit(PATH, 8192 + 8, 0));
        read(&disk)
    };
    // BT2: it would have to know the salt.
    assert_eq!(torn_with(&forged(SALT + 1)), Ok((Vec::new(), false)));
    assert!(torn_with(&forged(SALT)).is_err(), "the test would not notice");
}

#[test]
fn a_recycled_segment_does_not_show_its_old_batches() {
    let disk = segment(&batches());
    let mut guarded = guarded(&disk);
    crate::journal::retire_segment(&mut guarded, 1).unwrap();
    let header = SegmentHeader { sequence: 2, salt: SALT };
    Journal::begin(&mut guarded, header, Vec::new(), 64 << 10).unwrap();
    let mut replay = Replay::open(&mut guarded, 2).unwrap();
    let verified = replay.verify(&mut guarded).unwrap();
    assert_eq!(verified, Verified { batches: 1, is_torn: false });
}

#[test]
fn any_flipped_bit_gives_a_prefix_or_an_error() {
    let mut dice = crate::disk::fake::Dice::new(1);
    for _ in 0..400 {
        let disk = segment(&batches());
        let end = 8192 + 4 * 8192;
        assert!(disk.flip_bit(PATH, dice.below(end), dice.below(8) as u8));
        match read(&disk) {
            Ok((read, _)) => {
                assert!(read.len() >= 3, "a batch that others follow was dropped"); // ST4
                assert_eq!(read, batches()[..read.len()]);
            }
            Err(StoreError::Corrupt(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
