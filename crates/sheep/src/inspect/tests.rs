use super::*;

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use serde_json::Value;
use sheepdog_proto::{BLOCK_BYTES, Generation, Payload, Stamp, View, block_checksum};
use sheepdog_store::{Home, Options as StoreOptions, Request, Store};
use tempfile::TempDir;

const SHIFT: u8 = 20;

fn vid() -> Vid {
    Vid::new(0x4f_2a10).unwrap()
}

/// What a block should hold.
fn content(oid: Oid, block: u32) -> Vec<u8> {
    vec![(oid.index() + block + 1) as u8; BLOCK_BYTES]
}

fn write(oid: Oid, first_block: u32, blocks: Vec<Vec<u8>>, sequence: u64) -> Request {
    let numbers = first_block..;
    let checksums =
        numbers.zip(&blocks).map(|(number, bytes)| block_checksum(oid, number, bytes)).collect();
    let data = Payload::from(&blocks.concat()[..]);
    let (stamp, view) = (Stamp::new(Generation(1), sequence), View(1));
    Request::Write { oid, object_shift: SHIFT, first_block, stamp, view, checksums, data }
}

/// A sheep with two stores: objects 0 and 2 of a VDI, and its map, which knows of object 1, too.
fn some_sheep() -> (TempDir, Home, Vec<Store>) {
    let directory = tempfile::tempdir().unwrap();
    let mut home = Home::open(directory.path()).unwrap();
    let mut stores = Vec::new();
    for shard in 0..2 {
        let disk = home.store_disk(shard, sheepdog_store::Engine::Probe).unwrap();
        let (node, salt) = (home.node_uuid(), home.new_salt().unwrap());
        let options = StoreOptions { node, shard, salt, ..StoreOptions::default() };
        stores.push(Store::open(Box::new(disk), options).unwrap().0);
    }
    let filled = |oid, first, count| (first..first + count).map(|b| content(oid, b)).collect();
    let (first, third, map) = (Oid::data(vid(), 0), Oid::data(vid(), 2), Oid::map(vid(), 0));
    let mut entries = vec![0; BLOCK_BYTES];
    for entry in entries.chunks_mut(4).take(3) {
        entry.copy_from_slice(&vid().get().to_le_bytes());
    }
    let changes = [
        (0, write(first, 0, filled(first, 0, 64), 1)),
        (1, write(third, 3, filled(third, 3, 2), 2)),
        (1, write(map, 0, vec![entries], 3)),
    ];
    for (store, change) in changes {
        stores[store].execute(vec![change]).remove(0).unwrap();
    }
    stores[0].checkpoint().unwrap();
    (directory, home, stores)
}

fn dead_sheep() -> TempDir {
    let (directory, home, stores) = some_sheep();
    drop((home, stores));
    directory
}

fn inspect(directory: &Path, arguments: &[&str]) -> Result<(Verdict, String)> {
    let start = ["inspect", directory.to_str().unwrap()];
    let options = Options::try_parse_from(start.iter().chain(arguments))?;
    let mut stdout = Vec::new();
    let verdict = run(&options, &mut stdout)?;
    Ok((verdict, String::from_utf8(stdout).unwrap()))
}

fn json(directory: &Path, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&inspect(directory, &arguments).unwrap().1).unwrap()
}

/// Flips a bit of a file.
fn damage(path: &Path, offset: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset as usize] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_part_is_shown_as_text_and_as_json() {
    Options::command().debug_assert();
    let directory = dead_sheep();
    let (first, third) = (Oid::data(vid(), 0).to_string(), Oid::data(vid(), 2).to_string());
    for (arguments, told) in [
        (&[][..], "objects     2, with 12.0 KiB in blocks"),
        (&["--objects"], &*first),
        (&["--objects", "--vid", "4f2a10"], &third),
        (&["--object", &first, "--blocks"], "store/0/data/0000 at byte 0"),
        (&["--index"], "slot     0"),
        (&["--log"], "records, 2 blocks"),
        (&["--log", "--records"], "write 004f2a1000000002 3+2 1:2 view 1, blocks at byte"),
        (&["--verify"], "everything is good"),
    ] {
        let (verdict, text) = inspect(directory.path(), arguments).unwrap();
        assert!(text.contains(told), "{arguments:?}: {text}");
        assert_eq!(verdict, Verdict::Good);
        let value = json(directory.path(), arguments);
        assert_eq!(value["faults"], serde_json::json!([]), "{arguments:?}: {value}");
    }
    let value = json(directory.path(), &[]);
    assert_eq!(value["cluster"], Value::Null);
    assert_eq!(value["stores"][1]["node"], value["node"]);
    let value = json(directory.path(), &["--objects", "--vid", "1"]);
    assert_eq!(value["objects"], serde_json::json!([]));
    let value = json(directory.path(), &["--object", &third, "--blocks"]);
    let block = &value["objects"][0]["blocks"][0];
    assert_eq!(
        (&block["number"], &block["good"], &block["in_log"]),
        (&3.into(), &true.into(), &true.into())
    );
    // The directory of one store.
    let (_, text) = inspect(&directory.path().join("store/1"), &["--objects"]).unwrap();
    assert!(text.contains(&third) && !text.contains(&first), "{text}");
}

#[test]
fn objects_and_vdis_are_written_to_new_files() {
    let directory = dead_sheep();
    let target = tempfile::tempdir().unwrap();
    let to = |name: &str| target.path().join(name).to_str().unwrap().to_owned();
    let third = Oid::data(vid(), 2);
    let arguments = ["--extract", &third.to_string(), "--to", &to("object")];
    let (verdict, text) = inspect(directory.path(), &arguments).unwrap();
    assert_eq!(verdict, Verdict::Good, "{text}");
    let mut expected = vec![0; 1 << SHIFT];
    for block in 3..5_u32 {
        let start = block as usize * BLOCK_BYTES;
        expected[start..start + BLOCK_BYTES].copy_from_slice(&content(third, block));
    }
    assert!(fs::read(to("object")).unwrap() == expected);
    let again = inspect(directory.path(), &arguments).unwrap_err().to_string();
    assert!(again.contains("exists; name a file that does not"), "{again}"); // EX2

    let arguments = ["--extract-vdi", "4f2a10", "--size", "3M", "--to", &to("image")];
    let (verdict, text) = inspect(directory.path(), &arguments).unwrap();
    assert_eq!(verdict, Verdict::Bad);
    assert!(text.contains("not here, but the VDI has them, so zeros: objects 1"), "{text}");
    let image = fs::read(to("image")).unwrap();
    assert_eq!(image.len(), 3 << SHIFT);
    assert!(image[2 << SHIFT..] == expected);
    assert!(image[1 << SHIFT..2 << SHIFT].iter().all(|byte| *byte == 0));
    assert_eq!(image[63 * BLOCK_BYTES], 64);
    assert_eq!(image[64 * BLOCK_BYTES], 0);
    // An image that is too small, which ends within a block.
    let arguments = ["--extract-vdi", "4f2a10", "--size", "5000", "--to", &to("small")];
    let value = json(directory.path(), &arguments);
    assert_eq!(value["beyond_size"], serde_json::json!([1, 2]));
    assert!(fs::read(to("small")).unwrap() == image[..5000]);
}

#[test]
fn damage_is_told_with_file_byte_and_advice_and_costs_no_more_than_it_must() {
    let directory = dead_sheep();
    let target = tempfile::tempdir().unwrap();
    damage(&directory.path().join("store/0/data/0000"), 5 * BLOCK_BYTES as u64 + 17);
    let (verdict, text) = inspect(directory.path(), &["--verify"]).unwrap();
    assert_eq!(verdict, Verdict::Bad);
    let told = "bad: store/0/data/0000 at byte 20480: block 5 of object 004f2a1000000000 does not";
    assert!(text.contains(told), "{text}");
    let value = json(directory.path(), &["--verify"]);
    assert_eq!(value["good"], false);
    assert_eq!(value["faults"][0]["offset"], 20480);
    assert!(value["faults"][0]["advice"].as_str().unwrap().len() > 20);
    let path = target.path().join("object");
    let oid = Oid::data(vid(), 0);
    let arguments = ["--extract", &oid.to_string(), "--to", path.to_str().unwrap()];
    let (verdict, text) = inspect(directory.path(), &arguments).unwrap();
    assert_eq!(verdict, Verdict::Bad);
    assert!(text.contains("lost blocks, which are zeros: 5"), "{text}");
    let bytes = fs::read(&path).unwrap();
    for block in (0..64).filter(|block| *block != 5) {
        assert!(bytes[block * BLOCK_BYTES..][..BLOCK_BYTES] == content(oid, block as u32));
    }
    assert!(bytes[5 * BLOCK_BYTES..6 * BLOCK_BYTES].iter().all(|byte| *byte == 0)); // EX1
    // The sheep's own superblock.
    damage(&directory.path().join("superblock"), 20);
    let (_, text) = inspect(directory.path(), &["--verify"]).unwrap();
    assert!(text.contains("bad: superblock at byte 0: copy 0"), "{text}");
}

#[test]
fn a_running_sheep_is_left_alone() {
    let (directory, home, stores) = some_sheep();
    let refused = inspect(directory.path(), &[]).unwrap_err().to_string();
    assert!(refused.contains("stop it first"), "{refused}");
    assert!(inspect(directory.path(), &["--running"]).is_ok());
    drop((home, stores));
    assert!(inspect(directory.path(), &[]).is_ok());
}

#[test]
fn a_wrong_command_says_what_would_be_right() {
    let directory = dead_sheep();
    for (arguments, told) in [
        (&["--object", "xyz"][..], "16 hexadecimal digits"),
        (&["--objects", "--vid", "0"], "6 hexadecimal digits"),
        (&["--blocks"], "--object <OID>"),
        (&["--records"], "--log"),
        (&["--extract", "004f2a1000000000"], "--to <FILE>"),
        (&["--extract-vdi", "4f2a10", "--to", "x"], "--size <BYTES>"),
        (&["--extract-vdi", "4f2a10", "--to", "x", "--size", "20X"], "such as 20G"),
        (&["--objects", "--log"], "cannot be used with"),
        (&["--store", "7"], "there are: 0, 1"),
        (&["--extract", "004f2a1000000009", "--to", "x"], "--objects lists those"),
    ] {
        let error = inspect(directory.path(), arguments).unwrap_err().to_string();
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
    let nothing = tempfile::tempdir().unwrap();
    let error = inspect(nothing.path(), &[]).unwrap_err().to_string();
    assert!(error.contains("the directory that the sheep is started with"), "{error}");
}

#[test]
fn runs_of_numbers_are_drawn_together() {
    assert_eq!(output::ranges([1, 4, 5, 6, 9, 10]), "1, 4-6, 9, 10");
    assert_eq!(output::ranges([]), "");
}
