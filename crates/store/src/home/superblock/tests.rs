use super::*;
use crate::disk::FakeDisk;
use crate::error::StoreError;

fn superblock(counter: u64, cluster: u128) -> Superblock {
    Superblock {
        counter,
        node: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
        cluster: NonZero::new(cluster),
    }
}

fn load(disk: &FakeDisk) -> Result<Option<(Superblock, bool)>, StoreError> {
    Superblock::load_repaired(&mut disk.clone())
}

#[test]
fn what_is_encoded_is_verified() {
    for cluster in [0, 99] {
        let superblock = superblock(3, cluster);
        assert_eq!(RawSuperblock(&superblock.encode()).verify(), Ok(superblock));
    }
    let shown = "superblock 3: node 0123456789abcdef0011223344556677 \
                 cluster 00000000000000000000000000000063";
    assert_eq!(superblock(3, 99).to_string(), shown);
}

#[test]
fn no_flipped_bit_is_taken_for_a_superblock() {
    let bytes = superblock(3, 99).encode();
    for bit in 0..COPY_BYTES * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(RawSuperblock(&bad).verify().is_err(), "bit {bit}");
    }
}

#[test]
fn one_good_copy_is_enough_and_makes_the_other_good() {
    for offset in COPY_OFFSETS {
        let disk = FakeDisk::new();
        superblock(1, 0).create(&mut disk.clone()).unwrap();
        assert_eq!(load(&disk), Ok(Some((superblock(1, 0), false))));
        assert!(disk.flip_bit(PATH, offset + 30, 2));
        assert_eq!(load(&disk), Ok(Some((superblock(1, 0), true))));
        assert_eq!(load(&disk), Ok(Some((superblock(1, 0), false))));
    }
    let disk = FakeDisk::new();
    superblock(1, 0).create(&mut disk.clone()).unwrap();
    for offset in COPY_OFFSETS {
        assert!(disk.flip_bit(PATH, offset + 30, 2));
    }
    let bad = WireError::Checksum("superblock");
    assert_eq!(load(&disk), Err(Superblock::bad(bad, bad).into()));
    disk.plant(PATH, b"short");
    assert_eq!(load(&disk), Err(Superblock::bad(WireError::Short, WireError::Short).into()));
}

#[test]
fn a_copy_of_a_newer_version_is_not_written_over() {
    let disk = FakeDisk::new();
    superblock(1, 0).create(&mut disk.clone()).unwrap();
    let mut newer = superblock(2, 0).encode();
    field::VERSION.put(&mut newer, 2_u16);
    let sum = checksum(&newer[..field::CHECKSUM.offset]);
    field::CHECKSUM.put(&mut newer, sum);
    let mut bytes = disk.file_bytes(PATH).unwrap();
    bytes[..COPY_BYTES].copy_from_slice(&newer);
    disk.plant(PATH, &bytes);
    let version = WireError::Version(2);
    assert_eq!(load(&disk), Err(Superblock::bad(version, version).into()));
    assert_eq!(disk.file_bytes(PATH), Some(bytes));
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new_superblock() {
    for seed in 0..200 {
        // Making: nothing, or the whole.
        let disk = FakeDisk::new();
        disk.cut_at(seed % 8);
        let made = superblock(1, 0).create(&mut disk.clone());
        disk.power_cycle(seed);
        match load(&disk) {
            Ok(Some((loaded, _))) => assert_eq!(loaded, superblock(1, 0)),
            Ok(None) => assert!(made.is_err(), "seed {seed}"),
            Err(error) => panic!("seed {seed}: {error}"),
        }
        // Changing.
        let disk = FakeDisk::new();
        superblock(1, 0).create(&mut disk.clone()).unwrap();
        disk.cut_at(disk.operations() + seed % 5);
        let saved = superblock(2, 99).replace(&mut disk.clone());
        disk.power_cycle(seed);
        let loaded = load(&disk).unwrap().map(|(loaded, _)| loaded);
        let is_new = loaded == Some(superblock(2, 99));
        assert!(is_new || (saved.is_err() && loaded == Some(superblock(1, 0))), "seed {seed}"); // CY1
        assert_eq!(load(&disk), Ok(loaded.map(|loaded| (loaded, false))));
    }
}

#[test]
fn the_golden_superblock_is_read_and_written() {
    let golden = |name: &str| {
        let path = format!("{}/golden/v1/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let disk = FakeDisk::new();
    superblock(1, 0).create(&mut disk.clone()).unwrap();
    superblock(2, 99).replace(&mut disk.clone()).unwrap();
    let written = disk.file_bytes(PATH).unwrap();
    assert!(written == golden("superblock.bin"), "the format has changed: make it a new version");
    let planted = |name: &str| {
        let disk = FakeDisk::new();
        disk.plant(PATH, &golden(name));
        load(&disk)
    };
    assert_eq!(planted("superblock.bin"), Ok(Some((superblock(2, 99), false))));
    assert_eq!(planted("superblock.first-copy-old.bin"), Ok(Some((superblock(2, 99), true))));
    assert_eq!(planted("superblock.second-copy-rotten.bin"), Ok(Some((superblock(2, 99), true))));
    let bad = WireError::Checksum("superblock");
    assert_eq!(planted("superblock.both-rotten.bin"), Err(Superblock::bad(bad, bad).into()));
}
