//! `dog vdi read` and `dog vdi write`: bytes, holes, ranges, locks.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use sheepdog_client::admin::types::{ErrorCode, Failure, Holder};

use crate::fake::{Answer, Asked, Fake, json, run, vdis};

const SIZE: usize = 9 << 20;

/// Memory behind the VDI `disk`.
type Memory = Arc<Mutex<Vec<u8>>>;

fn query(asked: &Asked, key: &str) -> Option<usize> {
    let (_, query) = asked.path.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

fn answer(memory: &Memory, asked: &Asked) -> Option<Answer> {
    if (asked.method.as_str(), asked.path.as_str()) == ("GET", "/v1/vdis/disk") {
        let mut vdi = vdis().remove(1);
        vdi.size = SIZE as u64;
        return Some(json(200, &vdi));
    }
    if !asked.path.starts_with("/v1/vdis/disk/data?") {
        return None;
    }
    let offset = query(asked, "offset").unwrap();
    let length = query(asked, "length").unwrap_or(asked.body.len());
    assert!(asked.method == "DELETE" || length <= 4 << 20, "{length}");
    let mut memory = memory.lock().unwrap();
    let bytes = &mut memory[offset..offset + length];
    match asked.method.as_str() {
        "GET" if bytes.iter().all(|byte| *byte == 0) => return Some((204, Vec::new())),
        "GET" => return Some((200, bytes.to_vec())),
        "DELETE" => bytes.fill(0),
        "PUT" => bytes.copy_from_slice(&asked.body),
        other => panic!("{other}"),
    }
    Some((204, Vec::new()))
}

fn disk() -> (Fake, Memory) {
    let memory: Memory = Arc::new(Mutex::new(vec![0; SIZE]));
    let behind = memory.clone();
    (Fake::start(Box::new(move |asked| answer(&behind, asked))), memory)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 4096 * 7 + i % 251) as u8).collect()
}

#[test]
fn what_is_written_is_read_back() {
    let (fake, memory) = disk();
    let bytes = pattern(SIZE);
    let output = fake.dog_with("vdi write disk", &bytes);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(*memory.lock().unwrap() == bytes, "the bytes arrived");
    let output = fake.dog("vdi read disk");
    assert!(output.status.success() && output.stdout == bytes);
    assert_eq!(fake.asked("PUT").len(), 3, "4 MiB at a time");
    let released = fake.asked("POST").iter().filter(|a| a.path.ends_with("/release")).count();
    assert_eq!(released, 2, "after the write and after the read");
}

#[test]
fn ranges_begin_and_end_where_they_are_told() {
    let (fake, memory) = disk();
    let output = fake.dog_with("vdi write disk 4194300 10", b"0123456789abc");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(&memory.lock().unwrap()[4_194_299..4_194_311], b"\x000123456789\0");
    let output = fake.dog("vdi read disk 4194301 5");
    assert_eq!(output.stdout, b"12345");
    let output = fake.dog("vdi read disk 8M");
    assert_eq!(output.stdout.len(), 1 << 20);
    let output = fake.dog("vdi read disk 9M");
    assert!(output.status.success() && output.stdout.is_empty());
}

#[test]
fn ranges_past_the_end_are_refused_before_anything_is_written() {
    let (fake, _) = disk();
    for line in ["vdi read disk 10M", "vdi read disk 8M 2M", "vdi write disk 9M 1"] {
        let output = fake.dog(line);
        assert_eq!(output.status.code(), Some(1), "{line}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("past the end") && told.contains("dog vdi resize"), "{told}");
    }
    assert!(fake.asked("PUT").is_empty());
}

#[test]
fn input_that_is_too_long_or_too_short_is_a_failure() {
    let (fake, memory) = disk();
    let output = fake.dog_with("vdi write disk 8M", &pattern((1 << 20) + 1));
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("stdin is longer") && told.contains("1048576 bytes from"), "{told}");
    let output = fake.dog_with("vdi write disk 0 100", b"short");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("95 bytes too early") && told.contains("5 bytes from"), "{told}");
    assert_eq!(&memory.lock().unwrap()[..6], b"short\0");

    // A file tells its length: nothing is written at all.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    std::fs::write(&path, vec![1; SIZE + 1]).unwrap();
    let puts = fake.asked("PUT").len();
    let status = Command::new(env!("CARGO_BIN_EXE_dog"))
        .args(["vdi", "write", "disk", "-p", &fake.port.to_string()])
        .stdin(std::fs::File::open(&path).unwrap())
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
    assert_eq!(fake.asked("PUT").len(), puts);
}

#[test]
fn zeros_are_not_carried_around() {
    let (fake, memory) = disk();
    memory.lock().unwrap().fill(9);
    let mut bytes = vec![0; SIZE];
    bytes[SIZE - 1] = 1;
    let output = fake.dog_with("vdi write disk", &bytes);
    assert!(output.status.success(), "{output:?}");
    assert!(*memory.lock().unwrap() == bytes);
    assert_eq!((fake.asked("DELETE").len(), fake.asked("PUT").len()), (2, 1));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let status = Command::new(env!("CARGO_BIN_EXE_dog"))
        .args(["vdi", "read", "disk", "-p", &fake.port.to_string()])
        .stdout(std::fs::File::create(&path).unwrap())
        .status();
    assert!(status.unwrap().success());
    assert!(std::fs::read(&path).unwrap() == bytes);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap());
    assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
}

fn locked(node: u16, admin: String) -> Answer {
    let holder = Some(Holder { node, admin, since_ms: 1_795_426_194_000, generation: 4 });
    let (code, message) = (ErrorCode::Locked, "the VDI is locked".to_owned());
    json(423, &Failure { code, message, hint: None, holder })
}

#[test]
fn data_requests_go_to_the_holder_once() {
    let (holder, memory) = disk();
    let admin = format!("127.0.0.1:{}", holder.port);
    let asked_first = Fake::start(Box::new(move |asked| {
        if asked.path.contains("/data?") {
            return Some(locked(1, admin.clone()));
        }
        answer(&Memory::default(), asked)
    }));
    let bytes = pattern(SIZE);
    let output = asked_first.dog_with("vdi write disk", &bytes);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(*memory.lock().unwrap() == bytes);
    assert_eq!(asked_first.dog("vdi read disk 1M 1M").stdout, bytes[1 << 20..2 << 20]);
    assert!(holder.asked("POST").iter().any(|asked| asked.path.ends_with("/release")));
}

#[test]
fn a_lock_that_the_holder_keeps_names_the_holder() {
    let fake = Fake::start(Box::new(|asked| {
        if asked.path.contains("/data?") {
            return Some(locked(2, "127.0.0.1:1".into()));
        }
        answer(&Memory::default(), asked)
    }));
    let output = fake.dog_with("vdi write disk", b"x");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("cannot be reached from here"), "{told}");
    assert!(told.contains("Node 2 (127.0.0.1:1) has it open since 2026-11-23 09:29:54"), "{told}");
    assert!(told.contains("(0 bytes from offset 0 are written"), "{told}");
}

#[test]
fn an_interrupted_write_tells_how_far_it_came() {
    let (fake, _) = disk();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dog"))
        .args(["vdi", "write", "disk", "-p", &fake.port.to_string()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &pattern(8 << 20)).unwrap();
    // The program is past its start once it has sent something.
    for _ in 0..20_000 {
        if fake.asked("PUT").len() == 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(fake.asked("PUT").len(), 2);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(130));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("interrupted") && told.contains("bytes from offset 0"), "{told}");
    assert!(fake.asked("POST").iter().any(|asked| asked.path.ends_with("/release")));
}

#[test]
fn a_reader_that_goes_away_is_a_failure() {
    let (fake, memory) = disk();
    memory.lock().unwrap().fill(1);
    let mut child = Command::new(env!("CARGO_BIN_EXE_dog"))
        .args(["vdi", "read", "disk", "-p", &fake.port.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_name_with_odd_letters_reaches_the_sheep_whole() {
    let (fake, _) = disk();
    let name = "a b/c%ü\\".to_owned();
    run(["vdi".into(), "delete".into(), name, "-p".into(), fake.port.to_string()], b"");
    assert_eq!(fake.asked("DELETE")[0].path, "/v1/vdis/a%20b%2Fc%25%C3%BC%5C");
}
