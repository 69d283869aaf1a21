use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sheepdog_proto::{Buffer, Payload};
use tempfile::TempDir;

use super::super::Outcome;
use super::super::fake::Dice;
use super::*;

const BLOCK: usize = 4096;
/// What a test waits for an event before it fails.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Runs a test with every engine of this machine, on every kind of file system it is sure to have.
fn everywhere(test: impl Fn(&TempDir, RealDisk)) {
    let memory = Path::new("/dev/shm");
    for engine in [Engine::Probe, Engine::Threads] {
        let mut directories = vec![tempfile::tempdir().unwrap()];
        if memory.is_dir() {
            directories.push(tempfile::tempdir_in(memory).unwrap());
        }
        for directory in directories {
            let disk = RealDisk::with_engine(directory.path(), engine).unwrap();
            test(&directory, disk);
        }
    }
}

fn write(file: FileId, offset: u64, parts: Vec<Payload>) -> Operation {
    Operation::Write { file, offset, parts, durable: false, direct: false }
}

fn read(file: FileId, offset: u64, len: usize) -> Operation {
    Operation::Read { file, offset, buffer: Buffer::zeroed(len) }
}

fn bytes(seed: u64, len: usize) -> Buffer {
    let mut dice = Dice::new(seed);
    let mut buffer = Buffer::zeroed(len);
    buffer.fill_with(|| dice.roll() as u8);
    buffer
}

/// Submits one operation and waits for its end.
fn run(disk: &mut RealDisk, operation: Operation) -> Result<Outcome, DiskError> {
    let mut ended = Vec::new();
    disk.submit(Ticket(99), operation);
    disk.reap(true, &mut ended);
    assert_eq!((ended.len(), ended[0].ticket), (1, Ticket(99)));
    let end = ended.remove(0);
    end.result
}

fn run_read(disk: &mut RealDisk, file: FileId, offset: u64, len: usize) -> Vec<u8> {
    match run(disk, read(file, offset, len)) {
        Ok(Outcome::Read(buffer, count)) => {
            assert_eq!(buffer.len(), len);
            buffer[..count].to_vec()
        }
        other => panic!("{other:?}"),
    }
}

/// Whether the wake-up is readable, or becomes so in this time.
fn is_awake(disk: &RealDisk, timeout: &Timespec) -> bool {
    let wakeup = disk.wakeup().unwrap();
    let mut polled = [PollFd::new(&wakeup, PollFlags::IN)];
    loop {
        match poll(&mut polled, Some(timeout)) {
            Ok(count) => return count > 0,
            Err(Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_ring_is_used_where_it_works_and_threads_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let start = |engine| RealDisk::with_engine(directory.path(), engine);
    let engine = |engine| start(engine).map(|disk| disk.engine());
    assert_eq!(engine(Engine::Threads).unwrap(), Engine::Threads);
    let best = engine(Engine::Ring).unwrap_or(Engine::Threads);
    assert_eq!(engine(Engine::Probe).unwrap(), best);
    assert_eq!(RealDisk::new(directory.path()).unwrap().engine(), best);
}

#[test]
fn what_was_written_in_many_parts_is_read_back() {
    everywhere(|_, mut disk| {
        let file = disk.create("x").unwrap();
        let all = bytes(1, 200_000).share();
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < all.len() {
            let end = (at + parts.len() % 97).min(all.len());
            parts.push(all.slice(at..end));
            at = end;
        }
        assert!(parts.len() > 2 * PARTS_MAX && parts.iter().any(|part| part.is_empty()));
        run(&mut disk, write(file, 5, parts)).unwrap();
        assert_eq!(run_read(&mut disk, file, 5, all.len()), *all);
        assert_eq!(disk.len(file).unwrap(), 200_005);
    });
}

#[test]
fn durable_and_direct_writes_of_any_alignment_arrive() {
    everywhere(|_, mut disk| {
        let file = disk.create("x").unwrap();
        let mut expected = vec![0; 64 * BLOCK];
        let source = bytes(2, 8 * BLOCK).share();
        let mut dice = Dice::new(3);
        for round in 0..60 {
            let (durable, direct) = (round % 2 == 0, round % 3 != 0);
            let step = if round % 4 == 0 { 1 } else { BLOCK };
            let offset = dice.below((56 * BLOCK / step) as u64) as usize * step;
            let start = dice.below((4 * BLOCK / step) as u64) as usize * step;
            let end = start + dice.below((4 * BLOCK / step) as u64) as usize * step;
            let middle = start + (end - start) / step / 2 * step;
            let parts = vec![source.slice(start..middle), source.slice(middle..end)];
            let offset_bytes = offset as u64;
            let write = Operation::Write { file, offset: offset_bytes, parts, durable, direct };
            run(&mut disk, write).unwrap();
            expected[offset..offset + end - start].copy_from_slice(&source[start..end]);
        }
        run(&mut disk, Operation::Sync { file }).unwrap();
        let len = disk.len(file).unwrap() as usize;
        assert_eq!(run_read(&mut disk, file, 0, expected.len()), expected[..len]);
        let mut waited = vec![0; len];
        disk.read_at(file, 0, &mut waited).unwrap();
        assert_eq!(waited, expected[..len]);
    });
}

#[test]
fn a_read_ends_where_the_file_ends() {
    everywhere(|_, mut disk| {
        let file = disk.create("x").unwrap();
        assert_eq!(run_read(&mut disk, file, 0, 10), b"");
        run(&mut disk, write(file, 0, vec![(&b"abcdef"[..]).into()])).unwrap();
        assert_eq!(run_read(&mut disk, file, 0, 6), b"abcdef");
        assert_eq!(run_read(&mut disk, file, 4, 100), b"ef");
        assert_eq!(run_read(&mut disk, file, 6, 100), b"");
        assert_eq!(run_read(&mut disk, file, 1 << 40, 100), b"");
        assert_eq!(run_read(&mut disk, file, 0, 0), b"");
    });
}

#[test]
fn an_empty_write_ends_too() {
    everywhere(|_, mut disk| {
        let file = disk.create("x").unwrap();
        run(&mut disk, write(file, 3, Vec::new())).unwrap();
        run(&mut disk, write(file, 3, vec![Payload::empty(); 3])).unwrap();
        assert_eq!(disk.len(file).unwrap(), 0);
    });
}

#[test]
fn a_punched_range_gives_its_blocks_back_and_reads_as_zeros() {
    everywhere(|directory, mut disk| {
        let file = disk.create("x").unwrap();
        run(&mut disk, write(file, 0, vec![bytes(4, 64 * BLOCK).share()])).unwrap();
        run(&mut disk, Operation::Sync { file }).unwrap();
        let blocks = || fs::metadata(directory.path().join("x")).unwrap().blocks();
        let before = blocks();
        let punch = Operation::Punch { file, offset: BLOCK as u64, len: 32 * BLOCK as u64 };
        run(&mut disk, punch).unwrap();
        // Asked once more without our help: only a file system that cannot do it may keep them.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let open = &disk.files[&file];
        let is_able = fallocate(&open.file, flags, BLOCK as u64, BLOCK as u64).is_ok();
        let freed = before - blocks();
        assert_eq!(freed >= 32 * BLOCK as u64 / 512, is_able, "{freed} blocks");
        let is_zero = run_read(&mut disk, file, BLOCK as u64, 32 * BLOCK) == [0; 32 * BLOCK];
        assert_eq!(is_zero, is_able);
        assert_eq!(disk.len(file).unwrap(), 64 * BLOCK as u64);
    });
}

#[test]
fn every_operation_on_a_closed_file_ends_with_an_error() {
    everywhere(|_, mut disk| {
        let file = disk.create("x").unwrap();
        let open = disk.create("y").unwrap();
        disk.close(file);
        let operations = [
            write(file, 0, vec![(&b"a"[..]).into()]),
            read(file, 0, 1),
            Operation::Sync { file },
            Operation::Punch { file, offset: 0, len: 1 },
            read(open, u64::MAX, 1),
        ];
        for operation in operations {
            assert!(!is_awake(&disk, &Timespec::default()));
            disk.submit(Ticket(1), operation);
            assert!(is_awake(&disk, &Timespec::default()), "a refusal wakes as an end does");
            let mut ended = Vec::new();
            disk.reap(true, &mut ended);
            assert!(matches!(ended[..], [Ended { ticket: Ticket(1), result: Err(_) }]));
        }
        assert!(!is_awake(&disk, &Timespec::default()));
        run(&mut disk, write(open, 0, vec![(&b"a"[..]).into()])).unwrap();
    });
}

#[test]
fn errors_of_the_kernel_are_sorted() {
    everywhere(|directory, mut disk| {
        fs::write(directory.path().join("x"), b"abc").unwrap();
        let file = disk.keep("x", File::open(directory.path().join("x")).unwrap());
        let error = run(&mut disk, write(file, 0, vec![(&b"a"[..]).into()])).unwrap_err();
        assert!(matches!(error, DiskError::Io { operation: "write", path, .. } if path == "x"));
        assert_eq!(run_read(&mut disk, file, 0, 9), b"abc");
        // A device that is always full.
        let file = disk.keep("full", File::options().write(true).open("/dev/full").unwrap());
        let error = run(&mut disk, write(file, 0, vec![(&b"a"[..]).into()])).unwrap_err();
        assert!(matches!(error, DiskError::Full { .. }), "{error}");
    });
}

#[test]
fn a_file_that_is_closed_under_way_takes_what_was_submitted() {
    everywhere(|directory, mut disk| {
        let file = disk.create("x").unwrap();
        disk.submit(Ticket(1), write(file, 0, vec![(&b"abc"[..]).into()]));
        disk.close(file);
        let mut ended = Vec::new();
        disk.reap(true, &mut ended);
        assert!(ended[0].result.is_ok());
        assert_eq!(fs::read(directory.path().join("x")).unwrap(), b"abc");
    });
}

/// Collects this many ends, alternately by waiting and by the wake-up.
fn collect(disk: &mut RealDisk, count: usize) -> Vec<Ended> {
    let mut ended = Vec::new();
    let mut wait = false;
    while ended.len() < count {
        let before = ended.len();
        disk.reap(wait, &mut ended);
        assert!(!wait || ended.len() > before, "waited for nothing");
        if ended.len() == before {
            assert!(is_awake(disk, &PATIENCE), "{} of {count} ended", ended.len());
        }
        wait = !wait;
    }
    assert_eq!(ended.len(), count);
    ended
}

#[test]
fn hundreds_of_operations_under_way_all_end_once_and_right() {
    const COUNT: u64 = 900;
    everywhere(|_, mut disk| {
        let files = ["a", "b", "c"].map(|name| disk.create(name).unwrap());
        let place = |n: u64| (files[(n % 3) as usize], n / 3 * BLOCK as u64);
        let mut order: Vec<u64> = (0..COUNT).collect();
        let mut dice = Dice::new(5);
        order.sort_by_cached_key(|_| dice.roll());
        for n in &order {
            let (file, offset) = place(*n);
            let (durable, direct) = (n % 16 == 0, n % 5 == 0);
            let parts = vec![bytes(*n, BLOCK).share()];
            let write = Operation::Write { file, offset, parts, durable, direct };
            disk.submit(Ticket(*n), write);
            if n % 50 == 0 {
                disk.submit(Ticket(COUNT + n), Operation::Sync { file });
            }
        }
        let tickets = |ended: &[Ended]| -> BTreeSet<u64> {
            assert!(ended.iter().all(|end| end.result.is_ok()), "{ended:?}");
            ended.iter().map(|end| end.ticket.0).collect()
        };
        let count = (COUNT + COUNT / 50) as usize;
        assert_eq!(tickets(&collect(&mut disk, count)).len(), count);

        order.sort_by_cached_key(|_| dice.roll());
        for n in &order {
            let (file, offset) = place(*n);
            disk.submit(Ticket(*n), read(file, offset, BLOCK));
        }
        let ended = collect(&mut disk, COUNT as usize);
        assert_eq!(tickets(&ended), (0..COUNT).collect());
        for end in ended {
            match end.result {
                Ok(Outcome::Read(buffer, BLOCK)) => {
                    assert_eq!(*buffer, *bytes(end.ticket.0, BLOCK), "block {}", end.ticket.0);
                }
                other => panic!("{other:?}"),
            }
        }
        let mut ended = Vec::new();
        disk.reap(true, &mut ended);
        assert!(ended.is_empty(), "with nothing under way it does not wait");
    });
}

/// Descriptors of this process that refer to something in the directory.
fn descriptors_in(directory: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let targets = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
    targets.filter(|target| target.starts_with(directory)).count()
}

#[test]
fn a_disk_can_be_dropped_with_operations_under_way() {
    everywhere(|directory, mut disk| {
        let file = disk.create("x").unwrap();
        let block = bytes(6, 16 * BLOCK).share();
        for n in 0..600 {
            let operation = match n % 4 {
                0 => read(file, n / 2 * BLOCK as u64, 16 * BLOCK),
                1 => Operation::Sync { file },
                _ => Operation::Write {
                    file,
                    offset: n * BLOCK as u64,
                    parts: vec![block.clone()],
                    durable: n % 8 == 2,
                    direct: n % 8 == 3,
                },
            };
            disk.submit(Ticket(n), operation);
            if n == 300 {
                disk.reap(false, &mut Vec::new());
            }
        }
        assert!(descriptors_in(directory.path()) > 0);
        drop(disk);
        assert_eq!(descriptors_in(directory.path()), 0, "nothing holds the file any more");
    });
}

#[test]
fn an_end_wakes_and_a_reap_puts_back_to_sleep() {
    everywhere(|_, mut disk| {
        let file = disk.create("x").unwrap();
        assert!(!is_awake(&disk, &Timespec::default()));
        for round in 0..50 {
            disk.submit(Ticket(1), write(file, round, vec![(&b"abc"[..]).into()]));
            disk.submit(Ticket(2), Operation::Sync { file });
            let mut ended = Vec::new();
            disk.reap(false, &mut ended);
            while ended.len() < 2 {
                assert!(is_awake(&disk, &PATIENCE), "nobody wakes us");
                disk.reap(false, &mut ended);
            }
            // The ring may count a completion a moment after it was collected.
            let asleep = (0..100).any(|_| {
                disk.reap(false, &mut ended);
                !is_awake(&disk, &Timespec::default())
            });
            assert!(asleep, "awake for nothing");
        }
    });
}

#[test]
fn a_late_count_does_not_keep_the_ring_awake() {
    let directory = tempfile::tempdir().unwrap();
    let Ok(mut disk) = RealDisk::with_engine(directory.path(), Engine::Ring) else {
        assert_eq!(RealDisk::new(directory.path()).unwrap().engine(), Engine::Threads);
        return;
    };
    for _ in 0..3 {
        rustix::io::write(disk.wakeup().unwrap(), &1_u64.to_ne_bytes()).unwrap();
        let mut ended = Vec::new();
        let reaps = (0..20).take_while(|_| {
            disk.reap(false, &mut ended);
            is_awake(&disk, &Timespec::default())
        });
        assert!(reaps.count() < 16);
        assert!(ended.is_empty());
    }
}

#[test]
fn a_disk_works_on_any_thread() {
    everywhere(|_, mut disk| {
        let file = disk.create("x").unwrap();
        let block = bytes(8, BLOCK);
        let copy = Buffer::copy_of(&block).share();
        let there = thread::spawn(move || {
            for n in 0..20 {
                disk.submit(Ticket(n), write(file, n * BLOCK as u64, vec![copy.clone()]));
                disk.submit(Ticket(100 + n), Operation::Sync { file });
            }
            let ended = collect(&mut disk, 40);
            assert!(ended.iter().all(|end| end.result.is_ok()), "{ended:?}");
            disk
        });
        let mut disk = there.join().unwrap();
        assert_eq!(run_read(&mut disk, file, 19 * BLOCK as u64, BLOCK), *block);
        run(&mut disk, Operation::Sync { file }).unwrap();
    });
}
