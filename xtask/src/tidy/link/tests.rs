use super::*;

fn found(path: &str, text: &str) -> Vec<String> {
    let documents = [
        (path.to_owned(), text.to_owned()),
        ("docs/formats/wire.md".to_owned(), "# Wire, and more\n## Part\n## Part\n".to_owned()),
        ("README.md".to_owned(), "# Read me\n".to_owned()),
    ];
    let rust = path.ends_with(".rs");
    let sources = if rust { vec![Source::new(path, text)] } else { Vec::new() };
    let mut findings = Findings::default();
    check(&documents, &sources, &mut findings);
    findings.lines
}

#[test]
fn links_to_files_folders_and_headings_of_the_tree_pass() {
    for text in [
        "[a](../formats/wire.md)",
        "[a](../formats/wire.md#wire-and-more)",
        "[a](../formats/wire.md#part-1 \"title\")",
        "[a](../formats)",
        "[a](../../README.md) and [b](<../formats/wire.md>)",
        "[a]: ../formats/wire.md",
        "# Here\n[a](#here)",
        "[a](https://example.org/x)",
        "`[a](gone.md)` and\n```\n[b](gone.md)\n```",
    ] {
        assert_eq!(found("docs/design/x.md", text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn links_to_nothing_are_refused() {
    for text in [
        "[a](gone.md)",
        "[a](../formats/gone.md#part)",
        "[a](../formats/wire.md#gone)",
        "# Here\n[a](#there)",
        "[a]: gone.md",
        "[a](/docs/formats/wire.md)",
        "[a](../../../shared/x.md)",
    ] {
        assert_eq!(found("docs/design/x.md", text).len(), 1, "{text}");
    }
}

#[test]
fn a_page_named_in_a_comment_must_exist() {
    let path = "crates/a/src/x.rs";
    assert_eq!(found(path, "//! See docs/formats/wire.md.\n").len(), 0);
    assert_eq!(found(path, "//! See docs/formats/gone.md.\n").len(), 1);
    assert_eq!(found(path, "let x = \"docs/gone.md\";\n").len(), 0);
}
