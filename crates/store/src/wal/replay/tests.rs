use std::collections::VecDeque;

use sheepdog_proto::{Oid, Stamp, Vid, View, block_checksum};

use super::*;
use crate::disk::FakeDisk;
use crate::disk::fake::Dice;
use crate::format::salted_checksum;
use crate::shape::Shape;
use crate::wal::batch::field;
use crate::wal::{Append, Wal};

const SALT: u64 = 0x5a17;
const SEGMENT_BYTES: u64 = 64 << 10;
/// Bytes of each batch of these tests, of which the first begins behind the header.
const BATCH: u64 = 8192;
const FIRST: u64 = BATCHES_START;

/// A batch with one block of the given bytes.
fn batch_of(block: u32, bytes: &[u8; BLOCK_BYTES]) -> Batch {
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

fn batch(block: u32) -> Batch {
    batch_of(block, &[block as u8 + 1; BLOCK_BYTES])
}

fn batches(count: u32) -> Vec<Batch> {
    (0..count).map(batch).collect()
}

/// A log that is being written.
struct Log {
    disk: FakeDisk,
    guarded: GuardedDisk,
    wal: Wal,
}

impl Log {
    fn new(files: u32) -> Self {
        let disk = FakeDisk::new();
        for number in (0..files).rev() {
            disk.plant(&file_path(number), &vec![0; SEGMENT_BYTES as usize]);
        }
        Self::behind(disk, Link { salt: SALT, segment: 0, number: 0, previous: 0 }, 0..files)
    }

    /// A log that goes on behind `end`, in these files.
    fn behind(disk: FakeDisk, end: Link, files: std::ops::Range<u32>) -> Self {
        let mut guarded = guarded(&disk);
        let free = files.rev().map(|number| guarded.open(&file_path(number)).unwrap()).collect();
        let wal = Wal::new((SALT, SEGMENT_BYTES), VecDeque::new(), free, end);
        Self { disk, guarded, wal }
    }

    fn begin(&mut self, batch: &Batch) -> &mut Self {
        let append = self.wal.begin_segment(batch).unwrap();
        self.write(&append)
    }

    fn append(&mut self, batch: &Batch) -> &mut Self {
        let append = self.wal.append(batch);
        self.write(&append)
    }

    fn write(&mut self, append: &Append) -> &mut Self {
        let parts: Vec<&[u8]> = append.parts.iter().map(|part| &part[..]).collect();
        self.guarded.write_at(append.file, append.offset, &parts).unwrap();
        self
    }

    /// All batches of a run, in as many segments as are named, each with two or more.
    fn segments(counts: &[u32]) -> Self {
        let mut log = Self::new(counts.len() as u32);
        let mut block = 0;
        for count in counts {
            log.begin(&batch(block));
            for later in block + 1..block + count {
                log.append(&batch(later));
            }
            block += count;
        }
        log
    }
}

fn guarded(disk: &FakeDisk) -> GuardedDisk {
    GuardedDisk::new(Box::new(disk.clone()))
}

/// What a replay found.
#[derive(Debug, PartialEq)]
struct Read {
    batches: Vec<Batch>,
    end: Link,
    is_torn: bool,
    is_last_empty: bool,
}

fn read_from(disk: &FakeDisk, first: u32, segment_bytes: u64) -> Result<Read, StoreError> {
    let mut disk = guarded(disk);
    let files = Files::find(&mut disk, SALT)?;
    let mut replay = Replay::new(&files, (SALT, segment_bytes), first)?;
    let mut batches = Vec::new();
    while let Some(found) = replay.next(&mut disk)? {
        batches.push(found.batch);
    }
    let (is_torn, is_last_empty) = (replay.is_torn, replay.empty_segment().is_some());
    Ok(Read { batches, end: replay.end(), is_torn, is_last_empty })
}

fn read(disk: &FakeDisk) -> Result<Read, StoreError> {
    read_from(disk, 1, SEGMENT_BYTES)
}

/// Where the log ends, and what it had; to be compared with what is read.
fn position(read: &Read) -> (u32, u64, usize, bool) {
    (read.end.segment, read.end.number, read.batches.len(), read.is_torn)
}

fn flip(disk: &FakeDisk, file: u32, offset: u64) {
    assert!(disk.flip_bit(&file_path(file), offset, 0));
}

fn bad_batch(segment: u32, offset: u64, later: u64) -> StoreError {
    Corruption::Batch { segment, offset, later }.into()
}

fn bad_records(segment: u32, offset: u64, why: &'static str) -> StoreError {
    Corruption::Records { segment, offset, why: WireError::Invalid(why) }.into()
}

fn bad_segment(segment: u32, why: &'static str) -> StoreError {
    Corruption::Segment { segment, why: WireError::Invalid(why) }.into()
}

#[test]
fn what_was_appended_is_read_back_across_segments() {
    for counts in [&[1][..], &[4], &[2, 3], &[1, 1, 1]] {
        let log = Log::segments(counts);
        let read = read(&log.disk).unwrap();
        assert_eq!(read.batches, batches(counts.iter().sum()));
        assert_eq!(read.end, Link { salt: SALT, segment: counts.len() as u32, ..read.end });
        assert_eq!(read.end.number, u64::from(counts[counts.len() - 1]));
        assert!(!read.is_torn && !read.is_last_empty);
    }
}

#[test]
fn the_replay_begins_with_the_segment_it_is_told() {
    let log = Log::segments(&[2, 3, 1]);
    let read = read_from(&log.disk, 2, SEGMENT_BYTES).unwrap();
    assert_eq!(read.batches, batches(6)[2..]);
    let gone = read_from(&log.disk, 4, SEGMENT_BYTES);
    assert_eq!(gone, Err(bad_segment(4, "segment: it is gone")));
}

#[test]
fn a_log_goes_on_behind_what_was_read() {
    let log = Log::segments(&[2]);
    log.disk.plant(&file_path(1), &vec![0; SEGMENT_BYTES as usize]);
    let end = read(&log.disk).unwrap().end;
    let mut next = Log::behind(log.disk.clone(), end, 1..2);
    next.begin(&batch(2));
    assert_eq!(read(&log.disk).unwrap().batches, batches(3));
}

#[test]
fn a_torn_tail_is_forgotten() {
    // Its header, its records, its block.
    for (offset, is_torn) in [(8, false), (70, true), (4096 + 100, true)] {
        let log = Log::segments(&[4]);
        flip(&log.disk, 0, FIRST + 3 * BATCH + offset);
        let read = read(&log.disk).unwrap();
        assert_eq!(read.batches, batches(3));
        assert_eq!(position(&read), (1, 3, 3, is_torn));
    }
}

#[test]
fn a_bad_batch_before_a_good_one_is_refused_with_its_place() {
    for bad in 1..3 {
        for offset in [8, 70, 4096 + 100] {
            let log = Log::segments(&[4]);
            let place = FIRST + bad * BATCH;
            flip(&log.disk, 0, place + offset);
            let why = bad_batch(1, place, place + BATCH);
            assert_eq!(read(&log.disk), Err(why), "batch {bad} byte {offset}"); // RP1
        }
    }
}

#[test]
fn a_later_batch_is_found_however_far_away() {
    // Two bad ones in front of the good one.
    let log = Log::segments(&[4]);
    flip(&log.disk, 0, FIRST + BATCH + 8);
    flip(&log.disk, 0, FIRST + 2 * BATCH + 8);
    assert_eq!(read(&log.disk), Err(bad_batch(1, FIRST + BATCH, FIRST + 3 * BATCH)));
}

#[test]
fn the_first_batch_of_the_checkpoints_segment_must_be_there() {
    for count in [1, 3] {
        let log = Log::segments(&[count]);
        flip(&log.disk, 0, FIRST + 8);
        let why = "first batch of the checkpoint's segment";
        assert_eq!(read(&log.disk), Err(bad_records(1, FIRST, why)));
    }
}

#[test]
fn a_bad_batch_before_another_segment_is_refused() {
    for bad in 0..3 {
        for offset in [8, 70, 4096 + 100] {
            let log = Log::segments(&[3, 1]);
            let place = FIRST + bad * BATCH;
            flip(&log.disk, 0, place + offset);
            assert_eq!(read(&log.disk), Err(bad_records(1, place, "end of a segment")));
        }
    }
}

#[test]
fn what_stands_behind_the_end_that_the_next_segment_names_is_ignored() {
    for is_cut in [false, true] {
        let mut log = Log::segments(&[3]);
        log.disk.plant(&file_path(1), &vec![0; SEGMENT_BYTES as usize]);
        let end = read(&log.disk).unwrap().end;
        // An append that was cut, or that reached the disk when somebody had gone on.
        log.append(&batch(9));
        if is_cut {
            flip(&log.disk, 0, FIRST + 3 * BATCH + 4096 + 100);
        }
        let mut next = Log::behind(log.disk.clone(), end, 1..2);
        next.begin(&batch(3)).append(&batch(4));
        let read = read(&log.disk).unwrap();
        assert_eq!(read.batches, batches(5));
        assert_eq!(position(&read), (2, 2, 5, false)); // SG2
    }
}

#[test]
fn a_missing_segment_is_refused() {
    let log = Log::segments(&[2, 2, 2]);
    let copy = FakeDisk::new();
    for number in [0, 2] {
        copy.plant(&file_path(number), &log.disk.file_bytes(&file_path(number)).unwrap());
    }
    // Whatever was in it: files are named without a gap.
    assert_eq!(read(&copy), Err(Corruption::LogFile { path: file_path(1) }.into()));
    copy.plant(&file_path(1), &vec![0; SEGMENT_BYTES as usize]);
    let why = "segment: it is gone, but a later one is there";
    assert_eq!(read(&copy), Err(bad_segment(2, why)));
    // The same if its file is there, and both of its headers are bad.
    flip(&log.disk, 1, 20);
    flip(&log.disk, 1, 4096 + 20);
    assert_eq!(read(&log.disk), Err(bad_segment(2, why)));
}

#[test]
fn one_good_header_of_two_is_enough() {
    for offset in HEADER_OFFSETS {
        let log = Log::segments(&[2, 2]);
        flip(&log.disk, 1, offset + 20);
        assert_eq!(read(&log.disk).unwrap().batches, batches(4)); // SG1
    }
}

#[test]
fn two_files_with_one_segment_are_refused() {
    let log = Log::segments(&[2, 2]);
    log.disk.plant(&file_path(2), &log.disk.file_bytes(&file_path(1)).unwrap());
    assert_eq!(read(&log.disk), Err(bad_segment(2, "segment: two files have it")));
}

#[test]
fn a_last_segment_that_lost_its_headers_is_noticed_by_its_second_batch() {
    let lose_headers = |log: &Log| {
        flip(&log.disk, 1, 20);
        flip(&log.disk, 1, 4096 + 20);
    };
    let log = Log::segments(&[2, 2]);
    lose_headers(&log);
    assert_eq!(read(&log.disk), Err(bad_batch(1, FIRST + 2 * BATCH, FIRST + BATCH)));
    // Batch zero is written with the headers: a cut may have lost them and kept it.
    let log = Log::segments(&[2, 1]);
    lose_headers(&log);
    assert_eq!(position(&read(&log.disk).unwrap()), (1, 2, 2, false));
}

#[test]
fn an_empty_last_segment_is_forgotten_and_pointed_out() {
    for offset in [8, 70, 4096 + 100] {
        let log = Log::segments(&[2, 1]);
        flip(&log.disk, 1, FIRST + offset);
        let read = read(&log.disk).unwrap();
        assert_eq!(position(&read), (1, 2, 2, true));
        assert!(read.is_last_empty);
    }
    // Not if something follows.
    let log = Log::segments(&[2, 2]);
    flip(&log.disk, 1, FIRST + 8);
    assert_eq!(read(&log.disk), Err(bad_batch(2, FIRST, FIRST + BATCH)));
}

#[test]
fn the_last_append_is_pointed_out_with_the_header_it_came_with() {
    let last = |counts: &[u32]| {
        let log = Log::segments(counts);
        let mut disk = guarded(&log.disk);
        let files = Files::find(&mut disk, SALT).unwrap();
        let mut replay = Replay::new(&files, (SALT, SEGMENT_BYTES), 1).unwrap();
        while replay.next(&mut disk).unwrap().is_some() {}
        let (_, offset, bytes) = replay.last_append(&mut disk).unwrap().unwrap();
        let file = log.disk.file_bytes(&file_path(counts.len() as u32 - 1)).unwrap();
        assert_eq!(bytes, file[offset as usize..offset as usize + bytes.len()]);
        (offset, bytes.len() as u64)
    };
    assert_eq!(last(&[3]), (FIRST + 2 * BATCH, BATCH)); // RP2
    assert_eq!(last(&[3, 1]), (0, FIRST + BATCH));
}

#[test]
fn a_file_of_another_store_or_of_nobody_holds_no_segment() {
    let log = Log::segments(&[2]);
    let mut disk = guarded(&log.disk);
    let files = Files::find(&mut disk, SALT + 1).unwrap();
    assert_eq!((files.newest(), files.blank.len()), (0, 1)); // FM2
    for name in ["wal/notes", "wal/00000", "wal/1", "wal/+001"] {
        log.disk.plant(name, b"mine");
    }
    let files = Files::find(&mut disk, SALT).unwrap();
    assert_eq!((files.newest(), files.blank.len()), (1, 0));
    assert_eq!(files.strangers, ["wal/+001", "wal/00000", "wal/1", "wal/notes"]);
}

#[test]
fn a_newer_version_is_refused_and_not_taken_for_a_blank_file() {
    let log = Log::segments(&[2]);
    let mut bytes = log.disk.file_bytes(&file_path(0)).unwrap();
    segment::field::VERSION.put(&mut bytes, 2_u16);
    let header = &bytes[..segment::HEADER_BYTES];
    let sum = salted_checksum(SALT, header, segment::field::CHECKSUM);
    segment::field::CHECKSUM.put(&mut bytes, sum);
    log.disk.plant(&file_path(0), &bytes);
    let why = WireError::Version(2);
    assert_eq!(read(&log.disk), Err(Corruption::Segment { segment: 0, why }.into()));
}

/// The log with the header of one batch changed by somebody who knows the salt.
fn with_header(offset: u64, change: impl FnOnce(&mut [u8])) -> FakeDisk {
    let log = Log::segments(&[3]);
    let mut bytes = log.disk.file_bytes(&file_path(0)).unwrap();
    let header = &mut bytes[offset as usize..offset as usize + HEADER_BYTES];
    change(header);
    let sum = salted_checksum(SALT, header, field::CHECKSUM);
    field::CHECKSUM.put(header, sum);
    log.disk.plant(&file_path(0), &bytes);
    log.disk
}

#[test]
fn a_batch_that_does_not_follow_the_one_before_is_refused() {
    let place = FIRST + BATCH;
    let order = Err(bad_records(1, place, "order of batches"));
    assert_eq!(read(&with_header(place, |header| field::NUMBER.put(header, 2_u64))), order);
    assert_eq!(read(&with_header(place, |header| field::PREVIOUS.put(header, 1_u32))), order);
}

#[test]
fn a_length_that_is_only_claimed_is_never_allocated() {
    let place = FIRST + 2 * BATCH;
    let length = Err(bad_records(1, place, "length of a batch"));
    for field in [field::BLOCKS, field::RECORDS_BYTES] {
        assert_eq!(read(&with_header(place, |header| field.put(header, u32::MAX))), length);
    }
    // The last batch as it is, in a segment that is shorter.
    let log = Log::segments(&[3]);
    assert_eq!(read_from(&log.disk, 1, place + BATCH - 4096), length);
    let records = with_header(place, |header| field::RECORDS.put(header, u32::MAX));
    let short = Corruption::Records { segment: 1, offset: place, why: WireError::Short };
    assert_eq!(read(&records), Err(short.into()));
}

/// A block whose bytes are the head of a batch that would come later.
fn forged(salt: u64) -> [u8; BLOCK_BYTES] {
    let encoded = batch(0).encode(Link { salt, segment: 1, number: 9, previous: 0 });
    *encoded.head.first_chunk().unwrap()
}

#[test]
fn a_guest_cannot_make_a_torn_batch_look_like_rot() {
    let torn_with = |bytes: &[u8; BLOCK_BYTES]| {
        let mut log = Log::segments(&[1]);
        log.append(&batch_of(7, bytes));
        flip(&log.disk, 0, FIRST + BATCH + 8);
        read(&log.disk)
    };
    // BT2: it would have to know the salt.
    assert_eq!(position(&torn_with(&forged(SALT + 1)).unwrap()), (1, 1, 1, false));
    assert!(torn_with(&forged(SALT)).is_err(), "the test would not notice");
}

#[test]
fn a_file_that_is_used_again_does_not_show_its_old_batches() {
    let mut log = Log::segments(&[4, 2]);
    log.wal.release(2);
    log.begin(&batch(6));
    let read = read_from(&log.disk, 2, SEGMENT_BYTES).unwrap();
    assert_eq!(read.batches, batches(7)[4..]);
    assert_eq!(position(&read), (3, 1, 3, false));
}

#[test]
fn any_flipped_bit_gives_a_prefix_or_an_error() {
    let mut dice = Dice::new(1);
    let original = Log::segments(&[3, 1, 3]);
    for _ in 0..400 {
        let disk = original.disk.fork();
        let (file, bit) = (dice.below(3) as u32, dice.below(8) as u8);
        assert!(disk.flip_bit(&file_path(file), dice.below(FIRST + 3 * BATCH), bit));
        match read(&disk) {
            Ok(read) => {
                assert!(read.batches.len() >= 6, "a batch that others follow was dropped"); // ST4
                assert_eq!(read.batches, batches(7)[..read.batches.len()]);
            }
            Err(StoreError::Corrupt(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
