use super::*;
use crate::{Options, Store, StoreError};

const NODE: u128 = 7;

fn make(path: &Path) -> DiskDirectory {
    fs::create_dir_all(path).unwrap();
    DiskDirectory::create(path, NODE, false).unwrap()
}

fn refused(result: Result<DiskDirectory, HomeError>) -> HomeError {
    result.map(|directory| directory.uuid()).unwrap_err()
}

#[test]
fn a_disk_is_known_again_and_by_its_own_sheep_only() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("disk");
    let uuid = make(&path).uuid();
    assert_eq!(DiskDirectory::identity(&path).unwrap(), Some(uuid));
    assert_eq!(DiskDirectory::open(&path, NODE, uuid).unwrap().uuid(), uuid);
    let other = refused(DiskDirectory::open(&path, 8, uuid));
    assert!(matches!(other, HomeError::OtherDisk { .. }), "{other}"); // DD2
    let other = refused(DiskDirectory::open(&path, NODE, uuid + 1));
    assert!(matches!(other, HomeError::OtherDisk { .. }), "{other}");
    let other = refused(DiskDirectory::create(&path, 8, true));
    assert!(matches!(other, HomeError::OtherSheep { node: NODE, .. }), "{other}");
    let again = refused(DiskDirectory::create(&path, NODE, false));
    assert!(matches!(again, HomeError::Leftover { .. }), "{again}");
    let anew = DiskDirectory::create(&path, NODE, true).unwrap();
    assert_ne!(anew.uuid(), uuid);
}

#[test]
fn an_empty_directory_is_no_disk_that_lost_its_data() {
    let place = tempfile::tempdir().unwrap();
    let empty = refused(DiskDirectory::open(place.path(), NODE, 5));
    assert!(matches!(empty, HomeError::NoDisk { .. }), "{empty}"); // DD2
    let missing = refused(DiskDirectory::open(&place.path().join("none"), NODE, 5));
    assert!(matches!(missing, HomeError::Superblock(StoreError::Io { .. })), "{missing}");
    assert_eq!(DiskDirectory::identity(place.path()).unwrap(), None);
}

#[test]
fn only_an_empty_directory_becomes_a_disk() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join(LOST_AND_FOUND)).unwrap();
    fs::write(place.path().join("thesis"), "text").unwrap();
    let full = refused(DiskDirectory::create(place.path(), NODE, true));
    assert!(matches!(&full, HomeError::NotEmpty { name, .. } if name == "thesis"), "{full}"); // DD1
    assert!(!place.path().join(LOCK).exists());
    fs::remove_file(place.path().join("thesis")).unwrap();
    DiskDirectory::create(place.path(), NODE, false).unwrap();
    let long = place.path().join("d".repeat(PATH_BYTES_MAX));
    let long = refused(DiskDirectory::create(&long, NODE, false));
    assert!(matches!(long, HomeError::PathTooLong { .. }), "{long}");
    assert!(DiskDirectory::create(&place.path().join("missing"), NODE, false).is_err());
}

#[test]
fn a_home_is_not_taken_for_a_disk_of_its_own_or_another_sheep() {
    let place = tempfile::tempdir().unwrap();
    let home = Home::open(place.path()).unwrap();
    for node in [home.node_uuid(), NODE] {
        let full = refused(DiskDirectory::create(place.path(), node, true));
        assert!(matches!(full, HomeError::NotEmpty { .. }), "{full}");
    }
    let own = DiskDirectory::of_home(&home).unwrap();
    assert!(own.is_home() && own.uuid() == home.node_uuid());
}

#[test]
fn a_disk_is_used_once_at_a_time() {
    let place = tempfile::tempdir().unwrap();
    let first = make(place.path());
    let twice = refused(DiskDirectory::open(place.path(), NODE, first.uuid()));
    assert!(matches!(twice, HomeError::InUse { .. }), "{twice}");
    let uuid = first.uuid();
    drop(first);
    DiskDirectory::open(place.path(), NODE, uuid).unwrap();
}

#[test]
fn a_store_that_is_gone_is_not_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let mut directory = make(place.path());
    let options = Options { segment_bytes: 1 << 20, must_exist: true, ..Options::default() };
    assert!(!directory.has_store(0).unwrap());
    let disk = directory.store_disk(0, Engine::Probe).unwrap();
    let gone = Store::open(Box::new(disk), options).map(|(store, _)| store.segment());
    assert!(matches!(gone, Err(StoreError::Corrupt(_))), "{gone:?}");
    let disk = directory.store_disk(0, Engine::Probe).unwrap();
    Store::open(Box::new(disk), Options { must_exist: false, ..options }).unwrap();
    assert!(directory.has_store(0).unwrap() && !directory.has_store(1).unwrap());
    let disk = directory.store_disk(0, Engine::Probe).unwrap();
    Store::open(Box::new(disk), options).unwrap();
}

#[test]
fn a_disk_that_was_let_go_can_be_taken_by_any_sheep() {
    let place = tempfile::tempdir().unwrap();
    let mut directory = make(place.path());
    let uuid = directory.uuid();
    let options = Options { segment_bytes: 1 << 20, ..Options::default() };
    let disk = directory.store_disk(0, Engine::Probe).unwrap();
    drop(Store::open(Box::new(disk), options).unwrap());
    directory.release().unwrap();
    let gone = refused(DiskDirectory::open(place.path(), NODE, uuid));
    assert!(matches!(gone, HomeError::OtherDisk { .. }), "{gone}");
    let mut other = DiskDirectory::create(place.path(), 8, false).unwrap();
    assert!(!other.has_store(0).unwrap() && other.uuid() != uuid);
}
