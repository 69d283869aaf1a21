//! A file of the log that is gone stops the open: what was in it, nobody knows.

use sheepdog_proto::Oid;
use sheepdog_store::{Corruption, FakeDisk, Store, StoreError};

use crate::history::{small_options, stamp, vid, write};
use crate::model::ask;

#[test]
fn a_log_with_a_file_missing_is_refused_and_left_alone() {
    let disk = FakeDisk::new();
    for sequence in 1..4 {
        let (mut store, _) = Store::open(Box::new(disk.clone()), small_options()).unwrap();
        ask(&mut store, write(Oid::data(vid(1), 0), 0, 1, stamp(1, sequence), 1, sequence));
    }
    let files: Vec<String> =
        disk.paths().into_iter().filter(|path| path.starts_with("wal/")).collect();
    let (_, below_the_last) = files.split_last().unwrap();
    assert!(below_the_last.len() > 2);
    for gone in below_the_last {
        let copy = FakeDisk::new();
        for path in disk.paths().iter().filter(|path| *path != gone) {
            copy.plant(path, &disk.file_bytes(path).unwrap());
        }
        let refused = Store::open(Box::new(copy.clone()), small_options()).err();
        let is_right = matches!(refused, Some(StoreError::Corrupt(Corruption::LogFile { .. })));
        assert!(is_right, "without {gone}: {refused:?}");
        for path in copy.paths() {
            assert!(copy.file_bytes(&path) == disk.file_bytes(&path), "{path} has changed");
        }
    }
}
