use super::*;
use crate::local::fixture::{GOLDEN, golden_path, scratch};
use crate::local::record::Token;
use crate::local::trail::Position;
use crate::local::writer::Draft;

fn draft(session: u128, sequence: u64, payload: &[u8]) -> Draft {
    Draft { session, token: Token { life: 1, sequence }, payload: Arc::from(payload) }
}

/// Three batches, of two, one and three entries.
fn batches() -> Vec<Vec<Draft>> {
    vec![
        vec![draft(1, 1, b"one"), draft(2, 1, b"two, which is longer")],
        vec![draft(1, 2, b"")],
        vec![draft(2, 2, b"four"), draft(1, 3, b"five...."), draft(2, u64::MAX, b"a will")],
    ]
}

/// Writes the batches; gives the position behind each.
fn write(directory: &Directory, batches: &[Vec<Draft>]) -> Vec<Position> {
    let (mut writer, _) = recover(directory).unwrap();
    batches.iter().map(|batch| writer.append(batch.iter()).unwrap()).collect()
}

fn recover(directory: &Directory) -> Result<(LogWriter, Trail), LogError> {
    let lock = ServerLock::try_take(directory).unwrap().expect("the lock is free");
    take_over(directory, lock, Trail::default())
}

fn payloads(directory: &Directory) -> Result<Vec<Vec<u8>>, LogError> {
    let (_, trail) = recover(directory)?;
    let file = Arc::new(directory.open_log()?);
    assert_eq!(file.metadata().unwrap().len(), trail.position.offset);
    let mut reader = LogReader::new(file, &directory.log_path(), Trail::default());
    let mut payloads = Vec::new();
    while let Some(record) = reader.next(trail.position)? {
        payloads.push(record.payload.to_vec());
    }
    Ok(payloads)
}

fn all() -> Vec<Vec<u8>> {
    batches().into_iter().flatten().map(|draft| draft.payload.to_vec()).collect()
}

#[test]
fn a_whole_log_is_recovered_whole() {
    let (_keep, directory) = scratch();
    write(&directory, &batches());
    let before = std::fs::read(directory.log_path()).unwrap();
    assert_eq!(payloads(&directory).unwrap(), all());
    assert_eq!(std::fs::read(directory.log_path()).unwrap(), before);
}

#[test]
fn a_log_torn_at_any_byte_of_its_last_batch_keeps_what_is_whole() {
    let (_keep, directory) = scratch();
    let ends = write(&directory, &batches());
    let bytes = std::fs::read(directory.log_path()).unwrap();
    let mut kept = Vec::new();
    for length in ends[1].offset as usize..bytes.len() {
        std::fs::write(directory.log_path(), &bytes[..length]).unwrap();
        let payloads = payloads(&directory).unwrap();
        assert_eq!(payloads, all()[..payloads.len()]);
        kept.push(payloads.len());
    }
    assert_eq!((kept[0], kept[kept.len() - 1]), (3, 5));
    assert!(kept.is_sorted());
}

#[test]
fn a_hole_in_the_last_batch_is_torn_although_sound_records_follow() {
    let (_keep, directory) = scratch();
    let ends = write(&directory, &batches());
    let mut bytes = std::fs::read(directory.log_path()).unwrap();
    // Power loss may keep later blocks of an unfinished write and lose earlier ones.
    bytes[ends[1].offset as usize..][..40].fill(0);
    std::fs::write(directory.log_path(), &bytes).unwrap();
    assert_eq!(payloads(&directory).unwrap(), all()[..3]);
}

#[test]
fn damage_to_what_was_durable_is_refused_and_nothing_is_cut() {
    let (_keep, directory) = scratch();
    let ends = write(&directory, &batches());
    let good = std::fs::read(directory.log_path()).unwrap();
    for byte in 0..ends[1].offset as usize {
        let mut bad = good.clone();
        bad[byte] ^= 1 << (byte % 8);
        std::fs::write(directory.log_path(), &bad).unwrap();
        let outcome = payloads(&directory);
        assert!(matches!(outcome, Err(LogError::Corrupt { .. })), "byte {byte}: {outcome:?}"); // V1
        assert_eq!(std::fs::read(directory.log_path()).unwrap(), bad);
    }
}

#[test]
fn damage_to_the_last_batch_never_changes_an_entry() {
    let (_keep, directory) = scratch();
    let ends = write(&directory, &batches());
    let good = std::fs::read(directory.log_path()).unwrap();
    for byte in ends[1].offset as usize..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 1 << (byte % 8);
        std::fs::write(directory.log_path(), &bad).unwrap();
        let payloads = payloads(&directory).unwrap();
        assert!((3..6).contains(&payloads.len()), "byte {byte}");
        assert_eq!(payloads, all()[..payloads.len()]);
    }
}

#[test]
fn records_that_are_missing_doubled_or_swapped_are_refused() {
    let (_keep, directory) = scratch();
    let ends = write(&directory, &batches());
    let bytes = std::fs::read(directory.log_path()).unwrap();
    let (first, second) = (ends[0].offset as usize, ends[1].offset as usize);
    let without = [&bytes[..first], &bytes[second..]].concat();
    let doubled = [&bytes[..second], &bytes[first..]].concat();
    let swapped = [&bytes[first..second], &bytes[..first], &bytes[second..]].concat();
    for bad in [without, doubled, swapped] {
        std::fs::write(directory.log_path(), &bad).unwrap();
        assert!(matches!(payloads(&directory), Err(LogError::Corrupt { .. })));
    }
}

#[test]
fn an_append_that_stands_twice_is_refused() {
    let (_keep, directory) = scratch();
    write(&directory, &[vec![draft(1, 1, b"x"), draft(1, 1, b"x")]]);
    assert!(matches!(payloads(&directory), Err(LogError::Corrupt { .. }))); // T2
}

#[test]
fn the_records_after_a_recovery_prove_those_before() {
    let (_keep, directory) = scratch();
    write(&directory, &batches());
    let end = std::fs::metadata(directory.log_path()).unwrap().len();
    let (mut writer, _) = recover(&directory).unwrap();
    writer.append([draft(3, 1, b"next")].iter()).unwrap();
    drop(writer);
    let mut bytes = std::fs::read(directory.log_path()).unwrap();
    bytes[end as usize - 1] ^= 1;
    std::fs::write(directory.log_path(), &bytes).unwrap();
    assert!(matches!(payloads(&directory), Err(LogError::Corrupt { .. }))); // R3
}

#[test]
fn a_log_shorter_than_a_member_has_read_is_refused() {
    let (_keep, directory) = scratch();
    write(&directory, &batches());
    let (writer, known) = recover(&directory).unwrap();
    drop(writer);
    let file = directory.open_log().unwrap();
    file.set_len(known.position.offset - 8).unwrap();
    let lock = ServerLock::try_take(&directory).unwrap().unwrap();
    assert!(matches!(take_over(&directory, lock, known), Err(LogError::Corrupt { .. }))); // L4
}

#[test]
fn a_writer_that_cannot_write_says_so_and_is_not_used_again() {
    let (_keep, directory) = scratch();
    let lock = ServerLock::try_take(&directory).unwrap().unwrap();
    drop(directory.open_log().unwrap());
    let read_only = Arc::new(File::open(directory.log_path()).unwrap());
    let path = directory.log_path();
    let mut writer = LogWriter::new(read_only, path, lock, Position::default());
    let batch = [draft(1, 1, b"x")];
    assert!(matches!(writer.append(batch.iter()), Err(LogError::Io { .. })));
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = writer.append(batch.iter());
    }));
    assert!(again.is_err()); // A2
}

#[test]
fn the_lock_has_one_holder() {
    let (_keep, directory) = scratch();
    let lock = ServerLock::try_take(&directory).unwrap();
    assert!(lock.is_some());
    assert!(ServerLock::try_take(&directory).unwrap().is_none());
    drop(lock);
    assert!(ServerLock::try_take(&directory).unwrap().is_some());
}

#[test]
fn logs_of_the_first_version_are_read_and_written_unchanged() {
    let (_keep, directory) = scratch();
    write(&directory, &batches());
    let bytes = std::fs::read(directory.log_path()).unwrap();
    crate::local::fixture::check_golden("log", &bytes);
    // And the committed file itself is good for reading and for appending.
    let (_keep, directory) = scratch();
    std::fs::copy(golden_path("log"), directory.log_path()).unwrap();
    assert_eq!(payloads(&directory).unwrap(), all());
    let (mut writer, trail) = recover(&directory).unwrap();
    assert_eq!((trail.position.index, trail.authors.last(1).sequence), (6, 3), "{GOLDEN}");
    writer.append([draft(3, 1, b"next")].iter()).unwrap();
    drop(writer);
    assert_eq!(payloads(&directory).unwrap().len(), 7);
}
