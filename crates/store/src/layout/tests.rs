use super::*;
use crate::home::superblock;
use crate::journal::{batch, record, segment};
use crate::object::{header, page, shape};

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
    let object = document("object-file");
    let journal = document("journal");
    let superblock = document("superblock");
    let cases: [(&str, &str, &[Field]); 7] = [
        (&object, "Header", &header::FIELDS),
        (&object, "Page", &page::FIELDS),
        (&object, "Block entry", &page::ENTRY_FIELDS),
        (&journal, "Segment header", &segment::FIELDS),
        (&journal, "Batch header", &batch::FIELDS),
        (&journal, "Record", &record::FIELDS),
        (&superblock, "Copy", &superblock::FIELDS),
    ];
    for (document, heading, fields) in cases {
        let shown: Vec<Vec<String>> =
            table(document, heading).into_iter().map(|cells| cells[1..4].to_vec()).collect();
        let coded: Vec<Vec<String>> = fields
            .iter()
            .map(|field| {
                vec![field.offset.to_string(), field.size.to_string(), field.name.to_owned()]
            })
            .collect();
        assert_eq!(shown, coded, "section {heading}");
    }
}

#[test]
fn the_documents_show_the_kinds_of_records() {
    let document = document("journal");
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
fn the_documents_show_where_blocks_start() {
    let document = document("object-file");
    for shift in [20, 22, 26] {
        let shape = shape::Shape::new(shift).unwrap();
        let (blocks, pages, start) = (shape.blocks(), shape.pages(), shape.blocks_start());
        let row = format!("| 2^{shift} | {blocks} | {pages} | {start} |");
        assert!(document.contains(&row), "{row}");
    }
}

#[test]
fn the_documents_name_versions_and_magics() {
    let version = |name: &str| document(name).lines().next().unwrap().to_owned();
    assert_eq!(version("object-file"), format!("# Object file, version {}", header::VERSION));
    assert_eq!(version("journal"), format!("# Journal, version {}", segment::VERSION));
    assert_eq!(version("superblock"), format!("# Superblock, version {}", superblock::VERSION));
    let has = |name: &str, magic: &[u8]| {
        let magic = std::str::from_utf8(magic).unwrap();
        assert!(document(name).contains(&format!("`{magic}`")), "{magic}");
    };
    has("object-file", &header::MAGIC);
    has("object-file", &page::MAGIC);
    has("journal", &segment::MAGIC);
    has("journal", &batch::MAGIC);
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
