//! What the tests of the parts share: scratch directories, committed bytes, documented tables,
//! a stranger on the socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::directory::Directory;
use super::frame::{Frame, FrameReader, NOTICE_BYTES_MAX};

pub(super) const GOLDEN: &str = "golden/v1";

pub(super) fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN).join(name)
}

/// Compares with the committed bytes. With `SHEEPDOG_GOLDEN_WRITE` set, a missing file is made.
pub(super) fn check_golden(name: &str, bytes: &[u8]) {
    let path = golden_path(name);
    if !path.exists() && std::env::var_os("SHEEPDOG_GOLDEN_WRITE").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}: this format is on users' disks");
}

/// The layout has no gap, and the page that documents it has the same table.
pub(super) fn check_page(heading: &str, layout: &[(&str, usize, usize)], bytes: usize) {
    let mut table =
        format!("## {heading}\n\n| byte | bytes | field | meaning |\n|---|---|---|---|\n");
    let page = include_str!("../../../../docs/formats/coordination-log.md");
    let (_, page) = page.split_once(&table).unwrap_or_else(|| panic!("no table {heading}"));
    let mut next = 0;
    let mut lines = page.lines();
    for (name, start, length) in layout {
        assert_eq!(*start, next, "{name}");
        next += length;
        table = format!("| {start} | {length} | {name} | ");
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with(&table), "{line}\nshould begin with\n{table}");
    }
    assert_eq!(next, bytes);
    assert!(!lines.next().unwrap_or_default().starts_with('|'), "{heading} has more lines");
}

/// A fresh shared directory.
pub(super) fn scratch() -> (tempfile::TempDir, Directory) {
    let keep = tempfile::tempdir().unwrap();
    let directory = Directory::open(&keep.path().join("shared")).unwrap();
    (keep, directory)
}

/// Ends a test that hangs; no test waits for time to pass.
pub(super) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("the test hangs")
}

/// Says hello as `session` and gives what the server answers.
pub(super) async fn greet(directory: &Directory, session: u128) -> (UnixStream, Option<Frame>) {
    greet_with(directory, Frame::Hello { session }.encode()).await
}

/// A greeting as a later version would send it.
pub(super) fn other_version(session: u128) -> Vec<u8> {
    let mut bytes = Frame::Hello { session }.encode();
    bytes[1] = 2;
    let sum = sheepdog_proto::block::checksum(&bytes[..12]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    bytes
}

pub(super) async fn greet_with(
    directory: &Directory,
    greeting: Vec<u8>,
) -> (UnixStream, Option<Frame>) {
    let mut stream = UnixStream::connect(directory.socket_path()).await.unwrap();
    stream.write_all(&greeting).await.unwrap();
    let answer = bounded(FrameReader::new(&mut stream, NOTICE_BYTES_MAX).next()).await.unwrap();
    (stream, answer)
}
