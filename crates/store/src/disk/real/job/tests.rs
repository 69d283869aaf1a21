use super::*;

const BLOCK: usize = BLOCK_BYTES;
const FILE: FileId = FileId(1);

fn open_file() -> (tempfile::TempDir, Arc<OpenFile>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    (directory, Arc::new(OpenFile::new(file, "x")))
}

fn job(operation: Operation) -> Job {
    Job::new(Ticket(7), open_file().1, operation).unwrap()
}

fn write(parts: Vec<Payload>, durable: bool) -> Operation {
    Operation::Write { file: FILE, offset: 10, parts, durable, direct: false }
}

fn again(step: Step) -> Job {
    match step {
        Step::Again(job) => job,
        Step::Ended(end) => panic!("over: {end:?}"),
    }
}

fn end(step: Step) -> Result<Outcome, DiskError> {
    match step {
        Step::Again(job) => panic!("not over: {job:?}"),
        Step::Ended(end) => {
            assert_eq!(end.ticket, Ticket(7));
            end.result
        }
    }
}

/// Where the next call writes, and what.
fn asked(job: &mut Job) -> (u64, Vec<Vec<u8>>) {
    match job.call() {
        Call::Write { offset, parts, skip, .. } => {
            (offset, slices(parts, skip).map(<[u8]>::to_vec).collect())
        }
        _ => panic!("a write"),
    }
}

#[test]
fn syncs_and_durable_writes_are_never_repeated() {
    // RJ1
    for error in [Errno::INTR, Errno::AGAIN, Errno::IO] {
        let sync = job(Operation::Sync { file: FILE });
        assert!(matches!(end(sync.advance(Err(error))), Err(DiskError::Io { .. })));
        let durable = job(write(vec![(&b"abc"[..]).into()], true));
        assert!(matches!(end(durable.advance(Err(error))), Err(DiskError::Io { .. })));
    }
}

#[test]
fn other_jobs_are_repeated_when_interrupted_and_end_with_other_errors() {
    let operations: [fn() -> Operation; 3] = [
        || write(vec![(&b"abc"[..]).into()], false),
        || Operation::Read { file: FILE, offset: 0, buffer: Buffer::zeroed(5) },
        || Operation::Punch { file: FILE, offset: 0, len: 5 },
    ];
    for operation in operations {
        let job = again(job(operation()).advance(Err(Errno::INTR)));
        let job = again(job.advance(Err(Errno::AGAIN)));
        let error = end(job.advance(Err(Errno::NOSPC))).unwrap_err();
        assert!(matches!(error, DiskError::Full { path, .. } if path == "x"));
    }
}

#[test]
fn a_short_write_goes_on_where_it_stopped() {
    let parts = ["", "ab", "", "cde", "f", ""].map(|part| part.as_bytes().into()).to_vec();
    let mut job = job(write(parts, true));
    let bytes = |parts: &[&str]| parts.iter().map(|part| part.as_bytes().to_vec()).collect();
    assert_eq!(asked(&mut job), (10, bytes(&["ab", "cde", "f"])));
    let mut job = again(job.advance(Ok(3)));
    assert_eq!(asked(&mut job), (13, bytes(&["de", "f"])));
    let mut job = again(job.advance(Ok(1)));
    assert_eq!(asked(&mut job), (14, bytes(&["e", "f"])));
    let mut job = again(job.advance(Ok(1)));
    assert_eq!(asked(&mut job), (15, bytes(&["f"])));
    assert!(matches!(end(job.advance(Ok(1))), Ok(Outcome::Done)));
}

#[test]
fn a_call_has_no_more_parts_than_the_kernel_takes() {
    let part = Payload::from(&b"xyz"[..]);
    let mut job = job(write(vec![part; 2500], false));
    for (offset, count) in [(10, 1024), (3082, 1024), (6154, 452)] {
        let (at, parts) = asked(&mut job);
        assert_eq!((at, parts.len()), (offset, count));
        match job.advance(Ok(3 * count)) {
            Step::Again(rest) => job = rest,
            Step::Ended(end) => {
                assert_eq!((count, end.result.is_ok()), (452, true));
                return;
            }
        }
    }
    panic!("a fourth call");
}

#[test]
fn a_write_that_gets_nowhere_is_an_error_unless_there_is_nothing_to_write() {
    let stuck = job(write(vec![(&b"abc"[..]).into()], false));
    assert!(end(stuck.advance(Ok(0))).is_err());
    for parts in [Vec::new(), vec![Payload::empty(); 2000]] {
        assert!(end(job(write(parts, true)).advance(Ok(0))).is_ok());
    }
}

#[test]
fn a_read_goes_on_until_the_buffer_is_full_or_the_file_ends() {
    let read = || job(Operation::Read { file: FILE, offset: 3, buffer: Buffer::zeroed(10) });
    let mut half = again(read().advance(Ok(4)));
    assert!(matches!(half.call(), Call::Read { offset: 7, bytes, .. } if bytes.len() == 6));
    assert!(matches!(end(half.advance(Ok(0))), Ok(Outcome::Read(buffer, 4)) if buffer.len() == 10));
    assert!(matches!(end(read().advance(Ok(10))), Ok(Outcome::Read(_, 10))));
    assert!(matches!(end(read().advance(Ok(0))), Ok(Outcome::Read(_, 0))));
}

#[test]
fn a_file_system_that_cannot_punch_is_fine() {
    let punch = job(Operation::Punch { file: FILE, offset: 0, len: 5 });
    assert!(end(punch.advance(Err(Errno::OPNOTSUPP))).is_ok());
}

#[test]
fn the_offset_that_means_something_else_is_refused() {
    let (_directory, file) = open_file();
    for offset in [u64::MAX, i64::MAX as u64 + 1] {
        let punch = Operation::Punch { file: FILE, offset, len: 1 };
        assert_eq!(Job::new(Ticket(7), file.clone(), punch).err(), Some(Errno::INVAL));
        let read = Operation::Read { file: FILE, offset, buffer: Buffer::zeroed(1) };
        assert_eq!(Job::new(Ticket(7), file.clone(), read).err(), Some(Errno::INVAL));
        let parts = vec![(&b"a"[..]).into()];
        let write = Operation::Write { file: FILE, offset, parts, durable: false, direct: false };
        assert_eq!(Job::new(Ticket(7), file.clone(), write).err(), Some(Errno::INVAL));
    }
}

#[test]
fn only_aligned_writes_that_ask_for_it_go_past_the_page_cache() {
    let (_directory, file) = open_file();
    // Whether the file system of this machine's temporary directory can do it at all.
    let possible = open_direct(&file.file).is_some();
    let is_direct = |job: &mut Job| match job.call() {
        Call::Write { file: used, .. } => used.as_raw_fd() != file.file.as_raw_fd(),
        _ => panic!("a write"),
    };
    let job = |offset, parts: Vec<Payload>, direct| {
        let write = Operation::Write { file: FILE, offset, parts, durable: true, direct };
        Job::new(Ticket(7), file.clone(), write).unwrap()
    };
    let blocks = Buffer::zeroed(4 * BLOCK).share();
    let unaligned = [
        job(512, vec![blocks.clone()], true),
        job(0, vec![blocks.slice(0..BLOCK), blocks.slice(0..BLOCK - 1)], true),
        job(0, vec![blocks.slice(512..512 + BLOCK)], true),
        job(0, vec![blocks.clone()], false),
    ];
    for mut job in unaligned {
        assert!(!is_direct(&mut job));
    }
    assert!(file.direct.get().is_none(), "opened only when it is needed");

    let mut aligned = job(BLOCK as u64, vec![blocks.clone(), blocks.slice(0..BLOCK)], true);
    assert_eq!(is_direct(&mut aligned), possible);
    assert_eq!(file.direct.get().map(Option::is_some), Some(possible));
    let mut rest = again(aligned.advance(Ok(2 * BLOCK)));
    assert_eq!(is_direct(&mut rest), possible);
    let mut rest = again(rest.advance(Ok(512)));
    assert!(!is_direct(&mut rest), "a call stopped within a block");
}
