use super::fake::{Dice, Fault};
use super::*;

/// What every disk must do alike.
fn check_contract(disk: &mut dyn Disk) {
    disk.create_dir("a").unwrap();
    disk.create_dir("a").unwrap();
    assert!(matches!(disk.open("a/x"), Err(DiskError::NotFound { .. })));
    assert!(matches!(disk.list("b"), Err(DiskError::NotFound { .. })));
    assert!(matches!(disk.remove("a/x"), Err(DiskError::NotFound { .. })));
    assert!(matches!(disk.rename("a/x", "a/y"), Err(DiskError::NotFound { .. })));
    assert!(disk.create("b/x").is_err());

    let file = disk.create("a/x").unwrap();
    assert!(disk.create("a/x").is_err(), "a file that exists is not made again");
    assert_eq!(disk.len(file).unwrap(), 0);
    disk.write_at(file, 3, &[b"de", b"", b"fg"]).unwrap();
    assert_eq!(disk.len(file).unwrap(), 7);
    let mut bytes = [9; 6];
    assert_eq!(disk.read_at(file, 2, &mut bytes).unwrap(), 5);
    assert_eq!(&bytes, b"\0defg\x09");
    assert_eq!(disk.read_at(file, 100, &mut bytes).unwrap(), 0);

    let many: Vec<[u8; 3]> = (0..1500_u32).map(|n| [n as u8, (n >> 8) as u8, 7]).collect();
    let parts: Vec<&[u8]> = many.iter().map(|part| &part[..]).collect();
    disk.write_at(file, 0, &parts).unwrap();
    let mut all = vec![0; 4500];
    assert_eq!(disk.read_at(file, 0, &mut all).unwrap(), 4500);
    assert_eq!(all, many.concat());

    disk.set_len(file, 10).unwrap();
    disk.set_len(file, 20).unwrap();
    let mut bytes = [9; 20];
    assert_eq!(disk.read_at(file, 0, &mut bytes).unwrap(), 20);
    assert_eq!(bytes[10..], [0; 10]);
    disk.allocate(file, 0, 12288).unwrap();
    assert_eq!(disk.len(file).unwrap(), 12288);
    disk.write_at(file, 4096, &[&[5; 8192]]).unwrap();
    disk.punch_hole(file, 4096, 4096).unwrap();
    let mut bytes = [9; 8192];
    assert_eq!(disk.read_at(file, 4096, &mut bytes).unwrap(), 8192);
    assert_eq!((bytes[0], bytes[4095], bytes[4096]), (0, 0, 5));
    disk.sync(file).unwrap();

    let other = disk.create("a/y").unwrap();
    disk.write_at(other, 0, &[b"other"]).unwrap();
    disk.rename("a/y", "a/x").unwrap();
    disk.sync_dir("a").unwrap();
    let names = |disk: &mut dyn Disk, path: &str| -> Vec<(String, bool)> {
        let entries = disk.list(path).unwrap();
        entries.into_iter().map(|entry| (entry.name, entry.is_directory)).collect()
    };
    assert_eq!(names(disk, "a"), [("x".to_owned(), false)]);
    assert_eq!(names(disk, ""), [("a".to_owned(), true)]);
    // The file that lost its name lives as long as it is open.
    assert_eq!(disk.len(file).unwrap(), 12288);
    let again = disk.open("a/x").unwrap();
    let mut bytes = [0; 5];
    disk.read_at(again, 0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"other");
    disk.remove("a/x").unwrap();
    assert_eq!(names(disk, "a"), []);
    assert!(disk.free_space().unwrap() > 0);
    disk.close(file);
    assert!(disk.read_at(file, 0, &mut bytes).is_err(), "a closed file");
}

#[test]
fn the_fake_disk_keeps_the_contract() {
    check_contract(&mut FakeDisk::new());
}

#[test]
fn the_real_disk_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    check_contract(&mut RealDisk::new(directory.path()).unwrap());
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(RealDisk::new(&file).is_err());
    assert!(RealDisk::new(&directory.path().join("absent")).is_err());
}

/// A durable file of 16 sectors of `a`, over which `b` was written but not synced.
fn overwritten(disk: &FakeDisk) -> FileId {
    let mut disk = disk.clone();
    let file = disk.create("x").unwrap();
    disk.write_at(file, 0, &[&[b'a'; 8192]]).unwrap();
    disk.sync(file).unwrap();
    disk.sync_dir("").unwrap();
    disk.write_at(file, 0, &[&[b'b'; 8192]]).unwrap();
    file
}

#[test]
fn a_power_cut_keeps_loses_or_tears_what_was_not_synced() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..60 {
        let disk = FakeDisk::new();
        overwritten(&disk);
        disk.power_cycle(seed);
        let bytes = disk.file_bytes("x").unwrap();
        let new = bytes.chunks(SECTOR_BYTES).filter(|sector| sector[0] == b'b').count();
        for sector in bytes.chunks(SECTOR_BYTES) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a torn sector");
        }
        match new {
            16 => kept += 1,
            0 => lost += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 5 && lost > 5 && torn > 5, "{kept} {lost} {torn}");
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    for seed in 0..20 {
        let disk = FakeDisk::new();
        let file = overwritten(&disk);
        disk.clone().sync(file).unwrap();
        disk.power_cycle(seed);
        assert_eq!(disk.file_bytes("x"), Some(vec![b'b'; 8192]));
    }
}

#[test]
fn a_killed_process_loses_only_its_handles() {
    let disk = FakeDisk::new();
    let file = overwritten(&disk);
    disk.restart();
    assert_eq!(disk.file_bytes("x"), Some(vec![b'b'; 8192]));
    assert!(disk.clone().len(file).is_err());
    assert_eq!(disk.open_files(), 0);
}

#[test]
fn bytes_whose_sync_failed_never_become_durable() {
    let disk = FakeDisk::new();
    let file = overwritten(&disk);
    let mut handle = disk.clone();
    disk.fail(Fault::Sync, 0);
    assert!(handle.sync(file).is_err());
    handle.sync(file).unwrap(); // F3: it does not tell.
    assert_eq!(disk.file_bytes("x"), Some(vec![b'b'; 8192]));
    disk.power_cycle(0);
    assert_eq!(disk.file_bytes("x"), Some(vec![b'a'; 8192]));
}

#[test]
fn unsynced_names_are_kept_or_lost_one_by_one() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = FakeDisk::new();
        disk.plant("d/old", b"old");
        disk.plant("d/gone", b"gone");
        disk.plant("e/moves", b"moves");
        let mut handle = disk.clone();
        handle.create("d/new").unwrap();
        handle.remove("d/gone").unwrap();
        handle.rename("d/old", "d/renamed").unwrap();
        handle.rename("e/moves", "d/moved").unwrap();
        disk.power_cycle(seed);
        let paths = disk.paths();
        let has = |path: &str| paths.iter().any(|have| have == path);
        assert!(has("d/old") != has("d/renamed"), "half a rename: {paths:?}");
        seen.insert((has("d/new"), has("d/gone"), has("d/old"), has("e/moves"), has("d/moved")));
    }
    assert_eq!(seen.len(), 32, "every combination happens");
    let disk = FakeDisk::new();
    let mut handle = disk.clone();
    handle.create_dir("d").unwrap();
    handle.create("d/x").unwrap();
    handle.sync_dir("d").unwrap();
    handle.sync_dir("").unwrap();
    disk.power_cycle(1);
    assert_eq!(disk.paths(), ["d/x"]);
}

#[test]
fn a_directory_that_was_not_synced_can_take_its_files_with_it() {
    let outcomes: std::collections::BTreeSet<usize> = (0..40)
        .map(|seed| {
            let disk = FakeDisk::new();
            let mut handle = disk.clone();
            handle.create_dir("d").unwrap();
            handle.create("d/x").unwrap();
            handle.sync_dir("d").unwrap();
            disk.power_cycle(seed);
            disk.paths().len()
        })
        .collect();
    assert_eq!(outcomes, [0, 1].into());
}

#[test]
fn power_goes_off_at_the_operation_that_was_asked_for() {
    let disk = FakeDisk::new();
    let mut handle = disk.clone();
    let file = handle.create("x").unwrap();
    disk.cut_at(disk.operations() + 1);
    handle.write_at(file, 0, &[b"a"]).unwrap();
    assert!(handle.sync(file).is_err());
    assert!(handle.write_at(file, 0, &[b"b"]).is_err());
    assert!(handle.read_at(file, 0, &mut [0]).is_err());
    assert!(handle.list("").is_err());
    disk.restart();
    assert_eq!(disk.file_bytes("x"), Some(b"a".to_vec()));
}

#[test]
fn a_full_fake_disk_takes_overwrites_and_gives_space_back() {
    let disk = FakeDisk::new();
    let mut handle = disk.clone();
    let file = handle.create("x").unwrap();
    disk.set_capacity(Some(8192));
    handle.allocate(file, 0, 8192).unwrap();
    assert_eq!(handle.free_space().unwrap(), 0);
    assert!(matches!(handle.write_at(file, 8192, &[b"c"]), Err(DiskError::Full { .. })));
    assert_eq!(handle.len(file).unwrap(), 8192);
    handle.write_at(file, 0, &[&[1; 8192]]).unwrap();
    handle.punch_hole(file, 0, 4096).unwrap();
    assert_eq!(handle.free_space().unwrap(), 4096);
    let other = handle.create("y").unwrap();
    handle.write_at(other, 0, &[b"c"]).unwrap();
    handle.remove("x").unwrap();
    assert_eq!(handle.free_space().unwrap(), 0, "an open file keeps its space");
    handle.close(file);
    assert_eq!(handle.free_space().unwrap(), 4096);
}

#[test]
fn injected_errors_hit_the_call_they_name() {
    let disk = FakeDisk::new();
    let mut handle = disk.clone();
    let file = handle.create("x").unwrap();
    disk.fail(Fault::Write, 1);
    disk.fail(Fault::Read, 0);
    handle.write_at(file, 0, &[b"a"]).unwrap();
    assert!(matches!(handle.write_at(file, 0, &[b"b"]), Err(DiskError::Io { .. })));
    assert!(matches!(handle.read_at(file, 0, &mut [0]), Err(DiskError::Io { .. })));
    let mut bytes = [0];
    handle.read_at(file, 0, &mut bytes).unwrap();
    assert_eq!(bytes, *b"a");
    assert!(disk.flip_bit("x", 0, 1));
    assert_eq!(disk.file_bytes("x"), Some(b"c".to_vec()));
    assert!(!disk.flip_bit("x", 1, 1) && !disk.flip_bit("y", 0, 1));
}

#[test]
fn the_same_seed_rolls_the_same_numbers() {
    let rolls = |seed| {
        let mut dice = Dice::new(seed);
        (dice.roll(), dice.below(10), dice.below(0))
    };
    assert_eq!(rolls(3), rolls(3));
    assert_ne!(rolls(3).0, rolls(4).0);
}
