//! The directory of a sheep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sheepdog_store::inspect::{HomeInspection, InspectError, Inspection};
use sheepdog_store::{Home, HomeError, Options, Store};

use super::{do_all, oids};
use crate::history::{stamp, write};

/// Every file below a directory, with its bytes and the time of its last change.
fn files(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            let changed = path.metadata().unwrap().modified().unwrap();
            found.insert(path.clone(), (std::fs::read(&path).unwrap(), changed));
        }
    }
    found
}

fn some_sheep(directory: &Path) -> (Home, Store) {
    let mut home = Home::open(directory).unwrap();
    let disk = home.store_disk(0, sheepdog_store::Engine::Probe).unwrap();
    let options = Options { salt: 5, node: home.node_uuid(), ..Options::default() };
    let (mut store, _) = Store::open(Box::new(disk), options).unwrap();
    let [first, second, ..] = oids();
    do_all(&mut store, vec![write(first, 0, 64, stamp(1, 1), 1, 1)]);
    store.checkpoint().unwrap();
    do_all(&mut store, vec![write(second, 3, 2, stamp(1, 2), 1, 2)]);
    (home, store)
}

#[test]
fn a_running_sheep_is_left_alone_and_a_dead_one_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let (home, store) = some_sheep(directory.path());
    let node = home.node_uuid();
    let pid = std::process::id();
    let refused = HomeInspection::open(directory.path(), false).unwrap_err();
    assert!(matches!(refused, InspectError::Running { pid: Some(shown), .. } if shown == pid));
    let running = HomeInspection::open(directory.path(), true).unwrap();
    assert_eq!(running.stores.len(), 1);
    drop((home, store, running));

    let before = files(directory.path());
    let inspected = HomeInspection::open(directory.path(), false).unwrap();
    assert_eq!((inspected.node, inspected.cluster), (Some(node), None));
    assert_eq!(inspected.faults, []);
    let mut inspection = Inspection::open(&inspected.stores[0].path);
    let mut faults = Vec::new();
    let verified = inspection.verify(&mut |fault| faults.push(fault.clone()));
    assert_eq!((faults, verified.objects, verified.blocks), (Vec::new(), 2, 66));
    let object = inspection.read_object(oids()[1]).unwrap();
    assert!(object.lost.is_empty());
    assert_eq!(object.view.blocks.len(), 2);
    assert!(files(directory.path()) == before, "an inspection has changed something"); // IN1

    // A second person may look, a sheep waits.
    assert!(HomeInspection::open(directory.path(), false).is_ok());
    let refused = Home::open(directory.path()).unwrap_err();
    assert!(matches!(refused, HomeError::Inspected { .. }), "{refused}");
    drop(inspected);
    assert!(Home::open(directory.path()).is_ok());
}

#[test]
fn the_directory_of_a_store_alone_can_be_shown() {
    let directory = tempfile::tempdir().unwrap();
    let (home, store) = some_sheep(directory.path());
    let path = home.store_path(0);
    assert!(matches!(HomeInspection::open(&path, false), Err(InspectError::Running { .. })));
    drop((home, store));
    let inspected = HomeInspection::open(&path, false).unwrap();
    assert_eq!((inspected.node, inspected.stores[0].number), (None, 0));
    drop(inspected);
    // Moved away from its home.
    let alone = tempfile::tempdir().unwrap();
    std::fs::rename(&path, alone.path().join("7")).unwrap();
    let inspected = HomeInspection::open(&alone.path().join("7"), false).unwrap();
    assert_eq!(inspected.stores[0].number, 7);
    assert_eq!(Inspection::open(&inspected.stores[0].path).objects().len(), 2);
}

#[test]
fn a_directory_of_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = HomeInspection::open(directory.path(), false).unwrap_err();
    assert!(matches!(refused, InspectError::NoSheep { .. }), "{refused}");
    let refused = HomeInspection::open(&directory.path().join("none"), false).unwrap_err();
    assert!(matches!(refused, InspectError::Io { .. }), "{refused}");
    // A sheep whose superblock is gone.
    let (home, store) = some_sheep(directory.path());
    drop((home, store));
    std::fs::remove_file(directory.path().join("superblock")).unwrap();
    let inspected = HomeInspection::open(directory.path(), false).unwrap();
    assert_eq!((inspected.node, inspected.stores.len()), (None, 1));
    assert!(!inspected.faults.is_empty());
}
