use super::*;

fn cluster(number: u128) -> NonZero<u128> {
    NonZero::new(number).unwrap()
}

#[test]
fn a_sheep_keeps_its_name_and_its_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/sheep");
    let mut home = Home::open(&path).unwrap();
    let name = home.node_uuid();
    assert_ne!(name, 0);
    assert_eq!(home.cluster_id(), None);
    home.set_cluster_id(cluster(42)).unwrap();
    drop(home);
    let mut home = Home::open(&path).unwrap();
    assert_eq!((home.node_uuid(), home.cluster_id()), (name, Some(cluster(42))));
    assert!(!home.was_repaired());
    home.set_cluster_id(cluster(42)).unwrap();
    let refused = home.set_cluster_id(cluster(43)).unwrap_err();
    assert!(refused.to_string().starts_with("wrong cluster: "), "{refused}");
    assert_eq!(home.cluster_id(), Some(cluster(42))); // H3
    let other = Home::open(&directory.path().join("other")).unwrap();
    assert_ne!(other.node_uuid(), name);
    assert_ne!(home.new_salt().unwrap(), home.new_salt().unwrap());
}

#[test]
fn two_sheep_cannot_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = Home::open(directory.path()).unwrap();
    let refused = Home::open(directory.path()).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(refused, HomeError::InUse { pid: Some(shown), .. } if shown == pid)); // H1
    let shown = refused.to_string();
    assert!(shown.ends_with(&format!("is in use by another sheep (process {pid})")), "{shown}");
    drop(first);
    assert!(Home::open(directory.path()).is_ok());
}

#[test]
fn a_directory_with_stores_gets_no_new_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut home = Home::open(directory.path()).unwrap();
    home.store_disk(0, Engine::Probe).unwrap();
    home.store_disk(1, Engine::Probe).unwrap();
    assert!(home.store_path(1).is_dir());
    drop(home);
    std::fs::remove_file(directory.path().join("superblock")).unwrap();
    let refused = Home::open(directory.path()).unwrap_err();
    assert!(matches!(refused, HomeError::NoSuperblock { .. }), "{refused}"); // H2
}

#[test]
fn a_store_lives_in_its_home() {
    use crate::{Options, Store};
    let directory = tempfile::tempdir().unwrap();
    let mut home = Home::open(directory.path()).unwrap();
    let options = Options { salt: home.new_salt().unwrap(), ..Options::default() };
    let disk = home.store_disk(0, Engine::Probe).unwrap();
    let (store, report) = Store::open(Box::new(disk), options).unwrap();
    assert!(report.is_new);
    assert!(store.failure().is_none());
    let again = home.store_disk(0, Engine::Probe).unwrap();
    drop(store);
    let (_, report) = Store::open(Box::new(again), options).unwrap();
    assert!(!report.is_new);
}

#[test]
fn a_damaged_superblock_is_repaired_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let name = Home::open(directory.path()).unwrap().node_uuid();
    let path = directory.path().join("superblock");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let home = Home::open(directory.path()).unwrap();
    assert!(home.was_repaired());
    assert_eq!(home.node_uuid(), name);
    drop(home);
    std::fs::write(&path, vec![0; bytes.len()]).unwrap();
    let refused = Home::open(directory.path()).unwrap_err();
    assert!(matches!(refused, HomeError::Superblock(StoreError::Corrupt(_))), "{refused}");
}
