use super::*;
use crate::format::{checkpoint, index_page, meta_page, page, superblock as store_superblock};
use crate::home::superblock;
use crate::shape::{
    FRAGMENT_BLOCKS, FRAGMENT_PAGES, FRAGMENT_UNITS, PAGE_BLOCKS, UNIT_BLOCKS, UNIT_BYTES,
};
use crate::wal::{self, batch, record, segment};

/// The rows of the table under a heading, as cells.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let start = format!("\n## {heading}\n");
    let (_, section) =
        document.split_once(&start).unwrap_or_else(|| panic!("no section {heading}"));
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
    section
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(cells)
        .collect()
}

fn document(name: &str) -> String {
    let path = format!("{}/../../docs/formats/{name}.md", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_documents_show_the_fields_of_the_code() {
    let cases: [(&str, &str, &[Field]); 9] = [
        ("store-layout", "Page header", &page::FIELDS),
        ("meta-page", "Block entry", &meta_page::FIELDS),
        ("index-page", "Slot", &index_page::FIELDS),
        ("checkpoint", "Header", &checkpoint::FIELDS),
        ("store-superblock", "Copy", &store_superblock::FIELDS),
        ("wal", "Segment header", &segment::FIELDS),
        ("wal", "Batch header", &batch::FIELDS),
        ("wal", "Record", &record::FIELDS),
        ("superblock", "Copy", &superblock::FIELDS),
    ];
    for (name, heading, fields) in cases {
        let rows = table(&document(name), heading);
        let shown: Vec<Vec<String>> = rows.into_iter().map(|cells| cells[1..4].to_vec()).collect();
        let coded: Vec<Vec<String>> = fields
            .iter()
            .map(|field| {
                vec![field.offset.to_string(), field.size.to_string(), field.name.to_owned()]
            })
            .collect();
        assert_eq!(shown, coded, "{name}: section {heading}");
    }
}

#[test]
fn the_documents_show_the_kinds_of_records() {
    let document = document("wal");
    let start = document.find("| kind | name |").unwrap();
    let shown: Vec<(u8, String)> = document[start..]
        .lines()
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (cells[1].parse().unwrap(), cells[2].to_owned())
        })
        .collect();
    let coded: Vec<(u8, String)> =
        record::KINDS.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect();
    assert_eq!(shown, coded);
}

#[test]
fn the_documents_show_the_shapes() {
    let rows = table(&document("store-layout"), "Shapes");
    let shown: Vec<Vec<String>> = rows.into_iter().map(|cells| cells[1..4].to_vec()).collect();
    let parts =
        [("block", 1), ("unit", UNIT_BLOCKS), ("page", PAGE_BLOCKS), ("fragment", FRAGMENT_BLOCKS)];
    let row = |(name, blocks): (&str, u32)| {
        vec![name.to_owned(), (blocks * 4096).to_string(), blocks.to_string()]
    };
    assert_eq!(shown, parts.map(row));
    assert_eq!((UNIT_BYTES, FRAGMENT_UNITS, FRAGMENT_PAGES), (1 << 18, 16, 4));
}

#[test]
fn the_documents_show_where_things_are() {
    let has = |name: &str, text: &str| assert!(document(name).contains(text), "{name}: {text}");
    has("store-layout", "Unit `u` is in slab `u / 262144`");
    assert_eq!(crate::store::SLAB_UNITS, 262_144);
    assert_eq!(page::copy_offset(7, 1), (2 * 7 + 1) * 4096);
    has("store-layout", "byte `(2 n + c) * 4096`");
    has("index-page", &format!("Slot `s` of the index is the `s % {}`-th", index_page::PAGE_SLOTS));
    has("store-superblock", &format!("at least {}", wal::SEGMENT_BYTES_MIN));
    has("checkpoint", &format!("at most {}", checkpoint::PAGES_MAX));
    let [first, second] = segment::HEADER_OFFSETS;
    assert_eq!((first, second, segment::BATCHES_START), (0, 4096, 8192));
}

#[test]
fn the_documents_name_versions_and_magics() {
    let version = |name: &str| document(name).lines().next().unwrap().to_owned();
    let all = store_superblock::VERSION;
    for (name, title) in [
        ("store-layout", format!("# Store, layout of version {all}")),
        ("store-superblock", format!("# Store superblock, version {all}")),
        ("meta-page", format!("# Metadata page, version {all}")),
        ("index-page", format!("# Index page, version {all}")),
        ("checkpoint", format!("# Checkpoint, version {}", checkpoint::VERSION)),
        ("wal", format!("# Write-ahead log, version {}", segment::VERSION)),
        ("superblock", format!("# Superblock, version {}", superblock::VERSION)),
    ] {
        assert_eq!(version(name), title);
    }
    let has = |name: &str, magic: &[u8]| {
        let magic = std::str::from_utf8(magic).unwrap().trim_end_matches('\0');
        assert!(document(name).contains(&format!("`{magic}`")), "{magic}");
    };
    has("store-layout", &page::MAGIC);
    has("checkpoint", &checkpoint::MAGIC);
    has("store-superblock", &store_superblock::MAGIC);
    has("wal", &segment::MAGIC);
    has("wal", &batch::MAGIC);
    has("superblock", &superblock::MAGIC);
}

#[test]
fn a_gap_between_fields_is_noticed() {
    const A: Field = Field::first("a", 2);
    const B: Field = A.then("b", 4);
    assert!(fills(&[A, B], 6));
    assert!(!fills(&[A, B], 7));
    assert!(!fills(&[A, Field { offset: 3, ..B }], 7));
}

#[test]
fn numbers_are_little_endian() {
    let field = Field::first("zero", 1).then("number", 4);
    let mut bytes = [0; 6];
    field.put(&mut bytes, 0x0102_0304_u32);
    assert_eq!(bytes, [0, 4, 3, 2, 1, 0]);
    assert_eq!(field.get::<4, u32>(&bytes), 0x0102_0304);
}
