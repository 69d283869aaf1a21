use super::*;

fn source(text: &str) -> Source {
    Source::new("crates/engine/src/x.rs", text)
}

fn code(text: &str) -> String {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    source(text).code().map(|(_, line)| words(line)).collect::<Vec<_>>().join("|")
}

#[test]
fn comments_and_literals_are_not_code() {
    assert_eq!(code("a // b\nc"), "a|c");
    assert_eq!(code("a /* b /* c */ d */ e"), "a e");
    assert_eq!(code("a(\"{ \\\" }\") + 1"), "a( ) + 1");
    assert_eq!(code("a(r#\"{ \" }\"#) + 1"), "a( ) + 1");
    assert_eq!(code("a(br\"{ \\\") + 1"), "a(b ) + 1");
    assert_eq!(code("'{' '\\'' b'}' x"), "b x");
}

#[test]
fn views_keep_lines_and_columns() {
    // S1
    let text = "a /* b\nc */ d \"e\nf\" g // h\n";
    let file = source(text);
    let all: Vec<String> = file.lines().map(|(_, line)| line.to_owned()).collect();
    for (line, code) in file.code() {
        for (column, letter) in code.char_indices().filter(|(_, c)| *c != ' ') {
            assert_eq!(all[line - 1].chars().nth(column), Some(letter));
        }
    }
    assert_eq!(file.code().last(), Some((3, "   g     ")));
}

#[test]
fn lifetimes_and_raw_identifiers_are_code() {
    assert_eq!(code("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
    assert_eq!(code("r#type + for\"x\""), "r#type + for");
}

#[test]
fn functions_are_measured_from_fn_to_closing_brace() {
    let text = "impl A {\n    fn one(&self) -> [u8; 2] {\n        \"}\";\n    }\n}\nfn two();\n\
                fn three<'a>(f: fn(u8) -> u8) where A: B {}\n";
    let found = source(text).functions();
    let names: Vec<(&str, usize, usize)> =
        found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
    assert_eq!(names, [("one", 2, 3), ("three", 7, 1)]);
}

#[test]
fn an_item_under_a_test_attribute_is_a_test_and_its_neighbours_are_not() {
    let file = source("fn a() {}\n#[cfg(test)]\nmod t {\n    fn b() {}\n}\nfn c() {}\n");
    let tests: Vec<bool> = (1..=6).map(|line| file.is_test(line)).collect();
    assert_eq!(tests, [false, true, true, true, true, false]);
    let file = source("#[test]\n#[other]\nfn b() {\n}\nfn c() {}\n");
    assert!(file.is_test(4) && !file.is_test(5));
}

#[test]
fn a_module_declared_for_tests_names_its_files() {
    let file = source("#[cfg(test)]\npub(crate) mod fake;\nmod real;\n");
    assert_eq!(
        file.test_modules(),
        ["crates/engine/src/x/fake.rs", "crates/engine/src/x/fake/mod.rs"]
    );
    let top = Source::new("crates/engine/src/lib.rs", "#[cfg(test)]\nmod fake;\n");
    assert_eq!(top.test_modules()[0], "crates/engine/src/fake.rs");
}

#[test]
fn test_paths_are_known_by_name() {
    for path in ["crates/a/src/b/tests.rs", "crates/a/tests/it/main.rs", "crates/e2e/src/lib.rs"] {
        assert!(Source::new(path, "a\n").is_test(1), "{path}");
    }
    assert!(!Source::new("crates/a/src/latest.rs", "a\n").is_test(1));
}

#[test]
fn a_line_is_allowed_only_with_a_reason() {
    let file = source("a(); // allow: because\nb(); // allow:\nc(\"// allow: x\");\n");
    assert!(file.is_allowed(1) && !file.is_allowed(2) && !file.is_allowed(3));
}
