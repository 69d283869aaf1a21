use super::*;
use crate::disk::FakeDisk;
use crate::home::disk::DiskSuperblock;

fn contents(counter: u64) -> DiskSuperblock {
    DiskSuperblock { counter, disk: 5, node: u128::from(counter) }
}

fn load(disk: &FakeDisk) -> Result<Option<DiskSuperblock>, StoreError> {
    DiskSuperblock::load(&mut disk.clone())
}

#[test]
fn one_good_copy_is_enough_and_makes_the_other_good() {
    for offset in DiskSuperblock::COPY_OFFSETS {
        let disk = FakeDisk::new();
        assert_eq!(load(&disk), Ok(None));
        contents(1).save(&mut disk.clone()).unwrap();
        let whole = disk.file_bytes(DiskSuperblock::PATH).unwrap();
        assert!(disk.flip_bit(DiskSuperblock::PATH, offset + 30, 2));
        assert_eq!(load(&disk), Ok(Some(contents(1))));
        assert_eq!(disk.file_bytes(DiskSuperblock::PATH), Some(whole));
    }
    let disk = FakeDisk::new();
    contents(1).save(&mut disk.clone()).unwrap();
    for offset in DiskSuperblock::COPY_OFFSETS {
        assert!(disk.flip_bit(DiskSuperblock::PATH, offset + 30, 2));
    }
    let sum = WireError::Checksum("disk's superblock");
    assert_eq!(load(&disk), Err(DiskSuperblock::bad(sum, sum).into()));
    disk.plant(DiskSuperblock::PATH, b"short");
    assert_eq!(load(&disk), Err(DiskSuperblock::bad(WireError::Short, WireError::Short).into()));
}

#[test]
fn the_later_copy_counts_and_a_newer_version_is_left_alone() {
    let disk = FakeDisk::new();
    contents(1).save(&mut disk.clone()).unwrap();
    let mut bytes = disk.file_bytes(DiskSuperblock::PATH).unwrap();
    bytes[..DiskSuperblock::COPY_BYTES].copy_from_slice(&contents(2).encode());
    disk.plant(DiskSuperblock::PATH, &bytes);
    assert_eq!(load(&disk), Ok(Some(contents(2)))); // CY1
    let mut newer = contents(3).encode();
    newer[8] = 2;
    let sum = sheepdog_proto::block::checksum(&newer[..508]);
    newer[508..].copy_from_slice(&sum.to_le_bytes());
    bytes[..DiskSuperblock::COPY_BYTES].copy_from_slice(&newer);
    disk.plant(DiskSuperblock::PATH, &bytes);
    let version = WireError::Version(2);
    assert_eq!(load(&disk), Err(DiskSuperblock::bad(version, version).into()));
    assert_eq!(disk.file_bytes(DiskSuperblock::PATH), Some(bytes));
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new_contents() {
    for seed in 0..200 {
        let disk = FakeDisk::new();
        disk.cut_at(seed % 8);
        let made = contents(1).save(&mut disk.clone());
        disk.power_cycle(seed);
        match load(&disk) {
            Ok(Some(loaded)) => assert_eq!(loaded, contents(1)),
            Ok(None) => assert!(made.is_err(), "seed {seed}"), // CY2
            Err(error) => panic!("seed {seed}: {error}"),
        }
        let disk = FakeDisk::new();
        contents(1).save(&mut disk.clone()).unwrap();
        disk.cut_at(disk.operations() + seed % 5);
        let saved = contents(2).save(&mut disk.clone());
        disk.power_cycle(seed);
        let loaded = load(&disk).unwrap();
        let is_new = loaded == Some(contents(2));
        assert!(is_new || (saved.is_err() && loaded == Some(contents(1))), "seed {seed}"); // CY1
    }
}
